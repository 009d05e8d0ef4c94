"""Reports are found by name, and one file outside the package adds one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compare.leaderboard import leaderboard
from harness.errors import InputError
from harness.gate.decision import GateDecision
from harness.report.base import ForgettingContent, LeaderboardContent, Report, load, names, report
from harness.store import runs
from tests.compare.forgotten import comparisons, folders
from tests.gate.made import decided, policy, quiz
from tests.gate.made import run as gate_run
from tests.outside import harness_outside
from tests.store.records import run, task

OWN_REPORT = '''
from dataclasses import dataclass

from harness.report.base import LeaderboardContent, Report, report


@report("podium")
@dataclass(kw_only=True)
class Podium(Report):
    """Who came first."""

    def leaderboard(self, content: LeaderboardContent) -> str:
        return "".join(f"{place}. {row.label}\\n" for place, row in enumerate(content.board.rows, 1))
'''


def content() -> LeaderboardContent:
    records = [(folder, runs.read(folder)) for folder in folders()[:2]]
    board = leaderboard(records)
    return LeaderboardContent(board, board, records)


def decision(place: Path) -> GateDecision:
    return decided(gate_run(place, {"quiz": quiz(281, 400)}), None, policy("quiz >= 0.5"))


def test_one_file_adds_a_report_from_outside_the_package(tmp_path: Path) -> None:
    (tmp_path / "own" / "reports").mkdir(parents=True)
    (tmp_path / "own" / "reports" / "podium.py").write_text(OWN_REPORT)
    for name, value in (("slow", 0.2), ("quick", 0.9)):
        runs.write(run(name, {"quiz": task(value)}), tmp_path / "results" / name)
    done = harness_outside(tmp_path, tmp_path / "own", "leaderboard", "--format", "podium")
    assert (done.returncode, done.stdout) == (0, "1. quick\n2. slow\n"), done.stderr
    missing = harness_outside(tmp_path, tmp_path, "leaderboard", "--format", "podium")
    assert missing.returncode == 2
    assert "There is no report 'podium' (--format)." in missing.stderr
    assert "csv, html, json, md, table" in " ".join(missing.stderr.split())


def test_each_subject_has_its_reports() -> None:
    assert {"csv", "html", "json", "md", "table"} <= set(names("leaderboard"))
    assert {"html", "json", "md", "notebook", "table"} <= set(names("forgetting"))
    assert {"junit", "md", "table"} <= set(names("decision"))


@pytest.mark.parametrize("name", ["csv", "html", "json", "md", "table"])
def test_every_report_of_a_leaderboard_names_the_systems(name: str) -> None:
    text = load(name, "leaderboard").leaderboard(content())
    assert text.endswith(("\n", "</html>"))
    assert "eager" in text


@pytest.mark.parametrize("name", ["html", "json", "md", "notebook", "table"])
def test_every_report_of_comparisons_names_the_systems(name: str) -> None:
    text = load(name, "forgetting").forgetting(ForgettingContent(comparisons(), folders()[:3]))
    assert text.endswith(("\n", "</html>"))
    assert "eager" in text
    assert "careful" in text


@pytest.mark.parametrize("name", ["junit", "md", "table"])
def test_every_report_of_a_decision_gives_the_rule(name: str, tmp_path: Path) -> None:
    text = load(name, "decision").decision(decision(tmp_path / "tuned"))
    assert text.endswith("\n")
    assert "quiz &gt;= 0.5" in text or "quiz >= 0.5" in text


def test_a_table_fits_its_width_and_is_coloured_on_request_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    text = load("table", "leaderboard", width=60).leaderboard(content())
    assert max(map(len, text.splitlines())) <= 60
    assert "\x1b[" not in text
    assert "\x1b[" in load("table", "leaderboard", color=True).leaderboard(content())


def test_a_report_that_does_not_show_a_subject_is_refused_with_those_that_do() -> None:
    with pytest.raises(InputError, match="'junit' does not show a leaderboard") as error:
        load("junit", "leaderboard")
    assert "csv, html, json, md, table" in str(error.value.remedy)
    with pytest.raises(InputError, match="no report 'tabel'") as error:
        load("tabel", "leaderboard")
    assert "Did you mean table?" in str(error.value.remedy)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(InputError, match="Report name 'md'"):
        report("md")(type("OtherMarkdown", (Report,), {}))


def test_the_ranking_is_over_the_selected_columns() -> None:
    made = content()
    assert made.ranking.families.keys() == {column.family for column in made.board.columns}
    assert len(made.ranking.overall) == 2
