"""The section of measures as a person uses it, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from harness import metrics
from harness.compare.comparison import ComparisonOptions, compare_runs
from harness.compare.leaderboard import leaderboard
from harness.metrics.calibration import reliability
from harness.report.html.forgetting import forgetting_page
from harness.report.html.leaderboard import leaderboard_page
from harness.report.html.measures import of_board, of_comparisons
from harness.store import runs
from harness.util.text import value_text
from tests.compare.comparing import Made, choices, folder
from tests.compare.measured import COPIES, TYPOS, all_of, measured, quiz, read
from tests.report.html.conftest import Show
from tests.signed import signed

NASTY = '<script>alert(1)</script><img src=x onerror="alert(2)">'


def board_page(*folders: Path) -> str:
    found = read(*folders)
    board = leaderboard(found)
    section = of_board(board, found, metrics.load, reliability)
    return leaderboard_page(board, found, metrics.load, resamples=100, measures=section)


def forgotten_page(before: Path, *after: Path) -> str:
    comparisons = [compare_runs(before, one, metrics.load, ComparisonOptions(resamples=100)) for one in after]
    return forgetting_page(comparisons, measures=of_comparisons(comparisons, [before, *after], metrics.load, reliability))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and two candidates, each with a group of two tasks; the second task is small."""
    path = tmp_path_factory.mktemp("runs")
    for name, share in (("base", 0.7), ("worse", 0.2), ("other", 0.9)):
        tasks = {"quiz": quiz(share=share, seed=int(10 * share)), "few": quiz(20, share)}
        measured(path / name, tasks, name, groups=all_of(list(tasks)))
    return path


@pytest.fixture(scope="module")
def one_board(place: Path) -> str:
    return board_page(place / "base")


@pytest.fixture(scope="module")
def board(place: Path) -> str:
    return board_page(place / "base", place / "worse")


@pytest.fixture(scope="module")
def forgotten(place: Path) -> str:
    return forgotten_page(place / "base", place / "worse", place / "other")


def cell(page: Page, row: str, family: str) -> Any:
    table = page.locator("#measure-table .scroller")
    place = table.locator("tr.columns .name").all_inner_texts().index(family)
    return table.locator("tbody tr").filter(has=page.locator("th", has_text=row)).locator("td").nth(place)


def names(page: Page) -> list[str]:
    return page.locator("#measure-table .scroller tbody th").all_inner_texts()


def test_a_row_for_each_group_and_task_and_a_column_for_each_family(show: Show, one_board: str, place: Path) -> None:
    page = show(one_board)
    assert names(page) == ["exam", "quiz", "few"]
    assert page.locator("#measure-table tr.columns .name").all_inner_texts() == [
        "Accuracy", "Calibration", "Robustness", "Fairness", "Bias", "Toxicity", "Efficiency",
    ]  # fmt: skip
    record = runs.read(place / "base").tasks["quiz"].metrics["ece_10_bin"]
    assert record.ci
    lines = cell(page, "quiz", "Calibration").inner_text().split("\n")
    assert lines == [f"{record.value:.3f} ↓", f"[{record.ci[0]:.3f}, {record.ci[1]:.3f}] n 300", "ece_10_bin"]
    assert cell(page, "few", "Calibration").inner_text().startswith("—\nonly 20 items; calibration needs 300")
    assert "not texts" in cell(page, "quiz", "Toxicity").inner_text()
    assert cell(page, "quiz", "Efficiency").inner_text() == "—"


def test_a_cells_tooltip_has_the_other_measures_of_its_family(show: Show, one_board: str) -> None:
    page = show(one_board)
    cell(page, "quiz", "Calibration").hover()
    text = page.locator("#tip").inner_text()
    for part in ("quiz: calibration", "ece_10_bin_renormalized", "platt_ece", "selective_acc@10", "by chance", "less is better, n 300"):
        assert part in text
    cell(page, "quiz", "Efficiency").hover()
    assert "--measures efficiency" in page.locator("#tip").inner_text()


def test_a_diagram_has_its_bins_where_they_lie(show: Show, one_board: str, place: Path) -> None:
    page = show(one_board)
    page.locator("#diagram-tools").get_by_label("Task").select_option("quiz")
    page.locator("#diagram-tools").get_by_label("Measure").select_option("ece_10_bin")
    assert page.locator("#diagrams .bin path").count() == 10
    assert page.locator("#diagrams .bin text").all_text_contents() == ["30"] * 10
    record = runs.read(place / "base").tasks["quiz"].metrics["ece_10_bin"]
    assert f"ece_10_bin {record.value:.3f}" in page.locator("#diagrams figure p").inner_text()
    assert "n 300; by chance" in page.locator("#diagrams figure p").inner_text()
    section = of_board(leaderboard(read(place / "base")), read(place / "base"), metrics.load, reliability)
    assert section
    (diagram,) = [one for one in section["diagrams"] if (one["task"], one["metric"]) == ("quiz", "ece_10_bin")]
    places = page.evaluate(
        """() => {
          const at = (line, name) => Number(line.getAttribute(name));
          const whole = document.querySelector("#diagrams .diagonal");
          const ends = ["x1", "x2", "y1", "y2"].map((name) => at(whole, name));
          return [...document.querySelectorAll("#diagrams .bin")].map((bin) => {
            const [x, y] = bin.querySelector("path").getAttribute("transform").match(/[\\d.]+/g).map(Number);
            const line = bin.querySelector("line");
            const share = (value) => (value - ends[2]) / (ends[3] - ends[2]);
            return [(x - ends[0]) / (ends[1] - ends[0]), share(y), share(at(line, "y1")), share(at(line, "y2"))];
          });
        }"""
    )
    for drawn, point in zip(places, diagram["points"], strict=True):
        assert drawn == pytest.approx(point[:4], abs=1e-6)


