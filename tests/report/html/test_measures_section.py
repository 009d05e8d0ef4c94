"""What a page's section of measures holds, before a browser shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import metrics
from harness.compare.comparison import ComparisonOptions, compare_runs
from harness.compare.leaderboard import leaderboard
from harness.metrics.calibration import reliability
from harness.report.html.measures import of_board, of_comparisons
from harness.report.html.page import embedded
from harness.store import runs
from tests.compare.comparing import Made, choices, folder
from tests.compare.measured import all_of, measured, quiz, read


def board_section(*folders: Path) -> dict[str, Any] | None:
    found = read(*folders)
    return of_board(leaderboard(found), found, metrics.load, reliability)


def compared_section(before: Path, *after: Path, tasks: tuple[str, ...] | None = None) -> dict[str, Any]:
    plan = ComparisonOptions(tasks=tasks, resamples=100)
    comparisons = [compare_runs(before, one, metrics.load, plan) for one in after]
    made = of_comparisons(comparisons, [before, *after], metrics.load, reliability)
    assert made
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a candidate that is worse and surer, and one that was given shots."""
    path = tmp_path_factory.mktemp("runs")
    made = quiz(share=0.7)
    measured(path / "base", {"quiz": made, "few": quiz(20)}, "base", groups=all_of(["quiz", "few"]))
    measured(path / "worse", {"quiz": quiz(share=0.2, seed=3), "few": quiz(20)}, "worse", groups=all_of(["quiz", "few"]))
    measured(path / "shots", {"quiz": replace(made, signature=made.signature.replace("shots:0", "shots:5"))}, "shots")
    return path


def test_accuracy_alone_has_no_section(tmp_path: Path) -> None:
    path = folder(tmp_path, {"quiz": Made(choices([True, False]), {"accuracy": ("accuracy", {})})})
    assert board_section(path) is None
    comparison = compare_runs(path, path, metrics.load, ComparisonOptions(resamples=100))
    assert of_comparisons([comparison], [path, path], metrics.load, reliability) is None


def test_rows_are_groups_with_their_tasks_and_cells_name_the_measure_that_stands_first(place: Path) -> None:
    found = board_section(place / "base")
    assert found
    assert [(row["name"], row["group"], row["member"]) for row in found["rows"]] == [
        ("exam", True, False), ("quiz", False, True), ("few", False, True),
    ]  # fmt: skip
    record = runs.read(place / "base").tasks["quiz"].metrics["ece_10_bin"]
    (cells,) = found["cells"]
    (name, value, low, high, n, reason, differs, beside), *others = cells[1]["calibration"]
    assert found["measures"][name] == ["ece_10_bin", "share", 0, "calibration"]
    assert (value, low, high) == pytest.approx((record.value, *(record.ci or ())))
    assert (n, reason, differs) == (300, None, None)
    assert beside == {"by chance": pytest.approx(record.beside["by chance"])}
    assert [found["measures"][one[0]][0] for one in others] == ["ece_10_bin_renormalized", "platt_ece", "selective_acc@10"]
    assert found["texts"][cells[2]["calibration"][0][5]].startswith("only 20 items; calibration needs 300")
    assert found["texts"][cells[1]["toxicity"][0][5]] == "answers are choices or scores, not texts"
    assert "efficiency" not in cells[1]
    embedded(found)


def test_systems_follow_the_boards_order_and_what_differs_is_told(place: Path) -> None:
    found = board_section(place / "worse", place / "base", place / "shots")
    assert found
    order = found["systems"]
    assert set(order) == {"base", "worse", "shots"}
    alone = next(number for number, row in enumerate(found["rows"]) if row["name"] == "quiz" and not row["member"])
    notes = [found["cells"][number][1 if name != "shots" else alone]["accuracy"][0][6] for number, name in enumerate(order)]
    first = order[0]
    marked = {name for name, note in zip(order, notes, strict=True) if note is not None}
    assert marked == ({"shots"} if first != "shots" else {"base", "worse"})
    assert any("shots: " in text for text in found["texts"])


def test_changes_are_turned_so_that_more_is_better(place: Path) -> None:
    found = compared_section(place / "base", place / "worse")
    (changes,) = found["changes"]
    change, low, high, verdict, reason = changes["quiz"]["accuracy"]
    assert low < change < high < 0
    assert (verdict, reason) == ("forgot", None)
    change, low, high, *_ = changes["quiz"]["ece_10_bin"]
    before, after = (runs.read(place / name).tasks["quiz"].metrics["ece_10_bin"].value for name in ("base", "worse"))
    assert before is not None
    assert after is not None
    assert change == pytest.approx(before - after)
    assert low < change < high
    assert set(changes) == {"exam", "quiz", "few"}


def test_a_change_that_is_not_that_of_the_scores_shown_is_left_out(place: Path) -> None:
    """A comparison over the same items has the results' own scores, or no change is given beside them."""
    comparison = compare_runs(place / "base", place / "worse", metrics.load, ComparisonOptions(resamples=100))
    group = comparison.tasks[0]
    quiz = group.parts[0]
    wrong = {"accuracy": replace(quiz.scores["accuracy"], before=0.123)}
    for lonely, left_out in (((), True), (("i1",), False)):
        part = replace(quiz, scores={**quiz.scores, **wrong}, only_before=lonely)
        changed = replace(comparison, tasks=(replace(group, parts=(part, *group.parts[1:])),))
        found = of_comparisons([changed], [place / "base", place / "worse"], metrics.load, reliability)
        assert found
        change = found["changes"][0]["quiz"]["accuracy"]
        assert (change[0] is None) == left_out
        assert (change[4] is not None) == left_out


def test_only_what_was_compared_is_shown(place: Path) -> None:
    found = compared_section(place / "base", place / "worse", tasks=("quiz",))
    assert [row["name"] for row in found["rows"]] == ["quiz"]
    assert {one["task"] for one in found["diagrams"]} == {"quiz"}
    assert {one["task"] for one in found["drops"]} == {"quiz"}


def test_a_results_file_will_do_for_its_folder(place: Path) -> None:
    found = compared_section(place / "base" / "results.json", place / "worse" / "results.json")
    assert any(one["points"] for one in found["diagrams"])
