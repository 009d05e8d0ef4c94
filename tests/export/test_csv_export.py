"""Scores go where an exporter sends them, and one file outside the package adds an exporter."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harness.errors import InputError, StorageError
from harness.export.base import ExportedRun, load, read
from harness.store import runs
from tests.compare.forgotten import folders
from tests.outside import harness_outside
from tests.store.records import group, run, task

OWN_EXPORTER = '''
from collections.abc import Sequence
from dataclasses import dataclass

from harness.export.base import ExportedRun, Exporter, export


@export("board")
@dataclass(kw_only=True)
class Board(Exporter):
    """Pins results to a board."""

    destination_form = "BOARD"

    def export(self, exported: Sequence[ExportedRun]) -> str:
        return f"pinned {', '.join(run.record.system.name for run in exported)} to {self.destination}"
'''


def test_one_file_adds_an_exporter_from_outside_the_package(tmp_path: Path) -> None:
    (tmp_path / "own" / "exports").mkdir(parents=True)
    (tmp_path / "own" / "exports" / "board.py").write_text(OWN_EXPORTER)
    runs.write(run("tuned", {"quiz": task(0.5)}), tmp_path / "results" / "tuned")
    done = harness_outside(tmp_path, tmp_path / "own", "export", "results", "--to", "board:kitchen wall")
    assert (done.returncode, done.stdout) == (0, "pinned tuned to kitchen wall\n"), done.stderr
    bare = harness_outside(tmp_path, tmp_path / "own", "export", "results", "--to", "board")
    assert bare.returncode == 2
    assert "Write --to board:BOARD." in bare.stderr


def test_every_score_is_a_line_in_full_precision(tmp_path: Path) -> None:
    record = run("tuned", {"x": task(1 / 3), "y": task(None)}, {"g": group(["x", "y"], 0.25)})
    target = tmp_path / "scores.csv"
    message = load(f"csv:{target}").export([ExportedRun(tmp_path, record)])
    assert message == f"3 scores of 1 run: {target}"
    lines = list(csv.DictReader(target.open(encoding="utf-8")))
    assert [(line["kind"], line["name"], line["metric"]) for line in lines] == [
        ("group", "g", "acc"),
        ("task", "x", "acc"),
        ("task", "y", "acc"),
    ]
    assert float(lines[1]["value"]) == 1 / 3
    assert (lines[2]["value"], lines[2]["reason"]) == ("", "no item")
    assert lines[0]["system"] == "tuned"


def test_template_variants_have_lines_of_their_own(tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    load(f"csv:{target}").export(read([folders()[0]]))
    lines = list(csv.DictReader(target.open(encoding="utf-8")))
    assert {line["template_variant"] for line in lines if line["name"] == "quiz"} == {"", "plain", "other"}


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Unknown exporter 'cvs'") as error:
        load("cvs:scores.csv")
    assert "Did you mean csv?" in str(error.value.remedy)
    with pytest.raises(InputError, match="--to csv needs a destination"):
        load("csv")
    with pytest.raises(InputError, match="does not exist"):
        read([tmp_path / "absent"])


def test_changed_results_are_not_exported(tmp_path: Path) -> None:
    runs.write(run("tuned", {"quiz": task(0.5)}), tmp_path)
    file = tmp_path / "results.json"
    file.write_text(file.read_text().replace('"value": 0.5', '"value": 0.9', 1))
    with pytest.raises(StorageError, match="changed after it was written"):
        read([tmp_path])
