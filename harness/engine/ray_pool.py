"""Workers that are actors of a Ray cluster: one machine or many, any backend.

Each actor opens the model from its own disk, or from what the driver sends through Ray's object store, and compares digests with the
driver's before it computes. The driver keeps the queue: an actor that ends, or whose node ends, loses nothing but the batch it computed.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.engine.cluster import Worker
from harness.engine.jobs import Answered, ComputeBatches, Idle, Job, JobRunner, Message, ModelCopy, PlannedBatches, ignore
from harness.errors import HarnessError, InputError, MissingLibraryError, ModelError
from harness.util import paths
from harness.util.libraries import computing_versions, differences, install_command, require

if TYPE_CHECKING:
    from harness.models.opening import ModelOptions, Note, Opening

_AHEAD = 2
"""Calls for the next batch that wait in an actor, so that it need not wait for the driver."""

_RETRY = 0.5
"""Seconds after which an actor that is not there yet is called again."""

_PATIENCE = 600.0
"""Seconds that the driver waits while no actor at all is there."""

_ANSWER = 10.0
"""Seconds until a cluster's address has to answer."""

_CHUNK = 64 << 20
"""Bytes of a file in one object of the object store."""

_FORWARDED = ("HARNESS_OFFLINE", "HARNESS_PATH", "HARNESS_CACHE", "HF_HUB_OFFLINE")
"""Variables that actors get from the driver's environment."""

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
"""Names of variables that no process of a cluster inherits."""


@dataclass(frozen=True)
class Arrival:
    """An actor that has started.

    Attributes:
        node: address of its machine.
        process: its process id.
        versions: of everything that must be equal on all machines.
        missing: folders of the driver that its machine does not have.
    """

    node: str
    process: int
    versions: Mapping[str, str]
    missing: tuple[Path, ...]


@dataclass(frozen=True)
class ExpectedContent:
    """What an actor must find: the driver's folders, and the digests of the model, its tokenizer and its adapters.

    Attributes:
        model: folder of the model; None for a backend without weights.
        adapters: folders by adapter number; None for the base model.
        digests: of the model, its tokenizer, and each adapter; None for the base model.
        dtype: of the weights.
    """

    model: Path | None
    adapters: tuple[Path | None, ...]
    digests: tuple[str | None, ...]
    dtype: str

    @classmethod
    def of(cls, engine: str, opening: Opening) -> ExpectedContent:
        """What the driver has found; waits for files that are hashed for the first time."""
        from harness.engine import base
        from harness.models import identity
        from harness.models.adapters import Adapter

        model = base.load(engine).identify(opening)
        adapters = [adapter if isinstance(adapter, Adapter) else None for adapter in opening.adapters]
        own = [None if adapter is None else identity.of_adapter(opening, adapter).digest for adapter in adapters]
        folders = tuple(None if adapter is None else adapter.folder for adapter in adapters)
        folder = None if opening.source is None else opening.source.folder
        return cls(folder, folders, (model.digest, model.tokenizer_digest, *own), model.dtype)

    @property
    def every(self) -> tuple[Path | None, ...]:
        """The model's folder, and that of each adapter."""
        return (self.model, *self.adapters)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder, once."""
        return tuple(dict.fromkeys(folder for folder in self.every if folder is not None))


class ModelActor:
    """A worker in an actor's process.

    Args:
        engine: name of the backend.
        options: how the model is loaded, on one device.
        expected: what the driver has found.
    """

    def __init__(self, engine: str, options: ModelOptions, expected: ExpectedContent) -> None:
        import ray

        self._engine, self._options, self._expected = engine, options, expected
        self._node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # not typed there
        self._runner = JobRunner(self._open, self._node)
        self._answers: Iterator[Answered | Idle] = iter(())
        self._received: dict[Path, Path] = {}

    def arrive(self) -> Arrival:
        """Say where this is, and what is missing here."""
        missing = tuple(folder for folder in self._expected.folders if not folder.is_dir() and folder not in self._received)
        return Arrival(self._node, os.getpid(), computing_versions(), missing)

    def receive(self, folder: Path, name: str, last: bool, chunk: bytes) -> None:
        """Append to a file of a folder that is missing here; its first chunk starts it anew.

        Args:
            folder: on the driver's machine.
            name: of the file in it.
            last: whether this is the file's last chunk.
            chunk: bytes.
        """
        if folder not in self._received:
            self._received[folder] = self._copy_of(folder)
        place = self._received[folder]
        part = place / f"{name}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            file.write(chunk)
        if last:
            part.replace(place / name)

    def plan(self, job: Job) -> PlannedBatches | Idle:
        """Take a job, and plan its batches."""
        return self._runner.plan(job)

    def begin(self, work: ComputeBatches) -> None:
        """Take a piece; `advance` computes it."""
        self._answers = self._runner.compute(work)

    def advance(self) -> Answered | Idle | None:
        """Compute the next batch of the piece; None after its end."""
        return next(self._answers, None)

    def _copy_of(self, folder: Path) -> Path:
        """A new folder for a copy, whose name ends like the original's."""
        parent = paths.cache() / "received"
        parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent)) / folder.name
        place.mkdir()
        return place

    def _open(self) -> ModelCopy:
        from harness.engine import base

        backend = base.load(self._engine)
        options = self._options
        if self._received:
            model, *adapters = (None if folder is None else str(self._received.get(folder, folder)) for folder in self._expected.every)
            options = replace(options, model=model or options.model, adapters=tuple(adapters), any_base=True, revision=None)
        opening = backend.prepare(options, ignore)
        here = ExpectedContent.of(self._engine, opening)
        if here.digests != self._expected.digests:
            raise ModelError(
                f"The files of {self._options.model} or of an adapter on {self._node} are not those of the run's own machine.",
                "Copy the same files to all machines.",
            )
        if here.dtype != self._expected.dtype:
            raise InputError(
                f"--dtype auto is {here.dtype} on {self._node}, and {self._expected.dtype} on the run's own machine.",
                "Name one: --dtype bfloat16 or --dtype float32.",
            )
        return ModelCopy(opening, backend.open(opening))


