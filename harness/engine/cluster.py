"""Several devices of one machine: a process for each, with the whole model, and work that whoever is idle takes next."""

from __future__ import annotations

import multiprocessing
import queue
import traceback
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from harness.contract import Engine, Generate, Request, Response, ScoreChoices, ScoreRequest, Usage
from harness.errors import HarnessError, ModelError

if TYPE_CHECKING:
    from harness.evaluation.options import Options

Work = TypeVar("Work", bound=Request)

_PIECES = 4
"""Pieces of work for each device, so that none waits long for the last."""

_PATIENCE = 1.0
"""Seconds between looks at whether all processes are alive."""


@dataclass(frozen=True)
class _Piece:
    """What a process is told to compute: of which of the run's systems, and what is answered already."""

    number: int
    system: int
    kind: Literal["score", "generate"]
    requests: tuple[Any, ...]
    done: frozenset[str]


@dataclass(frozen=True)
class _Said:
    """What a process says: a batch of a piece, the end of one with what it cost and notes, or a failure."""

    number: int
    batch: list[Response] | None = None
    usage: Usage | None = None
    notes: tuple[str, ...] = ()
    error: Exception | None = None


class Served(Protocol):
    """What a process opens: the systems of a run, and an engine for each."""

    @property
    def systems(self) -> Sequence[tuple[Any, Any]]:
        """Each system with its adapter, or None."""
        ...

    def engine(self, adapter: Any) -> AbstractContextManager[Engine]:
        """An engine for the system whose adapter this is."""
        ...


class Replicas:
    """Processes that serve a run's systems, until `close`.

    Args:
        open_systems: a function of a module, called once in each process.
        options: of the run; each process loads the base once.
        devices: one for each process.

    Attributes:
        processes: those that compute, in the order of the devices.
    """

    def __init__(self, open_systems: Callable[[Options], Served], options: Options, devices: Sequence[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._todo: Any = context.Queue()
        self._said: Any = context.Queue()
        self.devices = tuple(devices)
        self.processes = [
            context.Process(
                target=_serve, args=(open_systems, replace(options, device=device, devices=()), self._todo, self._said), daemon=True
            )
            for device in devices
        ]
        for process in self.processes:
            process.start()

    def engine(self, system: int) -> ReplicaEngine:
        """An engine for one of the run's systems, by its place among them."""
        return ReplicaEngine(self, system)

    def computed(self, pieces: Sequence[_Piece]) -> Iterator[_Said]:
        """What the processes say of some pieces, until all are finished.

        Raises:
            HarnessError: the first failure of any of them.
            ModelError: a process has died.
        """
        for piece in pieces:
            self._todo.put(piece)
        left = {piece.number for piece in pieces}
        while left:
            said = self._next()
            if said.error is not None:
                raise said.error
            if said.batch is None:
                left.discard(said.number)
            yield said

    def _next(self) -> _Said:
        while True:
            try:
                said: _Said = self._said.get(timeout=_PATIENCE)
                return said
            except queue.Empty:
                for process, device in zip(self.processes, self.devices, strict=True):
                    if not process.is_alive():
                        code = process.exitcode
                        raise ModelError(f"The process that computes on {device} ended with code {code}.", "Try one device.") from None

    def close(self) -> None:
        """Let the processes end."""
        for _process in self.processes:
            self._todo.put(None)
        for process in self.processes:
            process.join(_PATIENCE)
            if process.is_alive():
                process.terminate()
                process.join()


@dataclass
class ReplicaEngine:
    """One system on all devices. Seconds of its usage are summed over the devices."""

    replicas: Replicas
    system: int
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts; those that begin alike go to the same device."""

        def place(request: ScoreRequest) -> tuple[Any, ...]:
            return (request.context if isinstance(request, ScoreChoices) else request.windows[0][0], request.id)

        return self._computed("score", sorted(requests, key=place), done)

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts, the longest first."""
        return self._computed("generate", sorted(requests, key=lambda one: (-len(one.context) - one.max_new_tokens, one.id)), done)

    def _computed(self, kind: Literal["score", "generate"], requests: Sequence[Work], done: Container[str]) -> Iterator[list[Response]]:
        pieces = []
        for number, part in enumerate(_parts(requests, _PIECES * len(self.replicas.devices))):
            answered = frozenset(one.id for one in part if one.id in done)
            if len(answered) < len(part):
                pieces.append(_Piece(number, self.system, kind, tuple(part), answered))
        for said in self.replicas.computed(pieces):
            if said.batch is not None:
                yield said.batch
            elif said.usage is not None:
                _add(self.usage, said.usage)
                self.notes += [note for note in said.notes if note not in self.notes]


def _parts(requests: Sequence[Work], number: int) -> Iterator[Sequence[Work]]:
    """Consecutive parts of nearly equal length, none of them empty."""
    for part in range(number):
        low, high = part * len(requests) // number, (part + 1) * len(requests) // number
        if low < high:
            yield requests[low:high]


def _add(total: Usage, more: Usage) -> None:
    for one in fields(Usage):
        setattr(total, one.name, getattr(total, one.name) + getattr(more, one.name))


def _serve(open_systems: Callable[[Options], Served], options: Options, todo: Any, said: Any) -> None:
    """The life of one process."""
    with ExitStack() as stack:
        opened: tuple[int, Engine, ExitStack] | None = None
        served: Served | None = None
        while (piece := todo.get()) is not None:
            try:
                served = served or open_systems(options)
                if opened is None or opened[0] != piece.system:
                    if opened is not None:
                        opened[2].close()
                    own = stack.enter_context(ExitStack())
                    opened = (piece.system, own.enter_context(served.engine(served.systems[piece.system][1])), own)
                _compute(opened[1], piece, said.put)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run's own process has to hear of it
                said.put(_Said(piece.number, error=error if isinstance(error, HarnessError) else _unforeseen(error, options.device)))


def _unforeseen(error: Exception, device: str) -> RuntimeError:
    """An error that reaches the run's own process whole: its class need not be one that can be sent, and its traceback goes along."""
    told = RuntimeError(f"on {device}: {type(error).__name__}: {error}")
    told.add_note("".join(traceback.format_exception(error)))
    return told


def _compute(engine: Engine, piece: _Piece, say: Callable[[_Said], None]) -> None:
    before = replace(engine.usage)
    work = engine.score if piece.kind == "score" else engine.generate
    for batch in work(piece.requests, piece.done):
        say(_Said(piece.number, batch=batch))
    spent = Usage(*(getattr(engine.usage, one.name) - getattr(before, one.name) for one in fields(Usage)))
    say(_Said(piece.number, usage=spent, notes=tuple(engine.notes)))
