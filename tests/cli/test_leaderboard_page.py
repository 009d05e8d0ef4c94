"""`harness leaderboard --html`: a page beside the table, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.store import runs
from tests.cli.conftest import Call
from tests.compare.comparing import Made, choices, folder
from tests.store.records import group, run, task


@pytest.fixture
def results(in_tmp: Path) -> Path:
    """Two systems on one task, with statistics."""
    for name, share in (("good", 9), ("bad", 3)):
        made = Made(choices([number % 10 < share for number in range(60)]), {"accuracy": ("accuracy", {})})
        folder(in_tmp / "results" / name, {"quiz": made}, system=name)
    return in_tmp / "results"


def embedded(page: Path) -> dict[str, list[dict[str, Any]]]:
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert text
    found: dict[str, list[dict[str, Any]]] = json.loads(text[1])
    return found


def test_a_page_is_written_beside_the_table(call: Call, results: Path) -> None:
    done = call("leaderboard", results, "--html", "pages/board.html")
    assert done.code == 0
    assert "good" in done.out
    assert done.err == "Page: pages/board.html\n"
    data = embedded(Path("pages/board.html"))
    assert [row["label"] for row in data["rows"]] == ["good", "bad"]
    assert [row["standing"]["rank"] for row in data["rows"]] == [1, 2]


def test_other_formats_keep_standard_output_to_themselves(call: Call, results: Path) -> None:
    done = call("leaderboard", results, "--format", "json", "--html", "board.html")
    assert json.loads(done.out)["rows"]
    assert Path("board.html").is_file()


def test_the_page_follows_the_columns_asked_for(call: Call, in_tmp: Path) -> None:
    runs.write(run("a", {"x": task(0.1), "y": task(0.2)}, {"g": group(["x", "y"])}), in_tmp / "results" / "a")
    call("leaderboard", "--html", "groups.html")
    call("leaderboard", "--html", "tasks.html", "--columns", "tasks")
    assert [column["name"] for column in embedded(Path("groups.html"))["columns"]] == ["g"]
    assert [column["name"] for column in embedded(Path("tasks.html"))["columns"]] == ["x", "y"]


def test_a_folder_is_no_page(call: Call, results: Path) -> None:
    assert "Cannot write results: Is a directory" in " ".join(call("leaderboard", results, "--html", "results").message.split())


def test_what_cannot_be_written_says_why(call: Call, results: Path) -> None:
    Path("file").write_text("kept")
    assert "Cannot write" in call("leaderboard", results, "--html", "file/board.html").message
    assert Path("file").read_text() == "kept"


def test_without_results_no_page_is_written(call: Call, in_tmp: Path) -> None:
    assert "does not exist" in call("leaderboard", "--html", "board.html").message
    assert not Path("board.html").exists()


def test_statistics_that_are_cut_are_named(call: Call, results: Path) -> None:
    (results / "good" / "samples" / "quiz.statistics.json").write_text("{")
    assert "quiz.statistics.json" in call("leaderboard", results, "--html", "board.html").message.replace("\n", "")
    assert not Path("board.html").exists()