@dataclass(eq=False)
class ActorWorker(Worker):
    """An actor, and the calls that it has not answered.

    Attributes:
        arrived: the actor's process has started and has all files.
        process: its process id.
        outbox: messages for when it has arrived.
        retry: when to call an actor that is not there again, on `time.monotonic`.
        lost: it ended, and Ray starts it again.
    """

    actor: Any = None
    arrived: bool = False
    process: int = 0
    outbox: list[Job | ComputeBatches] = field(default_factory=list)
    retry: float | None = None
    lost: bool = False

    @property
    def doing(self) -> str:
        """What it does, in a word."""
        return super().doing if self.arrived else "waiting" if self.busy else "idle"


_Call: TypeAlias = tuple[ActorWorker, str]


class RayPool:
    """Actors of a Ray cluster, each with a model of its own.

    Args:
        engine: name of the backend.
        opening: the model.
        address: ray://HOST:PORT of the cluster; None for the one that RAY_ADDRESS names, or else a new one on this machine.
        wanted: number of actors; None for one on each GPU, or on each node where there are none.
        gpus: GPUs of one actor where the cluster has GPUs.
        note: receives what the user should know.

    Raises:
        MissingLibraryError: Ray is not installed.
        InputError: the cluster cannot be reached, or has no place for an actor.
    """

    def __init__(self, engine: str, opening: Opening, address: str | None, wanted: int | None, gpus: int, note: Note) -> None:
        ray, self._ours = connected(address)
        self._ray = ray
        self._note = note
        self._folders: dict[Path, list[tuple[str, bool, Any]]] = {}
        self._jobs: tuple[int, Any] = (0, None)
        self._calls: dict[Any, _Call] = {}
        self._began = time.monotonic()
        self._expected = ExpectedContent.of(engine, opening)
        device = opening.options.device
        needs, number = places(ray, wanted, device, gpus)
        # on a GPU, Ray shows an actor only its own, so that it is the first
        options = replace(opening.options, devices=(device if device in ("auto", "cpu") else device.partition(":")[0],))
        make = ray.remote(ModelActor).options(
            max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD", runtime_env=runtime_environment(), **needs
        )
        actors = [make.remote(engine, options, self._expected) for _ in range(number)]
        self.workers = [ActorWorker(f"worker {place}", actor=actor) for place, actor in enumerate(actors, start=1)]
        for worker in self.workers:
            self._call(worker, "arrive")

    def send(self, worker: Worker, message: Job | ComputeBatches) -> None:
        """Send a message, when the actor has arrived."""
        assert isinstance(worker, ActorWorker)
        if not worker.arrived:
            worker.outbox.append(message)
        elif isinstance(message, Job):
            if self._jobs[0] != message.number:
                self._jobs = (message.number, self._ray.put(message))
            self._call(worker, "plan", self._jobs[1])
        else:
            self._call(worker, "begin", message)
            for _ in range(_AHEAD):
                self._call(worker, "advance")

    def messages(self) -> list[tuple[Worker, Message | None]]:
        """What has arrived, at least one message; None for an actor that has ended.

        Raises:
            ModelError: no actor came for a long time, or one cannot be started.
            InputError: an actor's versions are not those of this machine.
        """
        messages: list[tuple[Worker, Message | None]] = []
        while not messages:
            for worker in self.workers:
                if worker.retry is not None and worker.retry <= time.monotonic():
                    worker.retry = None
                    self._call(worker, "arrive")
            for call in self._ready():
                if call in self._calls:
                    messages += self._answer(call)
            self._check_patience()
        return messages

    def _ready(self) -> list[Any]:
        """Calls that have been answered; waits for the first, but not for long."""
        if not self._calls:
            time.sleep(_RETRY)
            return []
        self._ray.wait(list(self._calls), num_returns=1, timeout=_RETRY)
        ready, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        return list(ready)

    def restart(self, worker: Worker) -> None:
        """End an actor, whatever it does, and let Ray start it again."""
        assert isinstance(worker, ActorWorker)
        self._forget(worker)
        if not worker.lost:
            self._ray.kill(worker.actor, no_restart=False)
        worker.arrived, worker.lost = False, False
        worker.outbox.clear()
        worker.retry = time.monotonic()

    def close(self) -> None:
        """End the actors, and leave the cluster."""
        for worker in self.workers:
            self._ray.kill(worker.actor)
        self._calls.clear()
        if self._ours:
            self._ray.shutdown()

    def _call(self, worker: ActorWorker, method: str, *arguments: Any) -> None:
        try:
            self._calls[getattr(worker.actor, method).remote(*arguments)] = (worker, method)
        except self._ray.exceptions.RayActorError as error:
            raise _cannot_start(worker, error) from error

    def _answer(self, call: Any) -> list[tuple[Worker, Message | None]]:
        worker, method = self._calls.pop(call)
        exceptions = self._ray.exceptions
        try:
            value = self._ray.get(call)
        except exceptions.ActorUnavailableError:
            if method == "arrive":
                worker.retry = time.monotonic() + _RETRY
                return []
            self._forget(worker)
            worker.lost = True
            return [(worker, None)]
        except exceptions.RayActorError as error:
            raise _cannot_start(worker, error) from error
        except exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, HarnessError):
                raise cause from error
            reason = str(cause or error).strip().splitlines()[-1]
            raise ModelError(f"{worker.name} failed: {reason}.", "Look at Ray's logs.") from error
        if isinstance(value, Arrival):
            self._arrived(worker, value)
            return []
        if isinstance(value, Answered):
            self._call(worker, "advance")
        return [] if value is None else [(worker, value)]

    def _arrived(self, worker: ActorWorker, arrival: Arrival) -> None:
        if arrival.process == worker.process and worker.name.endswith(arrival.node):
            worker.retry = time.monotonic() + _RETRY  # it was ended just now, and answered once more
            return
        if different := differences(computing_versions(), arrival.versions):
            raise InputError(f"The worker on {arrival.node} has other versions: {different}.", "Install the same on all machines.")
        for folder in arrival.missing:
            for name, last, chunk in self._sent(folder):
                self._call(worker, "receive", folder, name, last, chunk)
        worker.name = f"{worker.name.partition(' on ')[0]} on {arrival.node}"
        worker.process, worker.arrived = arrival.process, True
        waiting = list(worker.outbox)
        worker.outbox.clear()
        for message in waiting:
            self.send(worker, message)

    def _sent(self, folder: Path) -> list[tuple[str, bool, Any]]:
        """The files of a folder in the object store: each chunk with its file's name, and whether it is the last."""
        if folder not in self._folders:
            self._note(f"{folder} is sent to workers that lack it.")
            self._folders[folder] = [(name, last, self._ray.put(chunk)) for name, path in _files(folder) for last, chunk in _chunks(path)]
        return self._folders[folder]

    def _forget(self, worker: ActorWorker) -> None:
        for call in [call for call, (other, _) in self._calls.items() if other is worker]:
            del self._calls[call]

    def _check_patience(self) -> None:
        now = time.monotonic()
        if any(worker.arrived for worker in self.workers):
            self._began = now
        elif now - self._began > _PATIENCE:
            raise ModelError(
                f"No worker has started for {_PATIENCE / 60:.0f} minutes.",
                "See with `ray status` what the cluster has free, and what else uses it.",
            )


