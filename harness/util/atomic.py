"""Files that are either the old one or the new one, never half of it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_SUFFIX = ".tmp"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")

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


@dataclass(frozen=True, slots=True)
class Staged:
    """A finished file that still has a temporary name.

    Attributes:
        temporary: where it lies.
        path: where it belongs.
        digest: SHA-256 (hex) of its bytes.
    """

    temporary: Path
    path: Path
    digest: str

    def discard(self) -> None:
        """Remove it, unless it was published."""
        with contextlib.suppress(OSError):
            self.temporary.unlink(missing_ok=True)


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
    staged = stage(path, lines)
    try:
        publish([staged])
    finally:
        staged.discard()


def stage(path: Path, lines: Iterable[str]) -> Staged:
    """Write the text for `path` beside it, durably, under a temporary name; `publish` puts it in place.

    Args:
        path: where the file belongs; its folder is made where missing.
        lines: the text in pieces, each with its own line end.

    Raises:
        StorageError: the file cannot be written.
    """
    temporary = path.with_name(temporary_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return Staged(temporary, path, _write(temporary, lines))
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise storage_error(path, error) from error


def publish(staged: Sequence[Staged]) -> None:
    """Put files in place in this order; what is in one folder before what follows in another, also after a power cut.

    Raises:
        StorageError: a file cannot be put in place; those before it are.
    """
    for place, one in enumerate(staged):
        try:
            os.replace(one.temporary, one.path)
            if place + 1 == len(staged) or staged[place + 1].path.parent != one.path.parent:
                _sync_folder(one.path.parent)
        except OSError as error:
            raise storage_error(one.path, error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left in `folder`. Nobody may be writing there."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f".*{_SUFFIX}"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def temporary_name(name: str) -> str:
    """What a file is called until it is whole and takes the place of `name`."""
    return f".{name}.{secrets.token_hex(4)}{_SUFFIX}"


def storage_error(path: Path, error: OSError, option: str = "--output") -> StorageError:
    """The message for a file that cannot be written, in a place that the user named with `option`."""
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "Check the folder, or choose another one with {option}.")
    return StorageError(f"Cannot write {path}: {reason}.", remedy.format(option=option))


def _write(path: Path, lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for line in lines:
            content = line.encode()
            digest.update(content)
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
