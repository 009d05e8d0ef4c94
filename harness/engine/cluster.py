"""Several devices of one machine: a process with the whole model on each.

Whichever is idle takes the next batches; one that ends unexpectedly is started again, and its batches are put back.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from harness.contract import Generate, Request, Response, ScoreRequest, Usage, add_usage
from harness.engine import base
from harness.engine.base import Engine, Session
from harness.engine.pieces import Batch, Pieces, WorkPiece, cost
from harness.errors import HarnessError, ModelError

if TYPE_CHECKING:
    from harness.models.opening import AnyAdapter, ModelOptions, Opening

_STARTS = 3
"""Times that a process is started without answering anything, before the run ends."""

_PATIENCE = 1.0
"""Seconds that a process has to end by itself."""


@dataclass(frozen=True)
class _DeviceJob:
    """All requests of one kind for the adapter of this number; a process keeps them until the next job."""

    number: int
    adapter: int
    requests: tuple[Any, ...]


@dataclass(frozen=True)
class _Compute:
    """Requests of the job to compute; all others count as answered."""

    job: int
    ids: frozenset[str]


@dataclass(frozen=True)
class _Planned:
    """The batches of a job."""

    job: int
    batches: tuple[Batch, ...]


@dataclass(frozen=True)
class _Answered:
    """A batch of responses."""

    job: int
    batch: list[Response]


@dataclass(frozen=True)
class _Idle:
    """The end of a piece, with what it cost; or a failure."""

    job: int
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    error: Exception | None = None


@dataclass(frozen=True)
class ModelCopy:
    """A model opened in one of the processes."""

    opening: Opening
    session: Session


OpenCopy = Callable[[str, "ModelOptions"], ModelCopy]


def open_copy(engine: str, options: ModelOptions) -> ModelCopy:
    """Open a model in a process of its own, whose files the run's process verifies.

    Args:
        engine: name of the backend.
        options: how the model is loaded, on one device.
    """
    backend = base.load(engine)
    opening = backend.prepare(options, _ignore)
    opening.leave_hashing()
    return ModelCopy(opening, backend.open(opening))


def _ignore(note: str) -> None:
    """The run's own process reports the same notes."""


@dataclass(eq=False)
class _Worker:
    """A process, and what it is doing.

    Attributes:
        piece: what it computes; None while it plans or is idle.
        job: the last job that was sent.
        busy: whether it computes or plans.
        starts: times it was started since it last answered something.
    """

    device: str
    process: Any
    connection: Connection
    piece: WorkPiece | None = None
    job: int | None = None
    busy: bool = False
    starts: int = 1