def connected(address: str | None) -> tuple[Any, bool]:
    """The library, connected to a cluster, and whether we connected it; quiet, and without usage statistics or a dashboard."""
    require("ray")
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None and not _answers(address):
        raise InputError(f"The Ray cluster {address} cannot be reached: nobody listens there.", "Check it, and `ray status` there.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None and os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray  # reads these variables

    if ray.is_initialized():
        return ray, False
    terminate = signal.getsignal(signal.SIGTERM)
    new: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address is None else {}
    with _quiet() as output, _without_secrets():
        try:
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **new)
        except ImportError as error:
            raise MissingLibraryError(f"{error}.", f"Install it: {install_command('ray')}.") from error
        except Exception as error:
            printed = output()
            if "Unauthenticated" in printed or "InvalidAuthToken" in printed:
                raise InputError(
                    "The Ray cluster refuses the token.", "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on the cluster."
                ) from error
            raise InputError(
                f"The Ray cluster {address or 'on this machine'} cannot be reached: {str(error).strip().splitlines()[0]}",
                "Check the address, RAY_AUTH_TOKEN, and `ray status` there.",
            ) from error
    if terminate is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)  # Ray has set its own
    _silence()
    return ray, True


def _answers(address: str) -> bool:
    """Whether somebody listens at HOST:PORT, for which Ray would wait for minutes; True for an address of another form."""
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal():
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
    except OSError:
        return False
    return True


