from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import StorageError
from harness.util.atomic import write_lines, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_is_made_with_its_folders_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "one\n")
    write_text(path, "zwei \u2028 ✓\n")
    assert path.read_bytes() == "zwei \u2028 ✓\n".encode()
    assert os.listdir(path.parent) == ["b.txt"]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "do not have permission to write"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "Check the folder"),
    ],
)
@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, remedy: str
) -> None:
    path = tmp_path / "b.txt"
    write_text(path, "old")

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(StorageError, match=r"b\.txt") as caught:
        write_text(path, "new")
    assert remedy in caught.value.remedy
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_an_interrupt_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    write_text(path, "old")

    def lines() -> Iterator[str]:
        yield "new\n"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(path, lines())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_a_kill_between_write_and_replace_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_text(path, "old")
    script = (
        "import os, signal, sys; from pathlib import Path; from harness.util.atomic import write_text\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_text(Path(sys.argv[1]), 'new')"
    )
    assert subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=False).returncode == -9
    assert path.read_text() == "old"
    write_text(path, "newer")
    assert path.read_text() == "newer"


def test_a_folder_in_the_way_is_reported(tmp_path: Path) -> None:
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(StorageError, match="Cannot write"):
        write_text(tmp_path / "b.txt", "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write"):
        write_text(tmp_path / "file" / "b.txt", "new")


def test_a_full_disk_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "b.txt"
    write_text(path, "old")
    with pytest.raises(StorageError, match="No space left"):
        write_text(path, "x" * 1_000_000)
    assert path.read_text() == "old"
    assert sorted(os.listdir(small_disk)) == ["b.txt", "ballast"]