class ClusterSession:
    """A model opened on several devices, until `close`.

    Args:
        engine: name of the backend.
        opening: the model.
        devices: one process is started for each.
        open_model: a function of a module; called once in each process.

    Attributes:
        workers: in the order of the devices.
        restarts: processes that ended unexpectedly and were started again.
    """

    def __init__(self, engine: str, opening: Opening, devices: Sequence[str], open_model: OpenCopy = open_copy) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._open_model = open_model
        self._engine = engine
        self._jobs = 0
        self.opening = opening
        self.restarts = 0
        self.workers = [_Worker(device, *self._started(device)) for device in devices]

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[ClusterEngine]:
        """An engine on all devices for the model with an adapter, or without."""
        yield ClusterEngine(self, self.opening.adapters.index(adapter))

    def planned(self, job: _DeviceJob) -> tuple[Batch, ...]:
        """The batches of a job, as a process plans them; what processes compute of another job is abandoned."""
        for worker in self.workers:
            if worker.busy:
                worker.process.terminate()
                self._replace(worker)
            self._send(worker, job)
        for worker, message in self._messages():
            if message is None:
                self._send(worker, job)
            elif isinstance(message, _Planned):
                return message.batches
        raise AssertionError("the messages go on until a plan arrives")

    def computed(self, job: _DeviceJob, pieces: Pieces) -> Iterator[_Answered | _Idle]:
        """What the processes report, until every request is answered and none is busy.

        Raises:
            HarnessError: the first failure of any of them.
            ModelError: processes ended unexpectedly, time after time.
        """
        self._hand_out(job, pieces)
        messages = self._messages(pieces)
        while any(worker.busy for worker in self.workers):
            _, message = next(messages)
            if isinstance(message, _Answered):
                pieces.answered(response.id for response in message.batch)
            if isinstance(message, _Answered | _Idle):
                yield message
            self._hand_out(job, pieces)

    def new_job(self, adapter: int, requests: Sequence[Request]) -> _DeviceJob:
        """A job with a number of its own."""
        self._jobs += 1
        return _DeviceJob(self._jobs, adapter, tuple(requests))

    def _hand_out(self, job: _DeviceJob, pieces: Pieces) -> None:
        """Give idle processes work; one that was started again gets the job first, and plans it."""
        for worker in self.workers:
            if worker.busy or not pieces.waiting:
                continue
            if worker.job != job.number:
                self._send(worker, job)
            elif (piece := pieces.take()) is not None:
                worker.piece, worker.busy = piece, True
                self._send(worker, _Compute(job.number, piece.ids))

    def _messages(self, pieces: Pieces | None = None) -> Iterator[tuple[_Worker, Any]]:
        """Messages as they arrive, None for a process that ended: it was started again, and its piece was put back."""
        while True:
            by_source = {source: worker for worker in self.workers for source in (worker.connection, worker.process.sentinel)}
            for worker in dict.fromkeys(by_source[source] for source in wait(list(by_source))):
                message = self._received(worker)
                if message is None:
                    self._restart(worker, pieces)
                    yield worker, None
                    continue
                if isinstance(message, _Idle | _Planned):
                    worker.busy, worker.piece = False, None
                if isinstance(message, _Idle) and message.error is not None:
                    raise message.error
                worker.starts = 0
                yield worker, message

    def _received(self, worker: _Worker) -> Any:
        """A message, or None where the process has ended and left none."""
        with suppress(EOFError, OSError):
            if worker.connection.poll():
                return worker.connection.recv()
        return None

    def _restart(self, worker: _Worker, pieces: Pieces | None) -> None:
        worker.process.join()
        if worker.starts >= _STARTS:
            raise ModelError(
                f"The process that computes on {worker.device} ended with code {worker.process.exitcode}, {_STARTS} times in a row.",
                "It may have too little memory: try a smaller --batch-tokens, or fewer devices.",
            )
        self.restarts += 1
        piece = worker.piece
        self._replace(worker)
        if piece is not None and pieces is not None:
            pieces.lost(piece)

    def _replace(self, worker: _Worker) -> None:
        worker.connection.close()
        worker.piece, worker.job, worker.busy = None, None, False
        worker.starts += 1
        worker.process, worker.connection = self._started(worker.device)

    def _started(self, device: str) -> tuple[Any, Connection]:
        ours, theirs = self._context.Pipe()
        options = replace(self.opening.options, devices=(device,))
        process = self._context.Process(target=_serve, args=(self._open_model, self._engine, options, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def _send(self, worker: _Worker, message: Any) -> None:
        """Send a message; a process that has ended is noticed when its messages are waited for."""
        if isinstance(message, _DeviceJob):
            worker.job, worker.busy = message.number, True
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send(message)

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            self._send(worker, None)
        for worker in self.workers:
            worker.process.join(0 if worker.busy else _PATIENCE)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join()
            worker.connection.close()


@dataclass
class ClusterEngine:
    """One system on all devices. Seconds of its usage are summed over the devices."""

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
        costs = {request.id: cost(request) for request in requests}
        pieces = Pieces(self.session.planned(job), costs, len(self.session.workers), done)
        before = self.session.restarts
        for message in self.session.computed(job, pieces):
            if isinstance(message, _Answered):
                yield message.batch
            else:
                add_usage(self.usage, message.usage)
                self.notes += [note for note in message.notes if note not in self.notes]
        if restarted := self.session.restarts - before:
            self.notes.append(f"{restarted} processes ended unexpectedly and were started again; their work was computed by others.")


def _serve(open_model: OpenCopy, engine: str, options: ModelOptions, connection: Connection) -> None:
    """Plan and compute until there is no more to do; the life of one process."""
    model: ModelCopy | None = None
    entered: tuple[int, Engine, ExitStack] | None = None
    job: _DeviceJob | None = None
    with ExitStack() as stack, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while (message := connection.recv()) is not None:
            if isinstance(message, _DeviceJob):
                job = message
            assert job is not None
            try:
                model = model or open_model(engine, options)
                if entered is None or entered[0] != job.adapter:
                    if entered is not None:
                        entered[2].close()
                    block = stack.enter_context(ExitStack())
                    entered = (job.adapter, block.enter_context(model.session.engine(model.opening.adapters[job.adapter])), block)
                if isinstance(message, _DeviceJob):
                    connection.send(_Planned(job.number, tuple(base.batches(entered[1], job.requests))))
                else:
                    _compute(entered[1], job, message.ids, connection.send)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the run's own process has to report it
                raised = error if isinstance(error, HarnessError) else _unexpected(error, options.device)
                connection.send(_Idle(job.number, error=raised))


def _unexpected(error: Exception, device: str) -> RuntimeError:
    """An error that can be sent to the run's own process, with the traceback of this one; its own class might not be sent."""
    sent = RuntimeError(f"on {device}: {type(error).__name__}: {error}")
    sent.add_note("".join(traceback.format_exception(error)))
    return sent


@dataclass(frozen=True)
class _Others:
    """Every id but these."""

    ids: frozenset[str]

    def __contains__(self, name: object) -> bool:
        return name not in self.ids


def _compute(engine: Engine, job: _DeviceJob, ids: frozenset[str], send: Callable[[Any], None]) -> None:
    before = replace(engine.usage)
    work = engine.generate if isinstance(job.requests[0], Generate) else engine.score
    for batch in work(job.requests, _Others(ids)):
        send(_Answered(job.number, batch))
    spent = Usage(*(getattr(engine.usage, entry.name) - getattr(before, entry.name) for entry in fields(Usage)))
    send(_Idle(job.number, spent, tuple(engine.notes)))