@contextmanager
def _quiet() -> Iterator[Callable[[], str]]:
    """What the block writes to the descriptor of standard error, as Ray's C++ code does, is kept; the value returns it."""
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)

        def output() -> str:
            kept.seek(0)
            return kept.read().decode(errors="replace")

        try:
            yield output
        finally:
            os.dup2(before, 2)
            os.close(before)


@contextmanager
def _without_secrets() -> Iterator[None]:
    """What the block starts does not inherit keys and tokens, except Ray's own."""
    secrets_here = {name: os.environ.pop(name) for name in list(os.environ) if _SECRET.search(name) and not name.startswith("RAY_")}
    try:
        yield
    finally:
        os.environ |= secrets_here


def _silence() -> None:
    """Ray prints what its nodes report, such as that an actor ended, which the run reports itself."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = ignore_output


def ignore_output(*_: Any, **__: Any) -> None:
    """Print nothing."""


def runtime_environment() -> dict[str, Any]:
    """What processes elsewhere get of this one's environment."""
    return {"env_vars": {name: os.environ[name] for name in _FORWARDED if name in os.environ}}


def places(ray: Any, wanted: int | None, device: str, gpus: int) -> tuple[dict[str, int], int]:
    """What each worker needs, as Ray names it, and the number of workers.

    Args:
        ray: the library, connected.
        wanted: number of workers; None for as many as there are places.
        device: that the user names.
        gpus: GPUs of one worker.

    Raises:
        InputError: there is no place for a worker.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    of_nodes = [int(node["Resources"].get("GPU", 0)) for node in nodes]
    if device.startswith("cuda") or (device == "auto" and any(of_nodes)):
        number = wanted or sum(count // gpus for count in of_nodes)
        needs = {"num_gpus": gpus, "num_cpus": 0}
    else:
        processors = [count for node in nodes if (count := int(node["Resources"].get("CPU", 0)))]
        smallest = min(processors, default=1)
        share = smallest if wanted is None else max(1, min(smallest, sum(processors) // wanted))
        number = wanted or sum(count // smallest for count in processors)
        needs = {"num_cpus": share}
    if not number:
        raise InputError("The Ray cluster has no place for a worker.", "Add nodes with CPUs or GPUs, or say how many will come: ray:8.")
    return needs, number


def _cannot_start(worker: ActorWorker, error: Exception) -> ModelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ModelError(f"{worker.name} cannot be started: {lines[-1] if lines else error}.", "Is the harness installed on every machine?")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files below a folder with their relative names, without hidden ones."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix(), path


def _chunks(path: Path) -> Iterator[tuple[bool, bytes]]:
    """The content of a file in pieces, and whether each is the last."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            yield file.tell() >= size, chunk
            if file.tell() >= size or not chunk:
                return
