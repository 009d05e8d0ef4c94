"""Files that are either the old one or the new one, never half of it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

from harness.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space and run the same command again; what was finished is kept.",
    errno.EDQUOT: "Your disk quota is used up: free some space and run the same command again; what was finished is kept.",
    errno.EACCES: "You may not write there: change its permissions or choose another folder with {option}.",
    errno.EPERM: "You may not write there: change its permissions or choose another folder with {option}.",
    errno.EROFS: "That file system is read-only: choose another folder with {option}.",
    errno.ENOTDIR: "A part of that path is a file, not a folder: choose another folder with {option}.",
    errno.EEXIST: "A part of that path is a file, not a folder: choose another folder with {option}.",
    errno.EISDIR: "A folder stands where the file belongs: remove it or choose another folder with {option}.",
    errno.ENAMETOOLONG: "The name is too long for that file system: choose a shorter one.",
}


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text` in UTF-8, durably; on any failure the old file stays as it was.

    Raises:
        StorageError: the file cannot be written.
    """
    write_lines(path, [text])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Like `write_text` for a text that comes in pieces, each with its own line end.

    Raises:
        StorageError: the file cannot be written.
    """
    temporary = path.with_name(temporary_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(temporary, lines)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def temporary_name(name: str) -> str:
    """What a file is called until it is whole and takes the place of `name`."""
    return f".{name}.{secrets.token_hex(4)}.tmp"


def storage_error(path: Path, error: OSError, option: str = "--output") -> StorageError:
    """The message for a file that cannot be written, in a place that the user named with `option`."""
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "Check the folder, or choose another one with {option}.")
    return StorageError(f"Cannot write {path}: {reason}.", remedy.format(option=option))


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("x", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
