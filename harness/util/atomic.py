"""Write files atomically: a file is either the old one or the new one, never a part."""

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
    errno.ENOSPC: "The disk is full: free some space and run the same command again; saved responses are not computed twice.",
    errno.EDQUOT: "Your disk quota is used up: free some space and run the same command again; saved responses are not computed twice.",
    errno.EACCES: "You do not have permission to write there: change the permissions or choose another folder with {option}.",
    errno.EPERM: "You do not have permission to write there: change the permissions or choose another folder with {option}.",
    errno.EROFS: "That file system is read-only: choose another folder with {option}.",
    errno.ENOTDIR: "A part of that path is a file, not a folder: choose another folder with {option}.",
    errno.EEXIST: "A part of that path is a file, not a folder: choose another folder with {option}.",
    errno.EISDIR: "There is a folder of that name: remove it or choose another folder with {option}.",
    errno.ENAMETOOLONG: "The name is too long for that file system: choose a shorter one.",
}


@dataclass(frozen=True, slots=True)
class Staged:
    """A complete file that still has a temporary name.

    Attributes:
        temporary: its present path.
        path: its final path.
        digest: SHA-256 (hex) of its bytes.
    """

    temporary: Path
    path: Path
    digest: str

    def discard(self) -> None:
        """Remove the file, unless it was published."""
        with contextlib.suppress(OSError):
            self.temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Durably replace the file `path` by `text` in UTF-8; on any failure the old file is unchanged.

    Raises:
        StorageError: the file cannot be written.
    """
    write_lines(path, [text])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Like `write_text`, for a text in pieces with their own line ends.

    Raises:
        StorageError: the file cannot be written.
    """
    staged = stage(path, lines)
    try:
        publish([staged])
    finally:
        staged.discard()


def stage(path: Path, lines: Iterable[str]) -> Staged:
    """Durably write the text for `path` next to it, under a temporary name; `publish` renames it.

    Args:
        path: the final path; its folder is created if missing.
        lines: the text in pieces with their own line ends.

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
    """Rename files to their final paths in this order, which also holds between folders after a power failure.

    Raises:
        StorageError: a file cannot be renamed; those before it are.
    """
    for index, file in enumerate(staged):
        try:
            os.replace(file.temporary, file.path)
            if index + 1 == len(staged) or staged[index + 1].path.parent != file.path.parent:
                _sync_folder(file.path.parent)
        except OSError as error:
            raise storage_error(file.path, error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left in `folder`; no process may be writing there."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f".*{_SUFFIX}"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def temporary_name(name: str) -> str:
    """The temporary name of a file until it is complete and replaces `name`."""
    return f".{name}.{secrets.token_hex(4)}{_SUFFIX}"


def storage_error(path: Path, error: OSError, option: str = "--output") -> StorageError:
    """The error for a file that cannot be written; `option` is the command-line option that named the place."""
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
    """Make a rename in `folder` survive a power failure."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
