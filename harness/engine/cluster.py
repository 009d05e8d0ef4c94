"""Several devices of one machine: a process with the whole model on each, and requests that whichever is idle takes next."""

from __future__ import annotations

import multiprocessing
import queue
import traceback
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from harness.contract import Generate, Request, Response, ScoreChoices, ScoreRequest, Usage
from harness.engine import base
from harness.engine.base import Engine, Session
from harness.errors import HarnessError, ModelError

if TYPE_CHECKING:
    from harness.models.opening import AnyAdapter, ModelOptions, Opening

Work = TypeVar("Work", bound=Request)

_PIECES = 4
"""Pieces of work for each device, so that none waits long for the last."""

_PATIENCE = 1.0
"""Seconds between checks that all processes are alive."""


@dataclass(frozen=True)
class _Piece:
    """Requests that one process computes, for the adapter of this number, and the ids of those answered already."""

    number: int
    adapter: int
    kind: Literal["score", "generate"]
    requests: tuple[Any, ...]
    done: frozenset[str]


@dataclass(frozen=True)
class _Message:
    """What a process reports: a batch of a piece; the end of a piece, with what it cost and notes; or a failure."""

    number: int
    batch: list[Response] | None = None
    usage: Usage | None = None
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


class ClusterSession:
    """A model opened on several devices, until `close`.

    Args:
        engine: name of the backend.
        opening: the model.
        devices: one process is started for each.
        open_model: a function of a module; called once in each process.

    Attributes:
        processes: in the order of the devices.
    """

    def __init__(self, engine: str, opening: Opening, devices: Sequence[str], open_model: OpenCopy = open_copy) -> None:
        context = multiprocessing.get_context("spawn")
        self.opening = opening
        self._pieces: Any = context.Queue()
        self._messages: Any = context.Queue()
        self.devices = tuple(devices)
        self.processes = [
            context.Process(
                target=_serve,
                args=(open_model, engine, replace(opening.options, devices=(device,)), self._pieces, self._messages),
                daemon=True,
            )
            for device in devices
        ]
        for process in self.processes:
            process.start()

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[ClusterEngine]:
        """An engine on all devices for the model with an adapter, or without."""
        yield ClusterEngine(self, self.opening.adapters.index(adapter))

    def computed(self, pieces: Sequence[_Piece]) -> Iterator[_Message]:
        """What the processes report of these pieces, until all are finished.

        Raises:
            HarnessError: the first failure of any of them.
            ModelError: a process ended unexpectedly.
        """
        for piece in pieces:
            self._pieces.put(piece)
        left = {piece.number for piece in pieces}
        while left:
            message = self._next()
            if message.error is not None:
                raise message.error
            if message.batch is None:
                left.discard(message.number)
            yield message

    def _next(self) -> _Message:
        while True:
            try:
                message: _Message = self._messages.get(timeout=_PATIENCE)
                return message
            except queue.Empty:
                for process, device in zip(self.processes, self.devices, strict=True):
                    if not process.is_alive():
                        code = process.exitcode
                        raise ModelError(f"The process that computes on {device} ended with code {code}.", "Try one device.") from None

    def close(self) -> None:
        """End the processes."""
        for _process in self.processes:
            self._pieces.put(None)
        for process in self.processes:
            process.join(_PATIENCE)
            if process.is_alive():
                process.terminate()
                process.join()


@dataclass
class ClusterEngine:
    """One system on all devices. Seconds of its usage are summed over the devices."""

    session: ClusterSession
    adapter: int
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts; those with a common prefix go to the same device."""

        def place(request: ScoreRequest) -> tuple[Any, ...]:
            return (request.context if isinstance(request, ScoreChoices) else request.windows[0][0], request.id)

        return self._computed("score", sorted(requests, key=place), done)

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts, the longest first."""
        ordered = sorted(requests, key=lambda request: (-len(request.context) - request.max_new_tokens, request.id))
        return self._computed("generate", ordered, done)

    def _computed(self, kind: Literal["score", "generate"], requests: Sequence[Work], done: Container[str]) -> Iterator[list[Response]]:
        pieces = []
        for number, part in enumerate(_parts(requests, _PIECES * len(self.session.devices))):
            answered = frozenset(request.id for request in part if request.id in done)
            if len(answered) < len(part):
                pieces.append(_Piece(number, self.adapter, kind, tuple(part), answered))
        for message in self.session.computed(pieces):
            if message.batch is not None:
                yield message.batch
            elif message.usage is not None:
                _add(self.usage, message.usage)
                self.notes += [note for note in message.notes if note not in self.notes]


def _parts(requests: Sequence[Work], number: int) -> Iterator[Sequence[Work]]:
    """Consecutive parts of nearly equal length, none of them empty."""
    for part in range(number):
        low, high = part * len(requests) // number, (part + 1) * len(requests) // number
        if low < high:
            yield requests[low:high]


def _add(total: Usage, more: Usage) -> None:
    for entry in fields(Usage):
        setattr(total, entry.name, getattr(total, entry.name) + getattr(more, entry.name))


def _serve(open_model: OpenCopy, engine: str, options: ModelOptions, pieces: Any, messages: Any) -> None:
    """Compute pieces until there are no more; the life of one process."""
    model: ModelCopy | None = None
    entered: tuple[int, Engine, ExitStack] | None = None
    with ExitStack() as stack:
        while (piece := pieces.get()) is not None:
            try:
                model = model or open_model(engine, options)
                if entered is None or entered[0] != piece.adapter:
                    if entered is not None:
                        entered[2].close()
                    block = stack.enter_context(ExitStack())
                    entered = (piece.adapter, block.enter_context(model.session.engine(model.opening.adapters[piece.adapter])), block)
                _compute(entered[1], piece, messages.put)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run's own process has to report it
                raised = error if isinstance(error, HarnessError) else _unexpected(error, options.device)
                messages.put(_Message(piece.number, error=raised))


def _unexpected(error: Exception, device: str) -> RuntimeError:
    """An error that can be sent to the run's own process, with the traceback of this one; its own class might not be sent."""
    sent = RuntimeError(f"on {device}: {type(error).__name__}: {error}")
    sent.add_note("".join(traceback.format_exception(error)))
    return sent


def _compute(engine: Engine, piece: _Piece, send: Callable[[_Message], None]) -> None:
    before = replace(engine.usage)
    work = engine.score if piece.kind == "score" else engine.generate
    for batch in work(piece.requests, piece.done):
        send(_Message(piece.number, batch=batch))
    spent = Usage(*(getattr(engine.usage, entry.name) - getattr(before, entry.name) for entry in fields(Usage)))
    send(_Message(piece.number, usage=spent, notes=tuple(engine.notes)))
