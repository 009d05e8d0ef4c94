"""What figures of measures show: bins, drops, and runs with other settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import metrics
from harness.compare.comparison import ComparisonOptions, compare_runs
from harness.compare.figures import Diagram, Side, departures, diagrams, drops, sides
from harness.metrics.calibration import EqualMassError, reliability
from harness.store import runs, samples
from harness.store.records import TemplateVariantRecord
from tests.compare.comparing import Made, folder
from tests.compare.measured import CALIBRATED, all_of, answers, measured, quiz, read
from tests.signed import signed
from tests.store.written import recorded_anew


def drawn(path: Path) -> dict[tuple[str, str], Diagram]:
    (side,) = sides(read(path))
    return {(one.title, one.metric): one for one in diagrams(side, metrics.load, reliability)}


def test_points_are_the_bins_of_the_saved_statistics(tmp_path: Path) -> None:
    made = quiz()
    found = drawn(measured(tmp_path, {"quiz": made}))
    assert [key[1] for key in found] == ["ece_10_bin", "ece_10_bin_renormalized", "platt_ece"]
    bins = reliability(EqualMassError().statistics(answers(300, 0.6)))
    one = found["quiz", "ece_10_bin"]
    assert [point.confidence for point in one.points] == pytest.approx(bins.confidence.tolist())
    assert [point.accuracy for point in one.points] == pytest.approx(bins.accuracy.tolist())
    assert [point.count for point in one.points] == bins.count.tolist() == [30] * 10
    assert all(point.low < point.accuracy < point.high for point in one.points)
    error = sum(point.count * abs(point.confidence - point.accuracy) for point in one.points) / 300
    assert one.record.value == pytest.approx(error)


def test_a_group_pools_its_tasks_items(tmp_path: Path) -> None:
    tasks = {"x": quiz(200, 0.5, 1), "y": quiz(160, 0.9, 2)}
    found = drawn(measured(tmp_path, tasks, groups=all_of(["x", "y"])))
    one = found["exam", "ece_10_bin_micro"]
    assert sum(point.count for point in one.points) == 360
    assert len(one.points) == 10
    assert found["x", "ece_10_bin"].points == ()


def test_what_was_refused_is_not_drawn(tmp_path: Path) -> None:
    one = drawn(measured(tmp_path, {"quiz": quiz(20)}))["quiz", "ece_10_bin"]
    assert one.points == ()
    assert one.reason == one.record.reason
    assert str(one.reason).startswith("only 20 items; calibration needs 300")


def test_each_template_has_a_diagram(tmp_path: Path) -> None:
    template_variants = {"plain": answers(300, 0.6, 1), "terse": answers(300, 0.4, 2)}
    made = Made(template_variants["plain"], CALIBRATED, template_variants=template_variants)
    path = folder(tmp_path, {"quiz": made}, all_of(["quiz"]))
    found = drawn(path)
    assert [title for title, metric in found if metric == "ece_10_bin"] == ["quiz (plain)", "quiz (terse)"]
    assert found["quiz (plain)", "ece_10_bin"].points != found["quiz (terse)", "ece_10_bin"].points
    assert found["quiz (plain)", "ece_10_bin"].record == runs.read(path).tasks["quiz"].template_variants["plain"].metrics["ece_10_bin"]


def saved(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(samples.statistics_path_of(path, "quiz").read_text())
    return content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.pop("ece_10_bin"), "hold no statistics"),
        (lambda content: content["ece_10_bin"].update(metric="gone"), "gone"),
        (lambda content: content["ece_10_bin"]["places"].reverse() or content["ece_10_bin"]["places"].pop(), "do not reproduce the score"),
    ],
)
def test_statistics_that_do_not_reproduce_the_score_are_not_drawn(tmp_path: Path, change: Any, said: str) -> None:
    path = measured(tmp_path, {"quiz": quiz()})
    content = saved(path)
    change(content)
    samples.statistics_path_of(path, "quiz").write_text(json.dumps(content))
    recorded_anew(path)
    one = drawn(path)["quiz", "ece_10_bin"]
    assert one.points == ()
    assert said in str(one.reason)


def test_drops_are_named_by_their_perturbation_and_template(tmp_path: Path) -> None:
    record = runs.read(measured(tmp_path, {"quiz": quiz()}))
    assert [one.label for one in drops(record)] == ["typos", "person_name", "worst of robustness", "worst of fairness"]
    task = record.tasks["quiz"]
    variant = TemplateVariantRecord(
        template="terse",
        template_digest="t",
        shot_seed=0,
        metrics={},
        shortened=task.shortened,
        signature=signed("s"),
        perturbations=task.perturbations,
    )
    changed = task.model_copy(update={"perturbations": [], "template_variants": {"terse": variant}})
    assert {one.title for one in drops(record.model_copy(update={"tasks": {"quiz": changed}}))} == {"quiz (terse)"}


def test_systems_of_one_name_are_told_apart_in_the_order_given(tmp_path: Path) -> None:
    paths = [measured(tmp_path / name, {"quiz": quiz(20)}, copies={}) for name in ("second", "first")]
    assert [side.label for side in sides(read(*paths))] == ["tiny (second)", "tiny (first)"]


def test_other_settings_are_listed(tmp_path: Path) -> None:
    made = quiz(20)
    one, same = (measured(tmp_path / name, {"quiz": made}, copies={}) for name in ("one", "same"))
    other = measured(tmp_path / "other", {"quiz": replace(made, signature=made.signature.replace("shots:0", "shots:5"))}, copies={})
    first, second, third = (Side("x", path, runs.read(path)).record for path in (one, same, other))
    assert departures(second, first, "quiz", "accuracy") == ()
    assert departures(third, first, "quiz", "accuracy") == ("shots: 5 instead of 0",)
    assert departures(third, first, "quiz", "nothing") == ()


def test_a_groups_calibration_is_compared_over_the_bins_of_all_its_items(tmp_path: Path) -> None:
    """As results give it: pooled statistics in bins of their own, not each task's bins side by side."""
    groups = all_of(["x", "y"])
    before = {"x": quiz(300, 0.9, 0), "y": quiz(320, 0.2, 1)}
    after = {"x": quiz(300, 0.4, 5), "y": quiz(320, 0.7, 6)}
    base, tuned = (measured(tmp_path / name, made, name, copies={}, groups=groups) for name, made in (("a", before), ("b", after)))
    score = compare_runs(base, tuned, metrics.load, ComparisonOptions(resamples=50)).tasks[0].scores["ece_10_bin_micro"]
    saved = [runs.read(place).groups["exam"].metrics["ece_10_bin_micro"].value for place in (base, tuned)]
    assert [score.before, score.after] == pytest.approx(saved)
    assert saved[0] is not None
    assert saved[1] is not None
    assert score.change == pytest.approx(saved[0] - saved[1]), "less is better"
