"""Real runs of tiny models compared: what a run saves is enough for every one of its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import metrics
from harness.compare.comparison import ComparisonOptions, RunComparison, compare_runs
from harness.evaluation.options import Options
from harness.evaluation.run import run
from harness.store import runs
from tests.silent import Recorder
from tests.tasks.cases import content, write_rows, write_yaml
from tests.tiny import tiny_causal

ITEMS = 24
ROWS = [
    {
        "thing": f"thing {number}",
        "label": number % 2,
        "pair": number // 2,
        "kind": "odd" if number % 3 else "even",
        "text": f"the cat number {number} sat on the mat",
        "size": number % 5,
    }
    for number in range(ITEMS)
]
TEMPLATES = [{"name": "plain", "prompt": "What colour is {{ thing }}?"}, {"name": "other", "prompt": "{{ thing }} is"}]
TASKS: dict[str, dict[str, Any]] = {
    "colours": {
        "templates": TEMPLATES,
        "labels": {"pair": "pair", "kind": "kind", "size": "size"},
        "metrics": [
            "accuracy",
            "mcc",
            {"metric": "f1", "positive": 1},
            {"metric": "accuracy", "normalize": "characters", "as": "accuracy_characters"},
            {"metric": "all_correct", "by": "pair", "as": "em"},
        ],
    },
    "said": {
        "answer": "generate",
        "choices": None,
        "target": "text",
        "generation": {"max_new_tokens": 6},
        "labels": {"size": "size"},
        "metrics": ["rouge1", "bleu", "chrf", "ter", "exact_match", {"metric": "spearman", "gold": "size", "missing": 0.0}],
    },
    "read": {"answer": "score_text", "choices": None, "target": "text", "metrics": ["bits_per_byte", "word_perplexity"]},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Results of two tiny models on all tasks, in two template variants where a task has two."""
    place = tmp_path_factory.mktemp("runs")
    write_rows(place / "rows.jsonl", ROWS)
    for name, changes in TASKS.items():
        write_yaml(place / f"{name}.yaml", content(task=name, **changes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(place / "cache"))
        for number in (0, 1):
            options = Options(
                model=str(tiny_causal(place / f"tiny{number}", seed=number)),
                tasks=tuple(str(place / f"{name}.yaml") for name in TASKS),
                template="all",
                device="cpu",
                output=place / f"out{number}",
            )
            run(options, Recorder())
    return place / "out0", place / "out1"


@pytest.fixture(scope="module")
def found(folders: tuple[Path, Path]) -> RunComparison:
    return compare_runs(*folders, metrics.load, ComparisonOptions(resamples=300))


def test_every_score_of_both_runs_is_computed_again(found: RunComparison, folders: tuple[Path, Path]) -> None:
    for side, name in enumerate(("before", "after")):
        record = runs.read(folders[side])
        for task in found.tasks:
            for key, score in task.scores.items():
                saved = record.tasks[task.name].metrics[key]
                assert saved.value is None or getattr(score, name) == pytest.approx(saved.value, abs=1e-9), (task.name, key)
                assert (score.reason is None) == (saved.value is not None), (task.name, key, score.reason)


def test_every_template_variant_is_computed_again(found: RunComparison, folders: tuple[Path, Path]) -> None:
    colours = found.tasks[0]
    saved = runs.read(folders[0]).tasks["colours"].template_variants
    assert list(colours.template_variants) == list(saved) == ["plain", "other"]
    for name, (score,) in colours.template_variants.items():
        assert score.before == pytest.approx(saved[name].metrics["accuracy"].value)


def test_items_are_joined_and_clustered(found: RunComparison) -> None:
    colours, said, _ = found.tasks
    assert [task.items for task in found.tasks] == [ITEMS] * 3
    assert (colours.scores["mcc"].resampled, colours.scores["mcc"].rows) == ("clusters", ITEMS // 2)
    assert (colours.scores["em"].resampled, colours.scores["em"].rows) == ("groups", ITEMS // 2)
    assert said.scores["bleu"].resampled == "items"
    assert {part.label for part in colours.slices} >= {"kind", "size"}
    assert colours.chance == pytest.approx(0.5)
    assert all(change.before.digest == change.after.digest for task in found.tasks for change in task.changes)


def test_a_run_against_itself_changes_nothing(folders: tuple[Path, Path]) -> None:
    same = compare_runs(folders[0], folders[0], metrics.load, ComparisonOptions(resamples=100))
    for task in same.tasks:
        assert task.changes == ()
        assert task.verdict in ("retained", "inconclusive")
        for score in task.scores.values():
            assert score.difference in (0.0, None)
            assert score.p in (1.0, None)
    assert same.overall.share_forgotten == 0.0
