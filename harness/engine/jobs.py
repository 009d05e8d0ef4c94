"""What workers are sent and what they send back, and how one of them computes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.contract import Generate, Response, Usage
from harness.engine import base
from harness.engine.base import Engine, Session
from harness.engine.pieces import Batch
from harness.util.memory import peak_resident_bytes
from harness.util.user_errors import meant_for_users

if TYPE_CHECKING:
    from harness.models.opening import ModelOptions, Opening


@dataclass(frozen=True)
class Job:
    """All requests of one kind for the adapter of this number; a worker keeps them until the next job."""

    number: int
    adapter: int
    requests: tuple[Any, ...]


@dataclass(frozen=True)
class ComputeBatches:
    """Requests of the job to compute; all others count as answered."""

    job: int
    ids: frozenset[str]


@dataclass(frozen=True)
class PlannedBatches:
    """The batches of a job."""

    job: int
    batches: tuple[Batch, ...]


@dataclass(frozen=True)
class Answered:
    """A batch of responses."""

    job: int
    batch: list[Response]


@dataclass(frozen=True)
class Idle:
    """The end of a piece, with what it cost and the worker's peak memory in bytes; or a failure."""

    job: int
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    memory: int = 0
    error: Exception | None = None


Message: TypeAlias = PlannedBatches | Answered | Idle
"""What a worker sends."""


@dataclass(frozen=True)
class ModelCopy:
    """A model opened by a worker."""

    opening: Opening
    session: Session


OpenCopy = Callable[[str, "ModelOptions"], ModelCopy]


def open_copy(engine: str, options: ModelOptions) -> ModelCopy:
    """Open a model whose files another process verifies.

    Args:
        engine: name of the backend.
        options: how the model is loaded, on one device.
    """
    backend = base.load(engine)
    opening = backend.prepare(options, ignore)
    opening.leave_hashing()
    return ModelCopy(opening, backend.open(opening))


def ignore(note: str) -> None:
    """The run's own process reports the same notes."""


@dataclass
class JobRunner:
    """Computes jobs in the process of a worker.

    Args:
        open_model: opens the model, when the first job arrives.
        where: names the worker in messages of unexpected errors.
    """

    open_model: Callable[[], ModelCopy]
    where: str
    _model: ModelCopy | None = None
    _job: Job | None = None
    _entered: tuple[int, Engine, ExitStack] | None = None

    def plan(self, job: Job) -> PlannedBatches | Idle:
        """Take a job, and plan its batches."""
        self._job = job
        try:
            return PlannedBatches(job.number, tuple(base.batches(self._engine(job.adapter), job.requests)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run's own process has to report it
            return self._failure(job, error)

    def compute(self, work: ComputeBatches) -> Iterator[Answered | Idle]:
        """The responses of a piece, batch by batch; what it cost comes last."""
        job = self._job
        assert job is not None
        try:
            engine = self._engine(job.adapter)
            before = replace(engine.usage)
            compute = engine.generate if isinstance(job.requests[0], Generate) else engine.score
            for batch in compute(job.requests, _Others(work.ids)):
                yield Answered(job.number, batch)
            spent = Usage(*(getattr(engine.usage, entry.name) - getattr(before, entry.name) for entry in fields(Usage)))
            yield Idle(job.number, spent, tuple(engine.notes), peak_resident_bytes())
        except Exception as error:  # noqa: BLE001 - as above
            yield self._failure(job, error)

    def close(self) -> None:
        """Leave the model."""
        if self._entered is not None:
            self._entered[2].close()
            self._entered = None
        if self._model is not None:
            self._model.session.close()
            self._model = None

    def _engine(self, adapter: int) -> Engine:
        self._model = model = self._model or self.open_model()
        if self._entered is None or self._entered[0] != adapter:
            if self._entered is not None:
                self._entered[2].close()
                self._entered = None
            block = ExitStack()
            self._entered = (adapter, block.enter_context(model.session.engine(model.opening.adapters[adapter])), block)
        return self._entered[1]

    def _failure(self, job: Job, error: Exception) -> Idle:
        return Idle(job.number, error=meant_for_users(error) or self._unexpected(error))

    def _unexpected(self, error: Exception) -> RuntimeError:
        """An error that can be sent to the run's own process, with the traceback of this one; its own class might not be sent."""
        sent = RuntimeError(f"on {self.where}: {type(error).__name__}: {error}")
        sent.add_note("".join(traceback.format_exception(error)))
        return sent


@dataclass(frozen=True)
class _Others:
    """Every id but these."""

    ids: frozenset[str]

    def __contains__(self, name: object) -> bool:
        return name not in self.ids