def test_a_group_has_the_diagram_of_all_its_items(show: Show, one_board: str) -> None:
    page = show(one_board)
    assert page.locator("#diagrams figcaption").inner_text() == "base, exam"
    assert "ece_10_bin_micro" in page.locator("#diagrams figure p").inner_text()
    assert page.locator("#diagrams .bin text").all_text_contents() == ["32"] * 10
    page.locator("#diagram-tools").get_by_label("Task").select_option("quiz")
    assert page.locator("#diagrams .bin text").all_text_contents() == ["30"] * 10


def test_arrow_keys_go_from_bin_to_bin(show: Show, one_board: str) -> None:
    page = show(one_board)
    page.locator("#diagrams svg").first.focus()
    page.keyboard.press("ArrowRight")
    assert "items" in page.locator("#tip").inner_text()
    first = page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text() != first


def test_what_was_refused_says_why_in_place_of_a_diagram(show: Show, one_board: str) -> None:
    page = show(one_board)
    page.locator("#diagram-tools").get_by_label("Task").select_option("few")
    page.locator("#diagram-tools").get_by_label("Measure").select_option("ece_10_bin")
    assert page.locator("#diagrams .bin").count() == 0
    assert "only 20 items; calibration needs 300" in page.locator("#diagrams figure p").inner_text()


def test_several_systems_stand_side_by_side(show: Show, board: str) -> None:
    page = show(board)
    page.locator("#diagram-tools").get_by_label("Task").select_option("quiz")
    page.locator("#diagram-tools").get_by_label("Measure").select_option("ece_10_bin")
    assert page.locator("#diagrams figcaption").all_inner_texts() == ["base, quiz", "worse, quiz"]
    assert page.locator("#diagrams .bin").count() == 20
    page.locator("#diagram-tools").get_by_label("Systems").select_option(label="worse")
    assert page.locator("#diagrams figcaption").all_inner_texts() == ["worse, quiz"]
    page.locator("#measure-tools").get_by_label("Show").select_option(label="quiz, all systems")
    assert names(page) == ["base", "worse"]
    page.locator("#drop-tools").get_by_label("Perturbed").select_option(label="quiz, all systems")
    assert page.locator("#drops tbody th .sub").all_inner_texts() == ["accuracy · base"] * 4 + ["accuracy · worse"] * 4
    page.locator("#drop-tools").get_by_label("Perturbed").select_option(label="worse")
    assert page.locator("#drops tbody tr").count() == 8
    page.locator("#measure-tools").get_by_label("Show").select_option(label="worse")
    assert names(page) == ["exam", "quiz", "few"]


def test_drops_have_a_line_each_with_their_interval_where_it_lies(show: Show, one_board: str, place: Path) -> None:
    page = show(one_board)
    lines = page.locator("#drops tbody tr")
    assert lines.count() == 8
    drop = runs.read(place / "base").tasks["quiz"].perturbations[0]
    assert drop.perturbation == signed(TYPOS)
    assert drop.drop.ci
    assert drop.drop.value is not None
    line = lines.first
    assert line.locator("th").inner_text().split("\n") == ["quiz · typos", "accuracy"]
    texts = line.locator("td").all_inner_texts()
    assert texts[0] == f"{value_text(drop.before.value, 'share')} → {value_text(drop.after.value, 'share')}"
    low, high = drop.drop.ci
    assert texts[2].split("\n")[1] == f"[{low:.3f}, {high:.3f}]"
    assert texts[3] == "200 of 300"
    places = line.locator("svg").evaluate(
        """(svg) => {
          const at = (selector, name) => Number(svg.querySelector(selector).getAttribute(name));
          return {zero: at(".zero", "x1"), low: at(".mark line", "x1"), high: at(".mark line", "x2"),
            value: Number(svg.querySelector(".mark path").getAttribute("transform").match(/[\\d.]+/)[0])};
        }"""
    )
    unit = (places["value"] - places["zero"]) / drop.drop.value
    assert (places["low"] - places["zero"]) / unit == pytest.approx(low, rel=1e-4)
    assert (places["high"] - places["zero"]) / unit == pytest.approx(high, rel=1e-4)
    coloured = page.locator("#drops tbody tr").filter(has=page.locator(".mark.forgot")).locator("th").all_inner_texts()
    assert "quiz · typos\naccuracy" in coloured
    assert not any("worst" in text for text in coloured)


