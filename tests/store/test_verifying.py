"""What `harness results verify` finds in results folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.store.verifying import FolderCheck, lines, verify

from .records import run, task
from .test_saving import edited, saved
from .written import as_version_1


def found(*paths: Path) -> dict[str, FolderCheck]:
    return {one.folder.name: one for one in verify(paths)}


def test_what_runs_wrote_is_verified_second_scorings_included(tmp_path: Path) -> None:
    for name in ("base", "base/noise", "tuned"):
        saved(tmp_path / name, ["a", "b"])
    made = found(tmp_path, tmp_path / "base", tmp_path / "tuned" / "results.json")
    assert {name: (one.state, one.tasks, one.files) for name, one in made.items()} == dict.fromkeys(
        ("base", "noise", "tuned"), ("verified", 2, 4)
    )
    assert list(lines(made["base"])) == [f"verified      {tmp_path / 'base'}: 2 tasks, 4 files verified"]


def test_each_file_that_is_not_what_was_written_is_named_with_its_task(tmp_path: Path) -> None:
    saved(tmp_path / "x", ["a", "b", "c"])
    samples = tmp_path / "x" / "samples"
    edited(samples / "a.statistics.json")
    (samples / "b.jsonl").unlink()
    shutil.copyfile(samples / "a.jsonl", samples / "notes.txt")
    one = found(tmp_path)["x"]
    assert (one.state, one.files) == ("changed", 4)
    assert [(fault.file, fault.task) for fault in one.faults] == [("samples/a.statistics.json", "a"), ("samples/b.jsonl", "b")]
    _, first, second, note = lines(one)
    assert "a.statistics.json (a) is not the file that the results.json next to it records" in first
    assert second.endswith("b.jsonl (b) is missing.")
    assert note == "  samples/notes.txt is not recorded; no report reads it."


def test_files_swapped_between_tasks_are_found(tmp_path: Path) -> None:
    saved(tmp_path / "x", ["a"], "one")
    saved(tmp_path / "x", ["b"], "two")
    samples = tmp_path / "x" / "samples"
    one, two = (samples / f"{name}.jsonl" for name in "ab")
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert [fault.task for fault in found(tmp_path)["x"].faults] == ["a", "b"]


def test_an_edited_or_unreadable_results_file_is_found(tmp_path: Path) -> None:
    for name in ("edited", "cut"):
        saved(tmp_path / name, ["a"])
    path = tmp_path / "edited" / "results.json"
    path.write_text(path.read_text().replace('"value": 0.5,', '"value": 0.9,'))
    path = tmp_path / "cut" / "results.json"
    path.write_text(path.read_text()[:100])
    made = found(tmp_path)
    assert [one.state for one in made.values()] == ["changed", "changed"]
    assert "was changed after it was written" in made["edited"].faults[0].what
    assert "not valid JSON" in made["cut"].faults[0].what


def test_an_earlier_versions_results_are_not_verified(tmp_path: Path) -> None:
    saved(tmp_path / "old", ["a"])
    as_version_1(tmp_path / "old")
    one = found(tmp_path)["old"]
    assert (one.state, one.unverified, one.unrecorded) == ("not verified", ("a",), ())
    assert list(lines(one))[1] == "  Written by an earlier version, without digests: a."


def test_paths_without_a_run_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no results\.json"):
        found(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        found(tmp_path / "gone")


def test_the_command_says_it_with_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    from harness.cli.results import verify as command

    saved(tmp_path / "x", ["a"])
    command([tmp_path])
    assert capsys.readouterr().out.startswith("verified")
    edited(tmp_path / "x" / "samples" / "a.jsonl")
    with pytest.raises(typer.Exit) as caught:
        command([tmp_path], json_=True)
    assert caught.value.exit_code == 2
    content = json.loads(capsys.readouterr().out)
    assert content["verified"] is False
    assert content["folders"][0]["faults"][0]["task"] == "a"
    assert content["folders"][0]["folder"] == str(tmp_path / "x")


def test_a_run_without_kept_files_is_verified(tmp_path: Path) -> None:
    from harness.store.saving import save

    save(run(tasks={"a": task()}), {}, tmp_path / "x")
    assert found(tmp_path)["x"].state == "verified"
