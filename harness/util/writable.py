"""Check that files can be written, before anything is computed for them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from harness.errors import StorageError
from harness.util.atomic import storage_error, temporary_name

_ROOM = 1 << 16
"""Bytes of the trial file, which a full disk refuses."""


def check_files(paths: Iterable[Path], option: str = "--output") -> None:
    """Check that each of these files can be written now.

    Permissions are not enough (read-only mounts, quotas, a full disk, broken mounts), so trial files of the same names are written in a
    temporary folder next to the missing part of the path, and removed.

    Args:
        paths: files that will be written; missing folders will be created.
        option: command-line option that names the place, for messages.

    Raises:
        StorageError: a file cannot be written; says which and why.
    """
    longest: dict[Path, Path] = {}
    for path in paths:
        _check_target(path, option)
        longest[path.parent] = max(longest.get(path.parent, path), path, key=lambda file: len(os.fsencode(file.name)))
    for path in longest.values():
        try:
            _try(path.parent, temporary_name(path.name))
        except OSError as error:
            raise storage_error(path, error, option) from error


def _check_target(path: Path, option: str) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise storage_error(path, error, option) from error
    if stat.S_ISDIR(mode):
        raise storage_error(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), option)
    if not stat.S_ISREG(mode):
        raise StorageError(
            f"Cannot write {path}: it is not a regular file, and would be replaced by one.", f"Name a regular file with {option}."
        )


def _try(folder: Path, name: str) -> None:
    """Write and remove a trial file as if in `folder`; raises OSError as writing there would."""
    existing, missing = folder, list[str]()
    while not os.path.lexists(existing):
        missing.insert(0, existing.name)
        existing = existing.parent
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if missing:
        with contextlib.suppress(FileNotFoundError):
            (existing / missing[0]).lstat()  # fails if the name is too long
    scratch = Path(tempfile.mkdtemp(prefix=".harness-", dir=existing))
    try:
        place = scratch.joinpath(*missing[1:])
        place.mkdir(parents=True, exist_ok=True)
        with (place / name).open("xb") as file:
            file.write(bytes(_ROOM))
            file.flush()
            os.fsync(file.fileno())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
