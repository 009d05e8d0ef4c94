"""Which tasks and items two results folders share, and when their comparison is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from harness import metrics
from harness.compare.comparison import ComparisonOptions, compare_runs
from harness.contract import LikelihoodOutcome, TextOutcome
from harness.errors import InputError
from harness.report.forgetting.phrases import remarks
from tests.compare.comparing import (
    PLAN,
    AnyOutcome,
    Made,
    choices,
    compare,
    compared,
    flipped,
    folder,
    hits,
    quiz,
)

BEFORE = hits(0.7, 400)
AFTER = flipped(BEFORE, lost=60, gained=10)


def test_items_are_joined_by_content_and_strays_are_named(tmp_path: Path) -> None:
    before = quiz(np.array([1, 0, 1, 0, 1, 1], dtype=bool), digests=["a", "b", "c", "twin", "twin", "gone"])
    after = quiz(np.array([1, 0, 0, 0, 0, 1], dtype=bool), digests=["twin", "new", "c", "b", "a", "twin"])
    task = compared(tmp_path, before, after)
    assert task.items == 5
    assert task.only_before == ("i5",)
    assert task.only_after == ("i1",)
    score = task.scores["accuracy"]
    assert (score.before, score.after) == pytest.approx((3 / 5, 2 / 5))
    assert (score.lost, score.gained) == (2, 1)
    assert [(change.kind, change.before.id, change.after.id) for change in task.changes] == [
        ("lost", "i0", "i4"),
        ("lost", "i2", "i2"),
        ("gained", "i3", "i0"),
    ]


def test_nothing_in_common_has_a_reason_and_no_verdict(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(BEFORE[:5], digests=list("abcde")), quiz(BEFORE[:5], digests=list("vwxyz")))
    score = task.scores["accuracy"]
    assert score.reason == "the two results have no items in common"
    assert (score.verdict, score.p, score.rows) == ("inconclusive", None, 0)


def test_results_of_other_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    other = quiz(AFTER, signature="task|v:1|template:plain|shots:5|data:some/data/test|data_digest:{digest}|items:{items}")
    with pytest.raises(InputError, match=r"settings of quiz differ .*shots: 5 instead of 0"):
        compared(tmp_path, quiz(BEFORE), other)


@pytest.mark.parametrize("drawn", ["shot_seed:0", "sampling_seed:0"])
def test_items_with_other_ids_are_refused_where_something_was_drawn_by_ids(tmp_path: Path, drawn: str) -> None:
    """Ids are row numbers here, so another row before the first gives every item another id."""
    signature = f"task|v:1|{drawn}|data:some/data/test|data_digest:{{digest}}|items:{{items}}"
    before, digests = quiz(BEFORE[:20], signature=signature), [f"d{number}" for number in range(20)]
    moved = quiz(BEFORE[:20], digests=["new", *digests[:-1]], signature=signature)
    with pytest.raises(InputError, match=r"gives 19 of 19 items other ids .*\(the first: 'i1' instead of 'i0'\)"):
        compared(tmp_path, before, moved)
    fewer = compared(tmp_path / "fewer", before, quiz(BEFORE[:15], signature=signature))
    assert fewer.items == 15


def test_metrics_with_other_options_are_refused(tmp_path: Path) -> None:
    other = Made(choices(AFTER), {"accuracy": ("accuracy", {"normalize": "characters"})})
    with pytest.raises(InputError, match="normalize: characters instead of none"):
        compared(tmp_path, quiz(BEFORE), other)


def test_only_shared_tasks_are_compared_and_the_others_named(tmp_path: Path) -> None:
    made = quiz(BEFORE[:20])
    found = compare(tmp_path, {"quiz": made, "old": made}, {"quiz": made, "new": made})
    assert [task.name for task in found.tasks] == ["quiz"]
    assert (found.only_before, found.only_after) == (("old",), ("new",))
    assert (found.before.name, found.after.name) == ("tiny", "tuned")
    with pytest.raises(InputError, match="no scored task in common"):
        compare(tmp_path / "none", {"old": made}, {"new": made})


@pytest.mark.parametrize("plan", [ComparisonOptions(tasks=("quizz",)), ComparisonOptions(targets=("quizz",))])
def test_unknown_names_are_refused(tmp_path: Path, plan: ComparisonOptions) -> None:
    made = quiz(BEFORE[:20])
    with pytest.raises(InputError, match=r"'quizz' is not in both results(.|\n)*They share quiz"):
        compare(tmp_path, {"quiz": made}, {"quiz": made}, plan)


def test_tasks_can_be_chosen(tmp_path: Path) -> None:
    made, other = quiz(BEFORE[:20]), quiz(BEFORE[:20], signature="task|v:2")
    found = compare(tmp_path, {"quiz": made, "other": made}, {"quiz": made, "other": other}, dataclasses.replace(PLAN, tasks=("quiz",)))
    assert [task.name for task in found.tasks] == ["quiz"]


def test_prompts_that_differ_are_counted(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(BEFORE[:9]), quiz(BEFORE[:9], prompts="<user> prompt"))
    assert task.prompts_differ == 9
    assert compared(tmp_path, quiz(BEFORE[:9]), quiz(BEFORE[:9])).prompts_differ == 0


def test_tasks_without_a_score_are_left_out_and_named(tmp_path: Path) -> None:
    texts = Made([TextOutcome("a", ("a",))] * 3, {})
    tasks = {"quiz": quiz(BEFORE[:20]), "texts": texts}
    found = compare(tmp_path, tasks, tasks)
    assert ([task.name for task in found.tasks], found.unscored) == (["quiz"], ("texts",))
    assert (found.only_before, found.only_after) == ((), ())
    assert "No score in common, not compared: texts." in remarks(found)
    with pytest.raises(InputError, match="no scored task in common"):
        compare(tmp_path / "alone", {"texts": texts}, {"texts": texts})


def test_a_headline_that_only_one_result_has_gives_way_to_a_common_score(tmp_path: Path) -> None:
    before = Made(choices(BEFORE[:20]), {"mc2": ("mc2", {}), "accuracy": ("accuracy", {})})
    task = compared(tmp_path, before, quiz(BEFORE[:20]))
    assert [score.metric for score in task.headlines] == ["accuracy"]


def test_perplexity_per_token_of_other_tokenizers_is_not_compared(tmp_path: Path) -> None:
    answers: list[AnyOutcome] = [LikelihoodOutcome(-3.0 - number, 2, 2, 9) for number in range(30)]
    made = {"text": Made(answers, {"perplexity": ("perplexity", {}), "word_perplexity": ("word_perplexity", {})})}
    before = folder(tmp_path / "before", made)
    after = folder(tmp_path / "after", made, tokenizer_digest="other")
    (task,) = compare_runs(before, after, metrics.load, PLAN).tasks
    assert task.scores["perplexity"].reason == "the score is per token, and the systems have different tokenizers"
    assert task.scores["word_perplexity"].reason is None
