"""One model on several workers: processes of this machine, or actors of a Ray cluster.

Whichever worker is idle takes the next batches; one that ends unexpectedly is started again, and its batches are put back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.contract import Generate, Request, Response, ScoreRequest, Usage, add_usage
from harness.engine.jobs import Answered, ComputeBatches, Idle, Job, Message, PlannedBatches
from harness.engine.pieces import Batch, Pieces, WorkPiece, planned_costs
from harness.errors import ModelError

if TYPE_CHECKING:
    from harness.models.opening import AnyAdapter, Opening

_STARTS = 3
"""Times that a worker is started without answering anything, before the run ends."""


@dataclass(eq=False)
class Worker:
    """A worker, and what it is doing.

    Attributes:
        name: of its device, machine or both.
        piece: what it computes; None while it plans or is idle.
        job: the last job that was sent.
        busy: whether it starts, plans or computes.
        starts: times it was started since it last answered something.
        restarts: times it ended unexpectedly.
        answered: requests that it answered.
        seconds: time in which it was busy with pieces.
        memory: its peak in bytes, as last reported.
    """

    name: str
    piece: WorkPiece | None = None
    job: int | None = None
    busy: bool = False
    starts: int = 1
    restarts: int = 0
    answered: int = 0
    seconds: float = 0.0
    memory: int = 0
    _since: float = 0.0

    @property
    def ending(self) -> str:
        """How it ended."""
        return f"The worker on {self.name} ended"

    @property
    def doing(self) -> str:
        """What it does, in a word."""
        return "computing" if self.piece is not None else "starting" if self.busy else "idle"

    def began(self) -> None:
        """A piece begins."""
        self._since = time.perf_counter()

    def counted(self, requests: int) -> None:
        """Some requests of its piece are answered."""
        now = time.perf_counter()
        self.answered += requests
        self.seconds += now - self._since
        self._since = now


class WorkerPool(Protocol):
    """Workers, each of which opens a copy of the model when its first job arrives."""

    @property
    def workers(self) -> Sequence[Worker]:
        """All of them, in a constant order."""
        ...

    def send(self, worker: Worker, message: Job | ComputeBatches) -> None:
        """Send a message; that a worker has ended is reported by `messages`."""
        ...

    def messages(self) -> Sequence[tuple[Worker, Message | None]]:
        """Wait for messages, and return those that have arrived; None for a worker that has ended."""
        ...

    def restart(self, worker: Worker) -> None:
        """End a worker, whatever it does, and start it again."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


Follow = Callable[[Sequence[Worker]], None]
"""Receives the workers whenever one of them has reported something."""


def follow_nothing(workers: Sequence[Worker]) -> None:
    """Nobody follows the workers."""


