"""Scores that cannot be resampled, because of one cluster or no value; also of a system against itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from harness import metrics
from harness.compare.comparison import RunComparison, compare_runs
from harness.compare.same_system import METHOD
from harness.contract import ChoiceOutcome, TextOutcome
from harness.evaluation.aggregate import MetricScore
from harness.stats.intervals import NO_VARIATION, ONE_CLUSTER
from tests.compare.comparing import ACCURACY, PLAN, Made, choices, folder, hits
from tests.gate.made import finding
from tests.signed import signed

MCC: dict[str, tuple[str, dict[str, Any]]] = {"mcc": ("mcc", {})}
PEARSON: dict[str, tuple[str, dict[str, Any]]] = {"pearson": ("pearson", {"gold": "gold"})}


def both(tmp_path: Path, before: Made, after: Made, **changes: Any) -> tuple[Path, Path, RunComparison]:
    first, second = folder(tmp_path / "first", {"quiz": before}), folder(tmp_path / "second", {"quiz": after}, **changes)
    return first, second, compare_runs(first, second, metrics.load, PLAN)


def of_one_passage(right: Any) -> Made:
    return Made(choices(right, labels=[{"passage": "one"}] * len(right)), ACCURACY)


def test_items_of_one_cluster_have_no_interval_of_a_change(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, clusters={"quiz": "passage"})
    right = hits(0.7, 200)
    first = folder(tmp_path / "first", {"quiz": of_one_passage(right)})
    second = folder(tmp_path / "second", {"quiz": of_one_passage(right)}, dtype="bfloat16")
    (task,) = compare_runs(first, second, metrics.load, plan).tasks
    score = task.scores["accuracy"]
    assert (score.verdict, score.low, score.high, score.reason) == ("inconclusive", None, None, ONE_CLUSTER)


def test_nor_has_one_system_against_itself_but_it_is_retained(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, clusters={"quiz": "passage"})
    made = of_one_passage(hits(0.7, 200))
    first, second = folder(tmp_path / "first", {"quiz": made}), folder(tmp_path / "second", {"quiz": made})
    (task,) = compare_runs(first, second, metrics.load, plan).tasks
    assert (task.verdict, task.scores["accuracy"].method) == ("retained", METHOD)


def without_value() -> Made:
    """Equal answers to all items, whose correlation with the labels is undefined."""
    return Made([TextOutcome("3", ("3",), {"gold": float(number)}) for number in range(20)], PEARSON)


def test_a_score_without_a_value_gives_the_reason(tmp_path: Path) -> None:
    made = without_value()
    first, second, found = both(tmp_path, made, made, dtype="bfloat16")
    score = found.tasks[0].scores["pearson"]
    assert score.before is None
    reason = "no correlation: the predictions or the labels 'gold' are all equal"
    assert (score.verdict, score.reason) == ("inconclusive", reason)
    assert finding("no task forgot", second, first).message == f"quiz.pearson: {reason}"


@pytest.mark.parametrize("line", ["no task forgot", "quiz: non_inferior within 0.01", "quiz >= 0.98 × baseline", "quiz >= baseline"])
def test_a_system_against_itself_is_decided_without_a_value(tmp_path: Path, line: str) -> None:
    made = without_value()
    first, second, found = both(tmp_path, made, made)
    assert found.tasks[0].verdict == "retained"
    result = finding(line, second, first)
    assert (result.outcome, "nothing can have changed" in result.message) == ("pass", True)


@pytest.mark.parametrize(
    ("line", "outcome"),
    [("quiz >= 0.98 × baseline", "pass"), ("quiz > 0.98 × baseline", "fail"), ("quiz >= 1.02 × baseline", "pass")],
)
def test_a_system_against_itself_is_decided_at_0_of_a_score_that_may_be_negative(tmp_path: Path, line: str, outcome: str) -> None:
    answers = [ChoiceOutcome((-0.5, -2.0), (number % 2,), ("a", "b"), (2, 2), {}) for number in range(40)]
    made = Made(answers, MCC)
    first, second, found = both(tmp_path, made, made)
    assert found.tasks[0].scores["mcc"].after == 0.0
    assert finding(line, second, first).outcome == outcome


def test_a_negative_score_is_not_as_much_as_a_part_of_itself(tmp_path: Path) -> None:
    made = Made(choices(hits(0.2, 60), options=2), MCC)
    first, second, found = both(tmp_path, made, made)
    assert (found.tasks[0].scores["mcc"].after or 0.0) < 0
    result = finding("quiz >= 0.98 × baseline", second, first)
    assert (result.outcome, "cannot be >= 0.98 × itself" in result.message) == ("fail", True)


def test_constant_predictions_are_no_certain_correlation() -> None:
    metric = metrics.load("mcc", {})
    answers = [ChoiceOutcome((-0.5, -2.0), (0,), ("a", "b"), (2, 2), {}) for _ in range(2)]
    record = MetricScore(metric, metric.statistics(answers), signed("quiz|v:1"), 0).record()
    assert (record.ci, record.reason) == (None, NO_VARIATION)
