"""A lock that allows one writer at a time in a results folder."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from harness.errors import StorageError
from harness.util.atomic import storage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FILE_NAME = ".lock"
TIMEOUT = 300.0
"""Seconds to wait for another writer. Writing takes seconds, so a longer wait means that the other process hangs."""

_QUIET = 3.0
"""Seconds to wait before a message."""


@contextlib.contextmanager
def locked(folder: Path, say: Callable[[str], None], timeout: float = TIMEOUT) -> Iterator[None]:
    """Hold the lock of `folder`, which is created if missing. The system releases the lock of a killed process.

    Args:
        folder: the folder whose files are read and written together.
        say: called with a message if another process holds the lock.
        timeout: seconds to wait.

    Raises:
        StorageError: another process holds the lock for longer, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=min(_QUIET, timeout))
        except Timeout:
            say(f"Another run is writing its results into {folder}; waiting for it.")
            lock.acquire(timeout=max(0.0, timeout - _QUIET))
    except Timeout as error:
        raise StorageError(
            f"Another process has held {path} for more than {timeout:g} seconds.",
            "Wait until it has finished, or stop it; then run the same command again: cached responses are not computed twice.",
        ) from error
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield
    finally:
        lock.release()