class ClusterSession:
    """A model opened on several workers, until `close`.

    Args:
        pool: the workers.
        opening: the model.
        follow: receives the workers as they go on.

    Attributes:
        restarts: workers that ended unexpectedly and were started again.
    """

    def __init__(self, pool: WorkerPool, opening: Opening, follow: Follow = follow_nothing) -> None:
        self.pool = pool
        self.opening = opening
        self.restarts = 0
        self._follow = follow
        self._jobs = 0

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[ClusterEngine]:
        """An engine on all workers for the model with an adapter, or without."""
        yield ClusterEngine(self, self.opening.adapters.index(adapter))

    def planned(self, job: Job) -> tuple[Batch, ...]:
        """The batches of a job, as a worker plans them; what workers compute of another job is abandoned."""
        for worker in self.pool.workers:
            if worker.piece is not None:
                self._replace(worker)
            self._send_job(worker, job)
        for worker, message in self._messages():
            if message is None:
                self._send_job(worker, job)
            elif isinstance(message, PlannedBatches):
                return message.batches
        raise AssertionError("the messages go on until a plan arrives")

    def computed(self, job: Job, pieces: Pieces) -> Iterator[Answered | Idle]:
        """What the workers report, until every request is answered and none is busy.

        Raises:
            HarnessError: the first failure of any of them.
            ModelError: workers ended unexpectedly, time after time.
        """
        self._hand_out(job, pieces)
        messages = self._messages(pieces)
        while pieces.waiting or any(worker.piece is not None for worker in self.pool.workers):
            _, message = next(messages)
            if isinstance(message, Answered):
                pieces.answered(response.id for response in message.batch)
            if isinstance(message, Answered | Idle):
                yield message
            self._hand_out(job, pieces)

    def new_job(self, adapter: int, requests: Sequence[Request]) -> Job:
        """A job with a number of its own."""
        self._jobs += 1
        return Job(self._jobs, adapter, tuple(requests))

    def close(self) -> None:
        """End the workers."""
        self.pool.close()

    def _hand_out(self, job: Job, pieces: Pieces) -> None:
        """Give idle workers work; one that was started again gets the job first, and plans it."""
        for number, worker in enumerate(self.pool.workers):
            if worker.busy or not pieces.waiting:
                continue
            if worker.job != job.number:
                self._send_job(worker, job)
            elif (piece := pieces.take(number)) is not None:
                worker.piece, worker.busy = piece, True
                worker.began()
                self.pool.send(worker, ComputeBatches(job.number, piece.ids))

    def _messages(self, pieces: Pieces | None = None) -> Iterator[tuple[Worker, Message | None]]:
        """Messages as they arrive, None for a worker that ended: it was started again, and its piece was put back."""
        while True:
            self._follow(self.pool.workers)
            for worker, message in self.pool.messages():
                if message is None:
                    self._ended(worker, pieces)
                    yield worker, None
                elif self._noted(worker, message):
                    yield worker, message

    def _noted(self, worker: Worker, message: Message) -> bool:
        """Note what a message says; False where it belongs to a job that was abandoned."""
        if message.job != worker.job:
            return False
        if isinstance(message, Answered):
            worker.counted(len(message.batch))
        if isinstance(message, Idle | PlannedBatches):
            worker.busy, worker.piece = False, None
        if isinstance(message, Idle):
            worker.memory = message.memory
            if message.error is not None:
                raise message.error
        worker.starts = 0
        return True

    def _ended(self, worker: Worker, pieces: Pieces | None) -> None:
        if worker.starts >= _STARTS:
            raise ModelError(
                f"{worker.ending}, {_STARTS} times in a row.",
                "It may have too little memory: try a smaller --batch-tokens, or fewer workers.",
            )
        self.restarts += 1
        worker.restarts += 1
        piece = worker.piece
        self._replace(worker)
        if piece is not None and pieces is not None:
            pieces.lost(list(self.pool.workers).index(worker), piece)

    def _replace(self, worker: Worker) -> None:
        worker.piece, worker.job, worker.busy = None, None, False
        worker.starts += 1
        self.pool.restart(worker)

    def _send_job(self, worker: Worker, job: Job) -> None:
        worker.job, worker.busy = job.number, True
        self.pool.send(worker, job)


@dataclass
class ClusterEngine:
    """One system on all workers. Seconds of its usage are summed over the workers."""

    session: ClusterSession
    adapter: int
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts."""
        return self._computed(requests, done)

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts."""
        return self._computed(requests, done)

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        """Ids of requests by what is computed together."""
        return list(self.session.planned(self.session.new_job(self.adapter, requests)))

    def _computed(self, requests: Sequence[Request], done: Container[str]) -> Iterator[list[Response]]:
        if all(request.id in done for request in requests):
            return
        job = self.session.new_job(self.adapter, requests)
        batches = self.session.planned(job)
        pieces = Pieces(batches, planned_costs(batches, requests, done), len(self.session.pool.workers), done)
        before = self.session.restarts
        for message in self.session.computed(job, pieces):
            if isinstance(message, Answered):
                yield message.batch
            else:
                add_usage(self.usage, message.usage)
                self.notes += [note for note in message.notes if note not in self.notes]
        if restarted := self.session.restarts - before:
            workers = "1 worker" if restarted == 1 else f"{restarted} workers"
            self.notes.append(f"{workers} ended unexpectedly and started again; unfinished batches were computed again.")
