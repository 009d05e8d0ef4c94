"""Writing beside the work: batches are kept in order by a thread of their own."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.store.responses import Answer, ResponseStore

_WAITING = 8
"""Batches that may wait; with more of them the work waits for the disk."""


class Writer:
    """Keeps batches of responses in a store, one after the other; use it as a context manager.

    On leaving everything handed over is on the disk. A failure is raised by the next `put`, or on leaving.

    Args:
        store: where they are kept.
        engine: who computes them, for a message.
    """

    def __init__(self, store: ResponseStore, engine: str = "engine") -> None:
        self._store = store
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._open: deque[Future[None]] = deque()

    def put(self, batch: Sequence[Answer]) -> None:
        """Hand a batch over.

        Raises:
            StorageError: this or an earlier batch could not be written.
            NumericError: a response of an earlier batch cannot be the answer to its request.
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
