"""Places that cannot be written are told beforehand, and looking leaves nothing behind."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StorageError
from harness.util.writable import check_files


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("name", ["results.json", "a/b/c/results.json"])
def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path, name: str) -> None:
    check_files([tmp_path / name, tmp_path / name.replace("results", "samples")])
    assert everything(tmp_path) == []


def test_what_stands_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "results.json")
    check_files([tmp_path / "results.json", tmp_path / "link.json"])
    assert (tmp_path / "results.json").read_text() == "old"
    assert len(everything(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("file/results.json", "Not a directory"),
        ("file/x/y/results.json", "Not a directory"),
        ("folder", "Is a directory"),
        ("dangling/results.json", "Not a directory"),
        ("circle/results.json", "symbolic links|Not a directory"),
        ("x" * 300, "File name too long"),
        ("new/" + "x" * 300 + "/results.json", "File name too long"),
        ("x" * 300 + "/results.json", "File name too long"),
        ("x" * 250, "File name too long"),
        ("pipe", "not a regular file"),
    ],
)
def test_what_is_in_the_way(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    os.mkfifo(tmp_path / "pipe")
    before = everything(tmp_path)
    with pytest.raises(StorageError, match=told) as caught:
        check_files([tmp_path / name], "--html")
    assert "Cannot write" in caught.value.what
    assert "--output" not in caught.value.remedy
    assert everything(tmp_path) == before


@pytest.mark.parametrize("path", ["/proc/harness/results.json", "/dev/null", "/dev/full"])
def test_places_that_only_look_like_files(path: str) -> None:
    if not Path(path).parent.exists() and not Path("/proc").exists():
        pytest.skip("this system has no such place")
    with pytest.raises(StorageError, match="Cannot write"):
        check_files([Path(path)])


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_a_folder_that_takes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise OSError(code, os.strerror(code), str(tmp_path))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(StorageError, match=os.strerror(code)):
        check_files([tmp_path / "out" / "results.json"])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=os.strerror(code)):
        check_files([tmp_path / "out" / "results.json"])
    assert everything(tmp_path) == []
