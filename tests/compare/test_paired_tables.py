"""Tables of paired statistics: corpus scores, confusion matrices, clusters, template variants."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import metrics
from harness.compare.comparison import compare_runs
from harness.compare.pairing import Results
from harness.contract import ChoiceOutcome
from harness.errors import InputError
from harness.store import runs
from harness.store.saving import SavedSamples, save
from tests.compare.comparing import (
    ACCURACY,
    PLAN,
    Made,
    choices,
    compared,
    flipped,
    folder,
    hits,
    questions_answered,
    spoken,
    width,
)
from tests.store.written import with_statistics

BEFORE = hits(0.7, 400)
AFTER = flipped(BEFORE, lost=60, gained=10)


def test_a_corpus_score_is_resampled_through_its_statistics(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    said = ["the old cat slept under the tall tree at home", "the old cat ran under the tree", "a dog sat on the mat at home"]
    before = Made(spoken([said[number] for number in generator.choice(3, 120, p=[0.6, 0.3, 0.1])]), {"bleu": ("bleu", {})})
    after = Made(spoken([said[number] for number in generator.choice(3, 120, p=[0.2, 0.5, 0.3])]), {"bleu": ("bleu", {})})
    task = compared(tmp_path, before, after)
    score = task.scores["bleu"]
    metric = metrics.load("bleu")
    assert score.before == pytest.approx(float(metric.score(metric.statistics(before.answers).sum(axis=0))))
    assert (score.test, score.effect, score.margin) == ("permutation", "d_z", 1.0)
    assert score.lost is None
    assert score.p_bootstrap is not None
    assert score.p_bootstrap < 0.01
    assert task.verdict == "forgot"
    assert {change.kind for change in task.changes} == {"worse", "better"}


def test_a_confusion_score_counts_the_flips_of_its_choices(tmp_path: Path) -> None:
    both: dict[str, tuple[str, dict[str, Any]]] = {"mcc": ("mcc", {}), "f1": ("f1", {"positive": 1})}
    task = compared(tmp_path, Made(choices(BEFORE, 2), both), Made(choices(AFTER, 2), both))
    assert (task.scores["mcc"].lost, task.scores["mcc"].gained) == (60, 10)
    assert task.scores["mcc"].test == "permutation"
    assert task.scores["mcc"].odds_ratio is None
    assert len(task.changes) == 70
    assert task.verdict == "forgot"


def test_confusion_matrices_of_unequal_width_are_compared(tmp_path: Path) -> None:
    """Items that only one side holds may have more choices."""
    three = [*choices(BEFORE[:40], 2), ChoiceOutcome((-1.0, -2.0, -3.0), (2,), ("a", "b", "c"), (1, 1, 1))]
    before = Made(three, {"f1": ("f1", {"positive": 1})})
    after = Made(choices(flipped(BEFORE[:40], 5, 0), 2), {"f1": ("f1", {"positive": 1})})
    task = compared(tmp_path, before, after)
    assert task.items == 40
    assert task.scores["f1"].reason is None
    assert task.only_before == ("i40",)


def test_results_of_an_earlier_version_compare_means_but_not_corpus_scores(tmp_path: Path) -> None:
    texts = spoken(["the old cat slept under it", "the tall tree at home", "a dog"] * 20)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"rouge1": ("rouge1", {}), "bleu": ("bleu", {})}
    made = Made(texts, wanted, keep_statistics=False)
    task = compared(tmp_path, made, made)
    assert task.scores["rouge1"].reason is None
    assert task.scores["bleu"].reason == "the results hold no statistics of bleu; run the task again to compare it item by item"
    assert task.scores["bleu"].before == task.scores["bleu"].after != 0


def test_statistics_that_do_not_reproduce_the_score_are_not_used(tmp_path: Path) -> None:
    made = Made(choices(BEFORE), {"mcc": ("mcc", {})})
    before, after = folder(tmp_path / "before", {"quiz": made}), folder(tmp_path / "after", {"quiz": made})
    saved = dict(Results.read(after).task_samples("quiz", None).statistics)
    saved["mcc"] = dataclasses.replace(saved["mcc"], table=np.tile([1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], (400, 1)).astype(float))
    with_statistics(after, "quiz", saved)
    (task,) = compare_runs(before, after, metrics.load, PLAN).tasks
    assert task.scores["mcc"].reason == "the saved statistics do not reproduce the score; run the task again"


def test_a_metric_that_is_not_installed_is_named(tmp_path: Path) -> None:
    made = Made(choices(BEFORE), {"mcc": ("mcc", {})})
    before, after = folder(tmp_path / "before", {"quiz": made}), folder(tmp_path / "after", {"quiz": made}, dtype="bfloat16")
    for side in (before, after):
        saved = Results.read(side).task_samples("quiz", None).statistics
        with_statistics(side, "quiz", {key: dataclasses.replace(one, metric="my_own") for key, one in saved.items()})
    (task,) = compare_runs(before, after, metrics.load, PLAN).tasks
    assert task.scores["mcc"].reason == "Unknown metric 'my_own'."


def test_items_that_a_metric_scores_as_one_are_resampled_together(tmp_path: Path) -> None:
    wanted: dict[str, tuple[str, dict[str, Any]]] = {
        "f1a": ("f1", {}),
        "em": ("all_correct", {"by": "question"}),
        "accuracy": ("accuracy", {}),
    }
    before = Made(questions_answered(80, 5, 1, 0.3), wanted, headline=("f1a", "em"))
    after = Made(questions_answered(80, 5, 2, 0.35), wanted, headline=("f1a", "em"))
    task = compared(tmp_path, before, after)
    assert (task.scores["f1a"].resampled, task.scores["f1a"].rows) == ("clusters", 80)
    assert (task.scores["em"].resampled, task.scores["em"].rows) == ("groups", 80)
    assert [score.metric for score in task.headlines] == ["f1a", "em"]
    clustered = task.scores["accuracy"]
    assert clustered.test == "permutation"
    assert (clustered.lost, clustered.gained) == (task.scores["f1a"].lost, task.scores["f1a"].gained)
    alone = compared(tmp_path / "alone", Made(before.answers, ACCURACY), Made(after.answers, ACCURACY)).scores["accuracy"]
    assert alone.resampled == "items"
    assert width(clustered.low, clustered.high) > 1.8 * width(alone.low, alone.high)


def test_the_label_to_cluster_by_can_be_named(tmp_path: Path) -> None:
    made = Made(questions_answered(40, 5, 1, 0.3), ACCURACY)
    other = Made(questions_answered(40, 5, 2, 0.3), ACCURACY)
    task = compared(tmp_path, made, other, dataclasses.replace(PLAN, clusters={"quiz": "question"}))
    assert (task.scores["accuracy"].resampled, task.scores["accuracy"].rows) == ("clusters", 40)
    with pytest.raises(InputError, match="no label 'passage'"):
        compared(tmp_path, made, other, dataclasses.replace(PLAN, clusters={"quiz": "passage"}))


def test_groups_of_items_need_the_same_items_on_both_sides(tmp_path: Path) -> None:
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"em": ("all_correct", {"by": "question"})}
    answers = questions_answered(10, 2, 1, 0.3)
    task = compared(tmp_path, Made(answers, wanted), Made(answers[:-1], wanted))
    reason = task.scores["em"].reason
    assert reason is not None
    assert reason.startswith("the metric scores several items as one")


def test_template_variants_are_averaged_and_shown_one_by_one(tmp_path: Path) -> None:
    def with_templates(first: np.ndarray, second: np.ndarray) -> Made:
        return Made(choices(first), ACCURACY, template_variants={"plain": choices(first), "flan": choices(second)})

    second = hits(0.5, 400, seed=3)
    task = compared(tmp_path, with_templates(BEFORE, second), with_templates(AFTER, flipped(second, 4, 4)))
    score = task.scores["accuracy"]
    assert score.before == pytest.approx((BEFORE.mean() + second.mean()) / 2)
    assert score.difference == pytest.approx(-25 / 400)
    assert (score.test, score.lost, score.gained) == ("permutation", 64, 14)
    plain, flan = task.template_variants["plain"][0], task.template_variants["flan"][0]
    assert (plain.difference, flan.difference) == pytest.approx((-50 / 400, 0.0))
    assert (plain.test, plain.lost) == ("mcnemar", 60)
    assert {change.variant for change in task.changes} == {"plain", "flan"}


def test_template_variants_of_a_corpus_score(tmp_path: Path) -> None:
    one, two = spoken(["the old cat slept under it", "a dog sat"] * 30), spoken(["the old cat", "under the tall tree at home"] * 30)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"bleu": ("bleu", {"smooth": "floor"})}
    task = compared(
        tmp_path, Made(one, wanted, template_variants={"a": one, "b": two}), Made(one, wanted, template_variants={"a": two, "b": one})
    )
    assert task.scores["bleu"].difference == pytest.approx(0.0)
    a, b = task.template_variants["a"][0], task.template_variants["b"][0]
    assert a.difference == pytest.approx(-(b.difference or 0.0))
    assert task.scores["bleu"].before == pytest.approx(((a.before or 0.0) + (b.before or 0.0)) / 2)


def test_groups_that_a_metric_scores_as_one_use_the_saved_clusters(tmp_path: Path) -> None:
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"em": ("all_correct", {"by": "question"})}
    sides = []
    for number, name in enumerate(("before", "after")):
        path = folder(tmp_path / name, {"quiz": Made(questions_answered(40, 5, number, 0.3), wanted)})
        saved = Results.read(path).task_samples("quiz", None).statistics
        codes = np.repeat(np.arange(10), 4)
        with_statistics(path, "quiz", {key: dataclasses.replace(one, clusters=codes) for key, one in saved.items()})
        sides.append(path)
    (task,) = compare_runs(sides[0], sides[1], metrics.load, PLAN).tasks
    assert (task.scores["em"].resampled, task.scores["em"].rows) == ("clusters", 10)


def test_items_use_the_cluster_of_their_samples(tmp_path: Path) -> None:
    sides = []
    for number, name in enumerate(("before", "after")):
        path = folder(tmp_path / name, {"quiz": Made(questions_answered(40, 5, number, 0.3), ACCURACY)})
        saved = Results.read(path).task_samples("quiz", None)
        lines = [dataclasses.replace(one, cluster=f"p{place // 20}") for place, one in enumerate(saved.samples)]
        save(runs.read(path), {"quiz": [SavedSamples("quiz", lines, saved.statistics)]}, path)
        sides.append(path)
    (task,) = compare_runs(sides[0], sides[1], metrics.load, PLAN).tasks
    assert (task.scores["accuracy"].resampled, task.scores["accuracy"].rows) == ("clusters", 10)