def test_an_item_that_did_not_change_draws_no_mark(show: Show, tmp_path: Path) -> None:
    path = measured(tmp_path, {"quiz": quiz(20)})
    record = runs.read(path)
    task = record.tasks["quiz"]
    none = {"value": None, "ci": None, "ci_method": None, "reason": "no item's text changed", "n": 0}
    first = task.perturbations[0]
    empty = first.model_copy(
        update={"changed": 0} | {name: getattr(first, name).model_copy(update=none) for name in ("before", "after", "drop")}
    )
    runs.write(record.model_copy(update={"tasks": {"quiz": task.model_copy(update={"perturbations": [empty]})}}), path)
    page = show(board_page(path))
    assert page.locator("#drops .mark").count() == 0
    assert "no item's text changed" in page.locator("#drops tbody tr").inner_text()


def test_where_accuracy_alone_was_measured_there_is_no_section(show: Show, tmp_path: Path) -> None:
    path = folder(tmp_path, {"quiz": Made(choices([True, False, True]), {"accuracy": ("accuracy", {})})})
    for page in (show(board_page(path)), show(forgotten_page(path, path))):
        assert page.locator("#measures").count() == 0
        assert "Reliability" not in page.locator("main").inner_text()


def test_calibration_alone_has_no_drops(show: Show, tmp_path: Path) -> None:
    page = show(board_page(measured(tmp_path, {"quiz": quiz(20)}, copies={})))
    assert page.locator("#drops").count() == 0
    assert page.locator("#measures").count() == 1


def test_names_that_are_markup_stay_text(show: Show, tmp_path: Path) -> None:
    copies = {f"{NASTY}|v:1": COPIES[TYPOS]}
    paths = [measured(tmp_path / name, {NASTY: quiz()}, name + NASTY, copies=copies) for name in ("one", "two")]
    for html in (board_page(*paths), forgotten_page(*paths)):
        page = show(html)
        assert NASTY in names(page)
        assert NASTY in page.locator("#diagrams").inner_text()
        assert f"{NASTY} · {NASTY}" in page.locator("#drops tbody").inner_text()
        assert page.locator("main img, main script").count() == 0
        cell(page, NASTY, "Calibration").hover()
        assert NASTY in page.locator("#tip").inner_text()


def test_before_and_after_stand_in_one_cell_with_their_change(show: Show, forgotten: str, place: Path) -> None:
    page = show(forgotten)
    before, after = (runs.read(place / name).tasks["quiz"].metrics["accuracy"].value for name in ("base", "worse"))
    lines = cell(page, "quiz", "Accuracy").inner_text().split("\n")
    assert lines[0] == f"{before:.3f} → {after:.3f} ↑"
    assert lines[1].startswith("−0.")
    assert lines[1].endswith("]")
    page.locator("#candidate-tools").get_by_label("Candidate").select_option("1")
    third = runs.read(place / "other").tasks["quiz"].metrics["accuracy"].value
    lines = cell(page, "quiz", "Accuracy").inner_text().split("\n")
    assert lines[0] == f"{before:.3f} → {third:.3f} ↑"
    assert lines[1].startswith("+0.")
    cell(page, "quiz", "Accuracy").hover()
    assert "base 0." in page.locator("#tip").inner_text()
    assert ", improved" in page.locator("#tip").inner_text()


def test_the_bases_bins_and_drops_stand_beside_the_candidates(show: Show, forgotten: str) -> None:
    page = show(forgotten)
    page.locator("#diagram-tools").get_by_label("Task").select_option("quiz")
    page.locator("#diagram-tools").get_by_label("Measure").select_option("ece_10_bin")
    assert page.locator("#diagrams figure").count() == 1
    assert page.locator("#diagrams .bin.base").count() == 10
    assert page.locator("#diagrams .bin:not(.base)").count() == 10
    words = page.locator("#diagrams figure p").all_inner_texts()
    assert [text.partition(":")[0].strip() for text in words] == ["base", "worse"]
    subs = page.locator("#drops tbody th .sub").all_inner_texts()
    assert subs[:4] == ["accuracy · base", "accuracy · worse"] * 2
    page.locator("#drop-tools").get_by_label("Perturbed").select_option(label="few")
    assert {text.split(" · ")[0] for text in page.locator("#drops tbody th").all_inner_texts()} == {"few"}


def test_paper_holds_the_table_of_measures(show: Show, board: str) -> None:
    page = show(board)
    page.emulate_media(media="print")
    page.wait_for_selector("#measure-table .paper", state="attached")
    assert page.locator("#measure-table .paper").first.locator("tbody th").all_inner_texts() == ["exam", "quiz", "few"]
    assert page.locator("#measure-table .scroller").is_hidden()


def test_nothing_lies_beside_the_window(show: Show, board: str, forgotten: str) -> None:
    for html in (board, forgotten):
        for width in (1400, 700, 380):
            page = show(html, viewport={"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
