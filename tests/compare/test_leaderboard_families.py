"""The seven families of measures side by side: which columns there are, who leads in each, and what cannot be ranked."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console, RenderableType

from harness import metrics
from harness.compare.families import first_measure
from harness.compare.leaderboard import View, headlines, leaderboard, select
from harness.compare.leaderboard_table import Leaderboard, LeaderboardCell
from harness.compare.ranking import Ranking, ranking
from harness.contract import Family
from harness.report.comma_separated import leaderboard_csv
from harness.report.json_report import leaderboard_json
from harness.report.markdown import leaderboard_markdown
from harness.report.measures import rows
from harness.report.terminal import families_view, leaderboard_view
from harness.store.records import GroupRecord, MetricRecord, RunRecord, TaskRecord
from tests.signed import signed
from tests.store.records import metric, run, task

FAMILIES: tuple[Family, ...] = get_args(Family)
NO_TEXT = "answers are choices or scores, not texts"


def lower(value: float | None, name: str, family: Family, **changes: Any) -> MetricRecord:
    return metric(value, **{"higher_is_better": False, "signature": signed(f"{name}|v:1"), "family": family} | changes)


def seven(good: float, **changes: Any) -> TaskRecord:
    """A task on which every family was measured; a system with more of `good` is better in each, but slower."""
    own = {
        "acc": metric(good),
        "brier": lower(1 - good, "brier", "calibration"),
        "ece_10_bin": lower(0.5, "ece_10_bin", "calibration"),
        "acc_robustness": metric(good / 2, signature=signed("acc|v:1|worst:mild_mix"), family="robustness"),
        "acc_fairness": metric(good / 3, signature=signed("acc|v:1|worst:gender"), family="fairness"),
        "representation_gender": lower(1 - good, "representation", "bias"),
        "toxic_fraction": lower(1 - good, "toxic_fraction", "toxicity"),
        "seconds_alone": lower(good, "seconds_alone", "efficiency", unit="s", high=None),
    }
    return task(metrics=own | changes.pop("metrics", {}), **changes)


def made(*records: RunRecord, columns: View = "groups", chosen: tuple[Family, ...] = FAMILIES) -> tuple[Leaderboard, Ranking]:
    found = [(Path("results") / str(number), record) for number, record in enumerate(records)]
    board = select(leaderboard(found, columns), chosen)
    return board, ranking(board, found, metrics.load, resamples=200)


def usual() -> tuple[Leaderboard, Ranking]:
    return made(run("good", {"x": seven(0.9)}), run("bad", {"x": seven(0.3)}))


def rates(board: Leaderboard, found: Ranking, family: Family) -> dict[str, float | None]:
    return {row.system: one.win_rate for row, one in zip(board.rows, found.families[family].standings, strict=True)}


def cell(board: Leaderboard, system: str, metric_name: str) -> LeaderboardCell | None:
    place = [column.metric for column in board.columns].index(metric_name)
    return next(row.cells[place] for row in board.rows if row.system == system)


def shown(view: RenderableType, width: int = 160) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(view)
    return console.export_text()


def test_a_task_has_one_column_for_each_family_behind_its_headline() -> None:
    board, _ = usual()
    assert [(column.family, column.metric) for column in board.columns] == [
        ("accuracy", "acc"),
        ("calibration", "brier"),
        ("robustness", "acc_robustness"),
        ("fairness", "acc_fairness"),
        ("bias", "representation_gender"),
        ("toxicity", "toxic_fraction"),
        ("efficiency", "seconds_alone"),
    ]
    assert [column.headline for column in board.columns] == [True] + [False] * 6


def test_headlines_of_all_tasks_come_first() -> None:
    board, _ = made(run("a", {"x": seven(0.9), "y": seven(0.9)}))
    assert [column.name for column in board.columns] == ["x", "y"] * 7
    assert [column.headline for column in board.columns] == [True, True] + [False] * 12


@pytest.mark.parametrize("brier", [0.4, None])
def test_a_column_is_of_the_measure_that_stands_for_the_family_in_the_run(brier: float | None) -> None:
    record = run("a", {"x": seven(0.9, metrics={"brier": lower(brier, "brier", "calibration")})})
    (row,) = rows(record)
    board, _ = made(record)
    assert {column.family: column.metric for column in board.columns} == {family: one.name for family, one in row.cells.items()}
    assert ("ece_10_bin" if brier is None else "brier") in {column.metric for column in board.columns}


def test_a_family_is_stood_for_by_a_value_then_a_headline_then_the_first() -> None:
    own = {"first": metric(0.1), "null": metric(None), "acc": metric(0.5), "brier": lower(0.5, "brier", "calibration")}
    assert first_measure(own, ["acc"], "accuracy") == "acc"
    assert first_measure(own, ["null"], "accuracy") == "first"
    assert first_measure(own, [], "accuracy") == "first"
    assert first_measure(own, ["acc"], "calibration") == "brier"
    assert first_measure(own, ["acc"], "bias") is None


def test_the_measure_that_most_runs_choose_makes_the_column() -> None:
    odd = seven(0.9, metrics={"brier": lower(None, "brier", "calibration", reason="too few")})
    board, _ = made(run("odd", {"x": odd}), run("a", {"x": seven(0.5)}), run("b", {"x": seven(0.4)}))
    assert [column.metric for column in board.columns if column.family == "calibration"] == ["brier"]
    missing = cell(board, "odd", "brier")
    assert missing
    assert (missing.value, missing.reason, missing.ranked) == (None, "too few", False)


def test_a_headline_of_another_family_takes_the_place_of_its_column() -> None:
    pairs = task(
        metrics={"pairs": lower(0.6, "pairs", "bias"), "brier": lower(0.2, "brier", "calibration"), "more": lower(0.1, "more", "bias")}
    )
    board, _ = made(run("a", {"pairs": pairs}))
    assert [(column.metric, column.family, column.headline) for column in board.columns] == [
        ("pairs", "bias", True),
        ("brier", "calibration", False),
    ]


def test_a_task_counts_once_however_much_was_measured_of_it() -> None:
    """a leads on x, of which all is measured; b leads on y and z, of which only accuracy is."""
    plain = [{"y": task(value), "z": task(value)} for value in (0.1, 0.2)]
    board, found = made(run("a", {"x": seven(0.9)} | plain[0]), run("b", {"x": seven(0.2)} | plain[1]))
    assert [row.system for row in board.rows] == ["b", "a"]
    assert [row.win_rate for row in board.rows] == pytest.approx([2 / 3, 1 / 3])
    assert [one.win_rate for one in found.overall] == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "efficiency"])
def test_more_or_less_is_better_as_the_measure_says(family: Family) -> None:
    board, found = usual()
    assert rates(board, found, family) == {"good": 1.0, "bad": 0.0}
    column = next(column for column in board.columns if column.family == family)
    best = {row.system for row in board.rows if (one := row.cells[board.columns.index(column)]) and one.best}
    assert best == {"good"}


def test_win_rates_of_a_family_by_hand() -> None:
    """Calibration error, less is better. x: a 0.1, b 0.1, c 0.3, so a and b 0.75, c 0. y: a 0.4, c 0.2, so a 0, c 1."""

    def off(**values: float) -> dict[str, TaskRecord]:
        return {name: task(metrics={"acc": metric(0.5), "ece": lower(value, "ece", "calibration")}) for name, value in values.items()}

    board, found = made(run("a", off(x=0.1, y=0.4)), run("b", off(x=0.1)), run("c", off(x=0.3, y=0.2)))
    assert rates(board, found, "calibration") == {"a": 0.375, "b": 0.75, "c": 0.5}
    assert set(rates(board, found, "accuracy").values()) == {0.5}
    within = found.families["calibration"]
    assert (within.columns, within.ranked, within.reason) == (2, 2, None)
    for one in within.standings:
        assert one.win_rate is not None
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.win_rate <= one.high


def test_the_interval_of_a_family_covers_other_columns() -> None:
    """a surely leads on x and surely trails on y: with other tasks it might lead or trail throughout."""

    def off(first: float, second: float) -> dict[str, TaskRecord]:
        values = {"x": first, "y": second}
        return {name: task(metrics={"acc": metric(0.5), "ece": lower(value, "ece", "calibration")}) for name, value in values.items()}

    _, found = made(run("a", off(0.1, 0.9)), run("b", off(0.9, 0.1)))
    for one in found.families["calibration"].standings:
        assert (one.win_rate, one.low, one.high) == (0.5, 0.0, 1.0)


def test_efficiency_is_shown_and_never_ranked() -> None:
    board, found = usual()
    seconds = cell(board, "good", "seconds_alone")
    assert seconds
    assert (seconds.value, seconds.ranked, seconds.best) == (0.9, False, False)
    within = found.families["efficiency"]
    assert (within.columns, within.ranked, within.reason) == (1, 0, "machines differ")
    assert "efficiency is not ranked: machines differ" in found.notes
    assert rates(board, found, "efficiency") == {"good": None, "bad": None}
    assert "0.900" in shown(leaderboard_view(select(board, ("efficiency",)), 100))


def test_one_system_is_ranked_in_no_family() -> None:
    board, found = made(run("alone", {"x": seven(0.9)}))
    assert list(found.families) == list(FAMILIES)
    assert all(within.ranked == 0 and within.reason for within in found.families.values())
    assert "calibration is not ranked: no column has comparable numbers of two systems" in found.notes
    assert "toxicity is not ranked: no column has comparable numbers of two systems" in shown(families_view(board, found, 120))


def test_what_is_missing_says_why() -> None:
    nothing = task(metrics={"acc": metric(0.5)}, without={"toxicity": NO_TEXT})
    null = seven(0.4, metrics={"brier": lower(None, "brier", "calibration", reason="too few items")})
    unrequested = task(0.6)
    tasks = {"nothing": nothing, "null": null, "unrequested": unrequested, "whole": seven(0.9), "second": seven(0.8)}
    board, found = made(*(run(name, {"x": one}) for name, one in tasks.items()))
    toxic, brier = cell(board, "nothing", "toxic_fraction"), cell(board, "null", "brier")
    assert toxic == LeaderboardCell(None, None, None, NO_TEXT, 0)
    assert brier
    assert (brier.value, brier.reason) == (None, "too few items")
    assert cell(board, "unrequested", "toxic_fraction") is None
    assert {note.where for note in board.missing} == {f"nothing on x toxic_fraction: {NO_TEXT}", "null on x brier: too few items"}
    assert f"toxicity does not rank nothing: {NO_TEXT}" in found.notes
    assert "toxicity does not rank unrequested: not measured" in found.notes


def test_a_family_that_was_requested_and_has_no_column_has_a_reason() -> None:
    one = task(without={"toxicity": NO_TEXT, "bias": NO_TEXT})
    board, found = made(run("a", {"x": one}), run("b", {"x": one}))
    assert {column.family for column in board.columns} == {"accuracy"}
    assert f"toxicity has no column: {NO_TEXT}" in found.notes
    assert select(board, ("bias",)).without == {"bias": NO_TEXT}
    assert list(found.families) == ["accuracy"]


def with_group(good: float, **members: TaskRecord) -> RunRecord:
    own = {"acc": metric(good, signature=signed("acc|v:1|average:macro|tasks:2|tasks_digest:x"))}
    if all("brier" in one.metrics for one in members.values()):
        own["brier_micro"] = lower(1 - good, "brier|v:1|average:micro", "calibration")
    return run(f"s{good}", members, {"g": GroupRecord(title="G", tasks=list(members), metrics=own)})


def test_a_group_has_its_own_measures_and_says_which_tasks_lack_them() -> None:
    bare = task(0.5, without={"calibration": "answers are not choices"})
    whole, part = with_group(0.8, x=seven(0.8), y=seven(0.8)), with_group(0.4, x=seven(0.4), y=bare)
    board, _ = made(whole, part)
    assert [(column.name, column.metric, column.family) for column in board.columns] == [
        ("g", "acc", "accuracy"),
        ("g", "brier_micro", "calibration"),
    ]
    lacking = cell(board, "s0.4", "brier_micro")
    assert lacking
    assert lacking.reason == "1 of 2 tasks have none: answers are not choices"
    assert len(made(whole, columns="tasks")[0].columns) == 14


def test_numbers_of_another_signature_are_ranked_in_no_family() -> None:
    board, found = made(run("a", {"x": seven(0.5)}), run("b", {"x": seven(0.4)}), run("odd", {"x": seven(0.9, shots=0)}))
    assert all(rates(board, found, family) == {"a": 1.0, "b": 0.0, "odd": None} for family in FAMILIES[:-1])
    assert "calibration does not rank odd: shots: 0 instead of 5" in found.notes
    (note,) = board.footnotes
    assert note.text == "† not ranked: odd on x, x brier, x acc_robustness, x acc_fairness and 3 more: shots: 0 instead of 5"


def test_chosen_families_are_ranked_by_their_own_columns() -> None:
    """More accurate, worse calibrated."""
    off = [task(metrics={"acc": metric(value), "ece": lower(value, "ece", "calibration")}) for value in (0.9, 0.2)]
    whole, _ = made(run("clever", {"x": off[0]}), run("modest", {"x": off[1]}))
    assert [row.system for row in whole.rows] == ["clever", "modest"]
    chosen = select(whole, ("calibration",))
    assert [(row.system, row.win_rate) for row in chosen.rows] == [("modest", 1.0), ("clever", 0.0)]
    assert [column.metric for column in chosen.columns] == ["ece"]
    assert all(len(row.cells) == 1 for row in chosen.rows)
    assert [(row.system, row.win_rate) for row in headlines(whole).rows] == [("clever", 1.0), ("modest", 0.0)]
    assert [column.metric for column in headlines(whole).columns] == ["acc"]


def test_the_terminal_shows_win_rates_by_family() -> None:
    board, found = made(run("good", {"x": seven(0.9), "y": task(0.5)}), run("bad", {"x": seven(0.3)}))
    text = shown(families_view(board, found, 160))
    assert "1 of 2 columns" in text, "y has accuracy of one system alone"
    for family in FAMILIES:
        assert family in text
    (line,) = [line.split() for line in text.splitlines() if line.startswith("good")]
    assert line == ["good", *["1.000", "[1.000,", "1.000]"] * 6, "—"]
    assert "95 % interval, resampling items and columns" in " ".join(text.split())


@pytest.mark.parametrize("width", [50, 80, 120, 200])
def test_the_families_fit_every_width(width: int) -> None:
    board, found = made(*(run(f"model-{number}+adapter_{number}", {"x": seven(0.2 + number / 10)}) for number in range(6)))
    text = shown(families_view(board, found, width), width)
    assert "…" not in text.replace("FAMILY,…", "")
    assert max(map(len, text.splitlines())) <= width
    assert text.count("0.800") >= 5, "the second of six in each family"


def test_the_table_of_chosen_families_shows_their_numbers_and_what_is_missing() -> None:
    null = seven(0.4, metrics={"brier": lower(None, "brier", "calibration", reason="too few [items]")})
    board, _ = made(run("a", {"x": seven(0.9)}), run("b", {"x": null}), run("c", {"x": seven(0.7)}), chosen=("calibration", "toxicity"))
    text = shown(leaderboard_view(board, 120), 120)
    assert "brier ↓" in text
    assert "toxic_fraction ↓" in text
    assert "acc ↑" not in text
    assert "— no value: b on x brier: too few [items]" in text


def test_markdown_by_hand() -> None:
    off = [task(metrics={"acc": metric(value), "ece": lower(value, "ece", "calibration")}) for value in (0.9, 0.2)]
    board, found = made(run("clever", {"x": off[0]}), run("modest", {"x": off[1]}))
    assert leaderboard_markdown(headlines(board), found) == (
        "| system | win rate | x acc ↑ |\n"
        "| --- | ---: | ---: |\n"
        "| clever | 1.000 | **0.900** [0.850, 0.950] |\n"
        "| modest | 0.000 | 0.200 [0.150, 0.250] |\n"
        "\n"
        "| win rate | accuracy (1 column) | calibration (1 column) |\n"
        "| --- | ---: | ---: |\n"
        "| clever | 1.000 [1.000, 1.000] | 0.000 [0.000, 0.000] |\n"
        "| modest | 0.000 [0.000, 0.000] | 1.000 [1.000, 1.000] |\n"
    )


def test_csv_names_the_family_of_every_number_and_its_win_rate() -> None:
    board, found = usual()
    lines = list(csv.DictReader(io.StringIO(leaderboard_csv(board, found))))
    assert [line["family"] for line in lines] == [*FAMILIES, *FAMILIES]
    by_key = {(line["system"], line["family"]): line for line in lines}
    calibration, efficiency = by_key["good", "calibration"], by_key["good", "efficiency"]
    assert [calibration[f"family_win_rate{end}"] for end in ("", "_low", "_high")] == ["1.0", "1.0", "1.0"]
    assert (efficiency["family_win_rate"], efficiency["ranked"], efficiency["value"]) == ("", "False", "0.9")


def test_json_holds_win_rates_by_family() -> None:
    board, found = usual()
    content = json.loads(leaderboard_json(board, found))
    assert [column["family"] for column in content["columns"]] == list(FAMILIES)
    assert content["families"]["efficiency"] == {"columns": 1, "ranked": 0, "reason": "machines differ"}
    good = next(row for row in content["rows"] if row["system"] == "good")
    assert good["win_rates"]["toxicity"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert good["win_rates"]["efficiency"]["value"] is None
    assert [one["ranked"] for one in good["cells"]] == [True] * 6 + [False]
