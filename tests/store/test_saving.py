"""A results folder is written by one process at a time, and what lies in it belongs together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.errors import StorageError
from harness.store import runs, samples
from harness.store.records import RunRecord
from harness.store.samples import SampleRecord, StatisticsRecord
from harness.store.saving import SavedSamples, save
from harness.util import locks

from .records import run, task
from .written import as_version_1

ROOT = Path(__file__).resolve().parents[2]
WRITERS = 6
ROUNDS = 3
HOLD = """
import sys, time
from pathlib import Path
from harness.util.locks import locked
with locked(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


def part(place: str, text: str = "a", *, statistics: bool = True) -> SavedSamples:
    kept = {"acc": StatisticsRecord("accuracy", {}, np.array([[len(text), 1.0]]))}
    return SavedSamples(place, [SampleRecord("1", "d1", text, 0, 0, {"acc": 1.0})], kept if statistics else None)


def saved(folder: Path, names: list[str], text: str = "a") -> RunRecord:
    return save(run(tasks={name: task() for name in names}), {name: [part(name, text)] for name in names}, folder)


def texts(folder: Path) -> dict[str, str]:
    """The prompt of each task's sample, all files verified."""
    record = runs.read(folder)
    for name, one in record.tasks.items():
        assert samples.read_statistics(folder, name, one.files)
    return {name: samples.read(folder, name, one.files)[0].prompt for name, one in record.tasks.items()}


def test_a_task_records_its_files(tmp_path: Path) -> None:
    parts = {"quiz": [part("quiz@plain"), part("quiz@plain~typos", statistics=False)], "other": [part("other")]}
    record = save(run(tasks={"quiz": task(), "other": task()}), parts, tmp_path / "new" / "folder")
    assert record == runs.read(tmp_path / "new" / "folder")
    assert sorted(record.tasks["quiz"].files or ()) == [
        "samples/quiz@plain.jsonl",
        "samples/quiz@plain.statistics.json",
        "samples/quiz@plain~typos.jsonl",
    ]
    left = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert left == [".lock", "results.json", "samples"]


def test_a_second_run_adds_its_tasks_and_replaces_its_own(tmp_path: Path) -> None:
    saved(tmp_path, ["a", "b"])
    before = runs.read(tmp_path).tasks["a"]
    saved(tmp_path, ["b", "c"], "other")
    assert texts(tmp_path) == {"a": "a", "b": "other", "c": "other"}
    assert runs.read(tmp_path).tasks["a"] == before


def test_files_that_no_task_has_any_more_are_removed(tmp_path: Path) -> None:
    save(run(tasks={"quiz": task(), "a": task()}), {"quiz": [part("quiz@one"), part("quiz@two")], "a": [part("a")]}, tmp_path)
    saved(tmp_path, ["quiz"])
    found = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert found == ["a.jsonl", "a.statistics.json", "quiz.jsonl", "quiz.statistics.json"]


def test_another_system_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    saved(tmp_path, ["a"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(StorageError, match="another system"):
        save(run("another", tasks={"a": task()}), {"a": [part("a", "other")]}, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_two_tasks_do_not_share_a_file(tmp_path: Path) -> None:
    saved(tmp_path, ["x:y"])
    with pytest.raises(StorageError, match=r"x:y and x\.y would both write samples/x\.y\.jsonl"):
        saved(tmp_path, ["x.y"])
    assert texts(tmp_path) == {"x:y": "a"}


def test_writers_at_once_lose_no_task(tmp_path: Path) -> None:
    """Without the lock, 4, 5 and 8 of the 24 tasks were left in three rounds."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from tests.store.test_saving import saved\n"
        "folder, start, names = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]\n"
        "time.sleep(max(0, start - time.time()))\n"
        "for name in names: saved(folder, [name], name)\n"
    )
    for number in range(ROUNDS):
        folder = tmp_path / str(number) / "deep"
        start = time.time() + 4
        own = [[f"t{writer}_{task_}" for task_ in range(4)] for writer in range(WRITERS)]
        writers = [subprocess.Popen([sys.executable, "-c", script, folder, str(start), *names], cwd=ROOT) for names in own]
        assert [writer.wait(timeout=120) for writer in writers] == [0] * WRITERS
        assert texts(folder) == {name: name for names in own for name in names}


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_writer_that_waits_says_so_and_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_QUIET", 0.1)
    process, said = holder(tmp_path), list[str]()
    try:
        with pytest.raises(StorageError, match=r"Another process has held .*\.lock for more than 0\.3 seconds") as caught:
            save(run(), {}, tmp_path, said.append, 0.3)
        assert "run the same command again" in caught.value.remedy
        assert said == [f"Another run is writing its results into {tmp_path}; waiting for it."]
        assert not (tmp_path / "results.json").exists()
    finally:
        process.kill()
        process.wait()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    saved(tmp_path, ["a"])
    assert time.monotonic() - began < locks._QUIET


@pytest.mark.parametrize("renames", range(5))
def test_a_kill_while_files_are_put_in_place_is_noticed_and_mended_by_another_run(tmp_path: Path, renames: int) -> None:
    """Two files of each of two tasks are renamed, then results.json; a process is killed after so many renames."""
    saved(tmp_path, ["a", "b"], "old")
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.store.test_saving import saved\n"
        "left, real = [int(sys.argv[2])], os.replace\n"
        "def replace(*names):\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    left[0] -= 1\n"
        "    real(*names)\n"
        "os.replace = replace\n"
        "saved(Path(sys.argv[1]), ['a', 'b'], 'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path, str(renames)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    if renames == 0:
        assert texts(tmp_path) == {"a": "old", "b": "old"}
    else:
        with pytest.raises(StorageError, match=r"is not the file that the results\.json next to it records") as caught:
            texts(tmp_path)
        assert "run the same command again" in caught.value.remedy
    saved(tmp_path, ["a", "b"], "new")
    assert texts(tmp_path) == {"a": "new", "b": "new"}
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_new_task_that_was_not_finished_leaves_the_folder_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, ["a"])
    real = os.replace

    def fail_at_results(source: Path, target: Path) -> None:
        if target.name == "results.json":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", fail_at_results)
    with pytest.raises(StorageError, match="No space left"):
        saved(tmp_path, ["b"])
    assert texts(tmp_path) == {"a": "a"}
    assert not list(tmp_path.rglob("*.tmp"))


def edited(path: Path) -> None:
    path.write_text(path.read_text().replace('"prompt": "a"', '"prompt": "b"').replace("[[1.0, 1.0]]", "[[0.0, 1.0]]"))


@pytest.mark.parametrize("file", ["quiz.jsonl", "quiz.statistics.json"])
def test_an_edited_file_is_refused(tmp_path: Path, file: str) -> None:
    saved(tmp_path, ["quiz"])
    edited(tmp_path / "samples" / file)
    with pytest.raises(StorageError, match=rf"{file} \(quiz\) is not the file that the results\.json next to it records") as caught:
        texts(tmp_path)
    assert "harness results verify" in caught.value.remedy


def test_a_file_that_was_not_recorded_is_refused(tmp_path: Path) -> None:
    save(run(tasks={"quiz": task()}), {"quiz": [part("quiz", statistics=False)]}, tmp_path / "one")
    saved(tmp_path / "two", ["quiz"])
    (tmp_path / "two" / "samples" / "quiz.statistics.json").rename(tmp_path / "one" / "samples" / "quiz.statistics.json")
    files = runs.read(tmp_path / "one").tasks["quiz"].files
    with pytest.raises(StorageError, match="is not recorded"):
        samples.read_statistics(tmp_path / "one", "quiz", files)


def test_results_beside_another_runs_samples_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "one", ["quiz"], "one")
    saved(tmp_path / "two", ["quiz"], "two")
    (tmp_path / "two" / "results.json").write_bytes((tmp_path / "one" / "results.json").read_bytes())
    with pytest.raises(StorageError, match="is not the file"):
        texts(tmp_path / "two")


def test_files_of_version_1_are_read_without_a_check(tmp_path: Path) -> None:
    saved(tmp_path, ["quiz"])
    as_version_1(tmp_path)
    edited(tmp_path / "samples" / "quiz.jsonl")
    assert texts(tmp_path) == {"quiz": "b"}
    saved(tmp_path, ["other"])
    assert runs.read(tmp_path).unverified == ["quiz"]
    saved(tmp_path, ["quiz"])
    assert runs.read(tmp_path).unverified == []
