"""`harness leaderboard` where more than accuracy was measured."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from harness.store import runs
from tests.cli.conftest import Call
from tests.cli.test_leaderboard_page import embedded
from tests.signed import signed
from tests.store.records import metric, run, task


@pytest.fixture
def measured(in_tmp: Path) -> Path:
    """Two systems, of which the better one is the worse calibrated; toxicity was asked for and does not apply."""
    for name, value in (("clever", 0.9), ("modest", 0.2)):
        own = {"acc": metric(value), "brier": metric(value, higher_is_better=False, signature=signed("brier|v:1"), family="calibration")}
        without = {"toxicity": "answers are choices or scores, not texts"}
        runs.write(run(name, {"quiz": task(metrics=own, without=without)}), in_tmp / "results" / name)
    return in_tmp / "results"


def test_win_rates_by_family_stand_below_the_usual_table(call: Call, measured: Path) -> None:
    out = call("leaderboard").out
    table, families = out.split("\n\n", 1)
    assert "acc ↑" in table
    assert "brier" not in out
    assert families.index("accuracy") < families.index("calibration")
    assert "toxicity has no column: answers are choices or scores, not texts" in families


def test_accuracy_alone_is_one_table(call: Call, in_tmp: Path) -> None:
    runs.write(run("a", {"quiz": task(0.1)}), in_tmp / "results" / "a")
    out = call("leaderboard").out
    assert "acc ↑" in out
    assert "by family" not in out
    assert call("leaderboard", "--format", "md").out.count("| --- |") == 1


def test_chosen_families_show_their_columns(call: Call, measured: Path) -> None:
    out = call("leaderboard", "--measures", "calibration").out
    assert "brier ↓" in out
    assert "acc ↑" not in out
    assert out.index("modest") < out.index("clever"), "less is better"
    both = call("leaderboard", "--measures", "all").out
    assert "acc ↑" in both
    assert "brier ↓" in both


def test_files_have_all_families_unless_some_are_chosen(call: Call, measured: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(call("leaderboard", "--format", "csv").out)))
    assert [(line["system"], line["family"], line["family_win_rate"]) for line in lines] == [
        ("clever", "accuracy", "1.0"),
        ("clever", "calibration", "0.0"),
        ("modest", "accuracy", "0.0"),
        ("modest", "calibration", "1.0"),
    ]
    content = json.loads(call("leaderboard", "--format", "json", "--measures", "calibration").out)
    assert list(content["families"]) == ["calibration"]
    assert [row["win_rates"]["calibration"]["value"] for row in content["rows"]] == [1.0, 0.0]


def test_the_page_has_all_families(call: Call, measured: Path) -> None:
    call("leaderboard", "--html", "board.html", "--measures", "calibration")
    data = embedded(Path("board.html"))
    assert [column["family"] for column in data["columns"]] == ["accuracy", "calibration"]
    rates = {row["label"]: {family: one["rate"] for family, one in row["families"].items()} for row in data["rows"]}
    assert rates == {"clever": {"accuracy": 1, "calibration": 0}, "modest": {"accuracy": 0, "calibration": 1}}


def test_a_family_that_does_not_exist_is_one_message(call: Call, measured: Path) -> None:
    assert "There is no measure 'speed'." in call("leaderboard", "--measures", "speed").message


def test_families_that_nobody_measured_are_one_message_and_no_page(call: Call, measured: Path) -> None:
    message = " ".join(call("leaderboard", "--measures", "toxicity,bias", "--html", "board.html").message.split())
    assert "These runs have no measures of bias, toxicity (toxicity: answers are choices or scores, not texts)." in message
    assert "harness run --measures bias,toxicity" in message
    assert not Path("board.html").exists()
