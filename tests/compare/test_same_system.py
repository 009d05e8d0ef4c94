"""One system against itself: that nothing can have changed is said, and noise is not taken for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from harness import metrics
from harness.compare.comparison import RunComparison, compare_runs
from harness.compare.same_system import METHOD, is_same_system
from harness.report.forgetting import phrases
from harness.store.records import system_record
from tests.compare.comparing import ACCURACY, PLAN, Made, choices, flipped, folder, group, hits, subjects
from tests.store import records

RIGHT = hits(0.7, 200)


def twice(tmp_path: Path, before: dict[str, Made], after: dict[str, Made], groups: Any = None, **changes: Any) -> RunComparison:
    """The system `tiny` against itself, or against one that differs in some fields."""
    first = folder(tmp_path / "first", before, groups, system="tiny")
    changed = {"model_digest": "model of tiny", "model": "/models/tiny"} | changes
    second = folder(tmp_path / "second", after, groups, **({"system": "tiny again"} | changed))
    return compare_runs(first, second, metrics.load, PLAN)


def quiz(right: Any = RIGHT, **changes: Any) -> dict[str, Made]:
    return {"quiz": Made(choices(right), ACCURACY, **changes)}


def test_unchanged_items_of_is_same_system_are_kept(tmp_path: Path) -> None:
    found = twice(tmp_path, quiz(), quiz())
    (task,) = found.tasks
    score = task.scores["accuracy"]
    assert (task.verdict, score.method, score.low, score.high) == ("retained", METHOD, 0.0, 0.0)
    assert (score.detectable, score.detectable_loss, score.items_needed) == (None, None, None)
    assert phrases.remarks(found) == ["The same system with the same responses on every task: nothing can have changed."]
    assert phrases.estimate(found.overall.mean_change) == "0.000"


def test_even_without_a_margin(tmp_path: Path) -> None:
    first = folder(tmp_path / "first", quiz(), system="tiny")
    again = compare_runs(
        first, folder(tmp_path / "second", quiz(), system="tiny"), metrics.load, dataclasses.replace(PLAN, margins={"quiz": 0.0})
    )
    assert again.tasks[0].verdict == "retained"


@pytest.mark.parametrize(
    "changes",
    [{"dtype": "bfloat16"}, {"quantization": "8bit"}, {"engine": "vllm"}, {"chat_template_digest": "c"}, {"adapter_digest": "a"}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_system_keeps_the_room_for_flips_that_were_not_seen(tmp_path: Path, changes: dict[str, Any]) -> None:
    found = twice(tmp_path, quiz(), quiz(), **changes)
    (task,) = found.tasks
    assert (task.verdict, task.scores["accuracy"].method, task.repeated) == ("inconclusive", "score", False)
    assert phrases.repeated(found) == []


def test_names_and_revisions_are_no_part_of_a_system() -> None:
    one = system_record(records.system())
    assert is_same_system(one, system_record(records.system(revision="abc", adapter="other name")))
    assert not is_same_system(one, system_record(records.system(tokenizer_digest="other")))


@pytest.mark.parametrize(
    "changes",
    [
        {"digests": [f"d{number + 1}" for number in range(200)]},
        {"signature": "task|v:1|template:plain|shots:0|data:some/data/test@{digest}|items:{items}|scored:again"},
        {"prompts": "another prompt"},
    ],
    ids=["items", "signature", "prompts"],
)
def test_results_of_other_requests_get_the_usual_verdicts(tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.compare.comparison.refuse_unlike", lambda *_: None)
    (task,) = twice(tmp_path, quiz(), quiz(**changes)).tasks
    assert (task.repeated, task.verdict) == (False, "inconclusive")


def test_noise_of_one_system_is_shown_and_tested_like_any_change(tmp_path: Path) -> None:
    found = twice(tmp_path, quiz(), quiz(flipped(RIGHT, 2, 1)))
    (task,) = found.tasks
    assert (task.repeated, task.responses_differ, task.verdict) == (True, 3, "inconclusive")
    assert task.scores["accuracy"].method == "score"
    told = "quiz: 3 responses of 200 differ although the system is the same; this is noise, tested like any change."
    assert phrases.remarks(found) == [told]


def test_groups_of_is_same_system(tmp_path: Path) -> None:
    before, after = subjects(3)
    groups = {"exam": group(list(before), "macro")}
    same = twice(tmp_path / "same", before, before, groups).tasks[0]
    assert (same.verdict, same.repeated, same.scores["accuracy_macro"].method) == ("retained", True, METHOD)
    noisy = twice(tmp_path / "noisy", before, before | {"exam_0": after["exam_0"]}, groups).tasks[0]
    assert noisy.responses_differ > 0
    assert noisy.scores["accuracy_macro"].method != METHOD
