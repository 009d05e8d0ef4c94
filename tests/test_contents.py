"""Contents are read, not believed: not by path, size or time, nor by the name of a file in the hub's cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import ContentError
from harness.util import contents, paths
from harness.util.contents import Contents, State

LARGE = b"weights " * ((9 << 20) // 8)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a small and a large file; the large one is read in the background."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "model.safetensors").write_bytes(LARGE)
    return folder


def made(folder: Path) -> Contents:
    return Contents(lambda: {path.name: path for path in sorted(folder.iterdir())}, frozenset({"config.json"}))


def digest(folder: Path) -> str:
    whole = made(folder)
    whole.confirm()
    return whole.digest


def swap(path: Path, content: bytes) -> None:
    """Write other bytes of the same number in place, and set the time of modification back."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    return bytes(content)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_other_bytes_of_equal_size_and_time_have_another_digest(files: Path, name: str) -> None:
    before = digest(files)
    swap(files / name, other(files / name))
    assert digest(files) != before


def test_a_copy_that_keeps_size_and_time_is_read(files: Path, tmp_path: Path) -> None:
    before = digest(files)
    (tmp_path / "other").write_bytes(other(files / "model.safetensors"))
    stamp = (files / "model.safetensors").stat()
    os.utime(tmp_path / "other", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    subprocess.run(["cp", "-p", tmp_path / "other", files / "model.safetensors"], check=True)
    assert (files / "model.safetensors").stat().st_mtime_ns == stamp.st_mtime_ns
    assert digest(files) != before


def test_the_same_content_elsewhere_has_the_same_digest(files: Path, tmp_path: Path) -> None:
    assert digest(Path(shutil.copytree(files, tmp_path / "copy"))) == digest(files)


def _hints() -> dict[str, list[object]]:
    found: dict[str, list[object]] = json.loads((paths.cache() / "digests.json").read_text())
    return found


def test_a_hint_names_a_large_file_before_it_is_read_again(files: Path) -> None:
    expected = digest(files)
    whole = made(files)
    whole.leave()
    assert whole.digest == expected


def test_a_file_changed_behind_every_time_is_found_before_anything_is_kept(files: Path) -> None:
    """What a drive without change times, or a clock set back, would look like: the hint fits a state whose content is another."""
    digest(files)
    path = files / "model.safetensors"
    swap(path, other(path))
    hints = {name: [entry[0], *(getattr(State.of(path), field) for field in State.__slots__)] for name, entry in _hints().items()}
    (paths.cache() / "digests.json").write_text(json.dumps(hints))
    whole = made(files)
    with pytest.raises(ContentError, match=r"model.safetensors changed since it was last read"):
        whole.confirm()
    digest(files)  # the new content is known now


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "null", '{"a": 1}'])
def test_broken_hints_are_no_hints(files: Path, text: str) -> None:
    expected = digest(files)
    (paths.cache() / "digests.json").write_text(text)
    assert digest(files) == expected


def test_hints_of_files_that_are_gone_are_forgotten(files: Path, tmp_path: Path) -> None:
    digest(Path(shutil.copytree(files, tmp_path / "copy")))
    shutil.rmtree(tmp_path / "copy")
    digest(files)
    assert list(_hints()) == [str(files / "model.safetensors")]


def test_hints_that_cannot_be_kept_are_harmless(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digest(files)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    assert digest(files) == expected


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_changed_after_it_was_hashed_is_found(files: Path, name: str) -> None:
    whole = made(files)
    whole.check()
    swap(files / name, other(files / name))
    with pytest.raises(ContentError, match=f"{name} was changed while it was in use"):
        whole.check()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_replaced_by_another_is_found(files: Path, tmp_path: Path, name: str) -> None:
    whole = made(files)
    whole.check()
    (tmp_path / "new").write_bytes(other(files / name))
    (tmp_path / "new").replace(files / name)
    with pytest.raises(ContentError, match=r"changed while it was in use"):
        whole.check()


def test_the_same_content_in_another_state_is_no_change(files: Path, tmp_path: Path) -> None:
    whole = made(files)
    whole.check()
    os.link(files / "model.safetensors", tmp_path / "link")
    (tmp_path / "same").write_bytes((files / "config.json").read_bytes())
    (tmp_path / "same").replace(files / "config.json")
    whole.check()


def test_an_added_or_removed_file_is_detected(files: Path) -> None:
    whole = made(files)
    (files / "generation_config.json").write_text("{}")
    with pytest.raises(ContentError, match=r"generation_config.json was added or removed"):
        whole.check()
    (files / "generation_config.json").unlink()
    whole.check()
    (files / "config.json").unlink()
    with pytest.raises(ContentError, match=r"config.json was added or removed"):
        whole.check()


def test_a_file_that_cannot_be_read_is_told(files: Path) -> None:
    whole = made(files)
    whole.check()
    (files / "model.safetensors").unlink()
    (files / "model.safetensors").mkdir()
    with pytest.raises(ContentError, match="cannot be read"):
        whole.check()


def test_the_version_that_wrote_the_settings_does_not_count(files: Path) -> None:
    (files / "config.json").write_text('{"a": 1, "transformers_version": "5.1"}')
    before = digest(files)
    (files / "config.json").write_text('{"a": 1, "transformers_version": "5.24.0"}')
    assert digest(files) == before
    (files / "config.json").write_text('{"a": 1,  "transformers_version": "5.24.0"}')
    assert digest(files) != before


def _blob(folder: Path, name: str, content: bytes) -> Path:
    """A file as the hub's cache holds it."""
    blob = folder / "blobs" / name
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link = folder / "snapshots" / "0" / "file"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(blob)
    return link


@pytest.mark.parametrize("content", [b"small", LARGE])
def test_files_of_the_hubs_cache_are_compared_with_their_names(tmp_path: Path, content: bytes) -> None:
    right = hashlib.sha256(content).hexdigest()
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    for name in (right, git):
        assert contents.read(_blob(tmp_path, name, content)).sha256 == right
        with pytest.raises(ContentError, match="does not match its name"):
            contents.read(_blob(tmp_path, name, content[:-1] + b"?"))
        with pytest.raises(ContentError, match="does not match its name"):
            contents.read(_blob(tmp_path, name, content[:-1]))


def test_a_name_that_only_looks_like_a_digest_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / ("0" * 64)
    path.write_bytes(b"anything")
    assert contents.read(path).sha256 == hashlib.sha256(b"anything").hexdigest()
