"""Write batches of responses in a background thread, in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.store.responses import Answer, ResponseStore

_WAITING = 8
"""Largest number of waiting batches; beyond it, computation waits for the disk."""


class Writer:
    """Saves batches of responses in a store, one after the other; use it as a context manager.

    When the context ends, every batch is on disk. A failure is raised by the next `put`, or when the context ends.

    Args:
        store: where they are saved.
        engine: the engine that computes them, for messages.
    """

    def __init__(self, store: ResponseStore, engine: str = "the engine") -> None:
        self._store = store
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._open: deque[Future[None]] = deque()

    def put(self, batch: Sequence[Answer]) -> None:
        """Queue a batch for writing.

        Raises:
            StorageError: this or an earlier batch could not be written.
            NumericError: a response of an earlier batch does not fit its request.
        """
        while self._open and (len(self._open) >= _WAITING or self._open[0].done()):
            self._open.popleft().result()
        self._open.append(self._thread.submit(self._store.put, batch, self._engine))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            while self._open:
                self._open.popleft().result()
