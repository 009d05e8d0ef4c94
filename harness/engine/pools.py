"""The workers that an option names: processes of this machine, or actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError

if TYPE_CHECKING:
    from harness.engine.cluster import WorkerPool
    from harness.models.opening import Note, Opening

_MOST = 4_096
_FORMS = "Give a number of processes on this machine, ray, ray:N, ray://HOST:PORT or ray://HOST:PORT/N."


@dataclass(frozen=True)
class Workers:
    """What computes a run.

    Attributes:
        count: of workers; None for one on each GPU, or on each node of the cluster where there are none.
        ray: they are actors of a Ray cluster; otherwise processes of this machine.
        address: ray://HOST:PORT of the cluster; None for the one that RAY_ADDRESS names, or else a new one on this machine.
    """

    count: int | None
    ray: bool = False
    address: str | None = None

    @classmethod
    def parse(cls, given: str | int) -> Workers:
        """The workers of a number, or of a text such as "4", "ray", "ray:8" or "ray://10.0.0.1:10001/8".

        Raises:
            InputError: it has another form.
        """
        text = str(given)
        if text.startswith("ray://"):
            place, slash, count = text.removeprefix("ray://").partition("/")
            host, colon, port = place.rpartition(":")
            if not (host and colon and port.isascii() and port.isdigit() and int(port[:6]) < 1 << 16):
                raise InputError(f"--workers {text[:80]!r} is no address of a Ray cluster.", _FORMS)
            return cls(_number(text, count) if slash else None, ray=True, address=f"ray://{place}")
        name, colon, count = text.partition(":")
        if name == "ray":
            return cls(_number(text, count) if colon else None, ray=True)
        return cls(_number(text, text))


def open_pool(workers: Workers, engine: str, opening: Opening, devices: Sequence[str], gpus: int, note: Note) -> WorkerPool:
    """Start workers.

    Args:
        workers: how many of which kind.
        engine: name of the backend.
        opening: the model.
        devices: of this machine, for its processes.
        gpus: GPUs of one actor.
        note: receives what the user should know.

    Raises:
        InputError: the cluster cannot be reached, or has no place for an actor.
        MissingLibraryError: Ray is not installed.
    """
    if workers.ray:
        from harness.engine.ray_pool import RayPool

        return RayPool(engine, opening, workers.address, workers.count, gpus, note)
    from harness.engine.processes import ProcessPool

    count = workers.count or len(devices)
    return ProcessPool(engine, opening, [devices[number % len(devices)] for number in range(count)])


def _number(text: str, part: str) -> int:
    if not (part.isascii() and part.isdigit() and 1 <= int(part[:5]) <= _MOST):
        raise InputError(f"--workers {text[:80]!r} is not understood; numbers are from 1 to {_MOST:,}.", _FORMS)
    return int(part[:5])
