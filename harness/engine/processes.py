"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from harness.engine.cluster import Worker
from harness.engine.jobs import ComputeBatches, Job, JobRunner, Message, OpenCopy, open_copy

if TYPE_CHECKING:
    from harness.models.opening import Opening

_PATIENCE = 1.0
"""Seconds that a process has to end by itself."""


@dataclass(eq=False)
class WorkerProcess(Worker):
    """A process and the pipe to it.

    Attributes:
        device: on which it computes.
    """

    device: str = ""
    process: Any = None
    connection: Any = None

    @property
    def ending(self) -> str:
        """How it ended."""
        return f"The process that computes on {self.name} ended with code {self.process.exitcode}"


class ProcessPool:
    """A process for each device, with a pipe of its own, so that one that is killed cannot damage what the others send.

    Args:
        engine: name of the backend.
        opening: the model.
        devices: one process is started for each; a device may be named several times.
        open_model: a function of a module; called once in each process.
    """

    def __init__(self, engine: str, opening: Opening, devices: Sequence[str], open_model: OpenCopy = open_copy) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._open_model = partial(open_model, engine)
        self._opening = opening
        self._threads = max(1, (os.cpu_count() or 1) // len(devices))
        self.workers = [
            WorkerProcess(device if devices.count(device) == 1 else f"{device} {number}", device=device)
            for number, device in enumerate(devices, start=1)
        ]
        for worker in self.workers:
            self._start(worker)

    def send(self, worker: Worker, message: Job | ComputeBatches | None) -> None:
        """Send a message; a process that has ended is noticed when its messages are waited for."""
        assert isinstance(worker, WorkerProcess)
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send(message)

    def messages(self) -> list[tuple[Worker, Message | None]]:
        """What has arrived, at least one message; None for a process that has ended and left none."""
        by_source = {source: worker for worker in self.workers for source in (worker.connection, worker.process.sentinel)}
        return [(worker, _received(worker)) for worker in dict.fromkeys(by_source[source] for source in wait(list(by_source)))]

    def restart(self, worker: Worker) -> None:
        """End a process, whatever it does, and start another one in its place."""
        assert isinstance(worker, WorkerProcess)
        worker.process.terminate()
        worker.process.join()
        worker.connection.close()
        self._start(worker)

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            self.send(worker, None)
        for worker in self.workers:
            worker.process.join(0 if worker.busy else _PATIENCE)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join()
            worker.connection.close()

    def _start(self, worker: WorkerProcess) -> None:
        ours, theirs = self._context.Pipe()
        options = replace(self._opening.options, devices=(worker.device,))
        process = self._context.Process(target=_serve, args=(partial(self._open_model, options), worker.name, theirs), daemon=True)
        with _threads(self._threads):
            process.start()
        theirs.close()
        worker.process, worker.connection = process, ours


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Processes that are started in the block compute with this many threads, unless the user says how many."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(number)
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _received(worker: WorkerProcess) -> Message | None:
    with suppress(EOFError, OSError):
        if worker.connection.poll():
            message: Message = worker.connection.recv()
            return message
    worker.process.join()
    return None


def _serve(open_model: Any, where: str, connection: Connection) -> None:
    """Plan and compute until there is no more to do; the life of one process. The run's own process answers Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with closing(JobRunner(open_model, where)) as runner, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while (message := connection.recv()) is not None:
            if isinstance(message, Job):
                connection.send(runner.plan(message))
            else:
                for answer in runner.compute(message):
                    connection.send(answer)
