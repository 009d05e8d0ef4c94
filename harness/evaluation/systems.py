"""The systems of a run: one model, opened once on a backend, and each of its adapters or none."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contract import System, Usage
from harness.engine import base
from harness.engine.base import Backend, Engine, Session
from harness.engine.pools import Workers, open_pool
from harness.evaluation.outputs import output_folders
from harness.models import identity
from harness.models.opening import ModelOptions, Opening, open_memory

if TYPE_CHECKING:
    from harness.contract import Generate, Request, Response, ScoreRequest
    from harness.evaluation.options import Options
    from harness.evaluation.progress import Progress
    from harness.models.encoding import Encoder
    from harness.models.in_memory import InMemoryModel
    from harness.models.opening import AnyAdapter

_SystemWithAdapter = tuple[System, "AnyAdapter | None"]


@dataclass
class OpenSystems:
    """The systems of a run, until `close`.

    Attributes:
        options: of the run.
        progress: receives notes.
        backend: what computes.
        opening: the model, before its weights are loaded.
        systems: each system with its adapter, in the order of the options.
        outputs: the results folder of each system, by its name.
    """

    options: Options
    progress: Progress
    backend: Backend
    opening: Opening
    systems: list[_SystemWithAdapter] = field(default_factory=list)
    outputs: dict[str, Path] = field(default_factory=dict)
    _session: Session | None = None
    _noted: set[str] = field(default_factory=set)

    @property
    def encoder(self) -> Encoder:
        """Turns prompts into token ids."""
        return self.opening.encoder

    def say_once(self, notes: Sequence[str]) -> None:
        """Note what was not noted before, for whichever system."""
        for note in notes:
            if note not in self._noted:
                self._noted.add(note)
                self.progress.note(note)

    def check(self, adapter: AnyAdapter | None) -> None:
        """Verify that a system's files still have the content that was hashed; to be called before responses are saved or served.

        Raises:
            ContentError: a file was changed.
        """
        for contents in self.opening.contents_with(adapter):
            contents.check()

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[Engine]:
        """An engine for one system; it yields no response unless the system's files still have the content that was hashed."""
        with self.session().engine(adapter) as engine:
            self.say_once(engine.notes)
            yield _VerifiedEngine(engine, self, adapter)

    def session(self) -> Session:
        """The model opened on its backend, on all devices of the run; the same on every call."""
        if self._session is None:
            devices, workers = self.backend.devices(self.opening.options), self.options.worker_plan
            if workers is None and len(devices) > 1:
                workers = Workers(len(devices))
            self._session = self.backend.open(self.opening) if workers is None else self._cluster(workers, devices)
        return self._session

    def _cluster(self, workers: Workers, devices: Sequence[str]) -> Session:
        from harness.engine.cluster import ClusterSession

        gpus = self.backend.gpus_per_worker(self.opening.options)
        pool = open_pool(workers, self.backend.name, self.opening, devices, gpus, self.progress.note)
        return ClusterSession(pool, self.opening, self.progress.workers)

    def close(self) -> None:
        """Close the model."""
        if self._session is not None:
            self._session.close()
            self._session = None


def open_systems(options: Options, progress: Progress, memory: InMemoryModel | None = None) -> OpenSystems:
    """Find a model and its adapters, identify each system, and check that the results can be written; loads no weights.

    Args:
        options: of the run.
        progress: receives notes.
        memory: a model in memory, which is scored as it is; `options.model` is then ignored. Where `options.adapter` names no adapter,
            the adapters that are active are scored.

    Raises:
        InputError: the model, an adapter or an option cannot be used.
        StorageError: a results folder cannot be written, or holds the run of another system.
    """
    systems = open_model(options, progress, memory)
    backend, opening = systems.backend, systems.opening
    model = backend.identify(opening)
    named = [
        (identity.system(opening, model, adapter, backend.name, backend.suffix, backend.code), adapter) for adapter in opening.adapters
    ]
    return replace(systems, systems=named, outputs=output_folders(options.output, [system for system, _ in named]))


def open_model(options: Options, progress: Progress, memory: InMemoryModel | None = None) -> OpenSystems:
    """A run's model, without naming its systems or their results folders; see `open_systems` for arguments and errors."""
    backend, model_options = base.load(options.engine), ModelOptions.of(options)
    workers = options.worker_plan
    base.check_options(
        backend, model_options, memory=memory is not None, workers=None if workers is None else "ray" if workers.ray else "processes"
    )
    if memory is None:
        opening = backend.prepare(model_options, progress.note)
    else:
        opening = open_memory(model_options, memory, active=options.adapter == ())
    base.check_opening(backend, opening)
    return OpenSystems(options, progress, backend, opening)


@dataclass
class _VerifiedEngine:
    """An engine whose files are verified before each batch of responses is yielded: weights may be mapped into memory, not copied."""

    engine: Engine
    systems: OpenSystems
    adapter: AnyAdapter | None
    usage: Usage = field(init=False)
    notes: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.usage, self.notes = self.engine.usage, self.engine.notes

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts."""
        return self._verified(self.engine.score(requests, done))

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts."""
        return self._verified(self.engine.generate(requests, done))

    def batches(self, requests: Sequence[Request]) -> list[tuple[str, ...]]:
        """Ids of requests by what is computed together."""
        return base.batches(self.engine, requests)

    def _verified(self, batches: Iterator[list[Response]]) -> Iterator[list[Response]]:
        for batch in batches:
            self.systems.check(self.adapter)
            yield batch
