"""Whether files can be written, found out before anything is computed for them."""

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
"""Bytes that are written for trial: a disk that is full takes none."""


def check_files(paths: Iterable[Path], option: str = "--output") -> None:
    """Stop unless each of these files could be written now.

    Permissions tell too little (read-only mounts, quotas, a full disk, folders that only look like some), so files of the same names are
    written for trial, in a folder of their own beside the missing part of the path, and taken away again.

    Args:
        paths: files that will be written, with the folders above them where these are missing.
        option: names the place; for the message.

    Raises:
        StorageError: one cannot be written; says which and why.
    """
    longest: dict[Path, Path] = {}
    for path in paths:
        _check_target(path, option)
        longest[path.parent] = max(longest.get(path.parent, path), path, key=lambda one: len(os.fsencode(one.name)))
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
        raise StorageError(f"Cannot write {path}: it is no ordinary file, and would be replaced by one.", f"Name a file with {option}.")


def _try(folder: Path, name: str) -> None:
    """Write and remove a file as if in `folder`; raises OSError as writing there would."""
    there, missing = folder, list[str]()
    while not os.path.lexists(there):
        missing.insert(0, there.name)
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if missing:
        with contextlib.suppress(FileNotFoundError):
            (there / missing[0]).lstat()  # fails where the name is too long
    scratch = Path(tempfile.mkdtemp(prefix=".harness-", dir=there))
    try:
        place = scratch.joinpath(*missing[1:])
        place.mkdir(parents=True, exist_ok=True)
        with (place / name).open("xb") as file:
            file.write(bytes(_ROOM))
            file.flush()
            os.fsync(file.fileno())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
