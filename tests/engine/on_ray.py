"""Runs on a Ray cluster, in a process and a network namespace of their own; prints what happened as JSON.

    python -m tests.engine.on_ray SCENARIO FOLDER

FOLDER holds what `tests.parts.model_and_tasks` writes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.workers.cluster import LocalCluster, isolated, local_cluster
from harness.engine import ray_pool
from harness.engine.cluster import Worker
from harness.errors import HarnessError
from harness.evaluation.options import Options
from harness.evaluation.run import run
from harness.util import libraries
from tests.silent import Recorder


def scored(folder: Path, name: str, progress: Recorder, **changes: Any) -> dict[str, str]:
    """The samples of a run as text, by file."""
    options: dict[str, Any] = {"model": str(folder / "model"), "adapter": (None, str(folder / "tuned")), "device": "cpu"} | changes
    tasks = (str(folder / "pick.yaml"), str(folder / "write.yaml"))
    finished = run(Options(tasks=tasks, output=folder / name, fresh=True, any_base=True, **options), progress, cache=folder / f"{name}.db")
    return {f"{one.folder.name}/{path.name}": path.read_text() for one in finished for path in sorted((one.folder / "samples").iterdir())}


def equal(folder: Path, cluster: LocalCluster) -> dict[str, Any]:
    """A run on two nodes, beside the run of one process."""
    progress = Recorder()
    alone, together = scored(folder, "one", Recorder()), scored(folder, "all", progress, workers="ray")
    return {"equal": alone == together, "files": len(alone), "workers": progress.followed}


def sent(folder: Path, cluster: LocalCluster) -> dict[str, Any]:
    """A run on a node that lacks the model and the adapter."""
    alone = scored(folder, "one", Recorder())
    for node in list(cluster.nodes):
        cluster.remove(node)
    for _ in range(100):
        time.sleep(0.1)
        if not cluster.nodes:
            break
    cluster.add_without(folder)
    progress = Recorder()
    together = scored(folder, "all", progress, workers="ray:1")
    return {"equal": alone == together, "notes": progress.notes}


def refused(folder: Path, cluster: LocalCluster) -> dict[str, Any]:
    """A run whose own machine has another version than the nodes."""
    ours = libraries.computing_versions()
    setattr(ray_pool, "computing_versions", lambda: ours | {"torch": "1.0"})  # noqa: B010 - mypy does not let a module be changed
    try:
        scored(folder, "all", Recorder(), workers="ray")
    except HarnessError as error:
        return {"message": str(error)}
    return {"message": ""}


def closed(folder: Path) -> dict[str, Any]:
    """A run on a new cluster of this machine: whether its processes know a secret, and whether SIGTERM is still handled as before."""
    os.environ["SOME_API_KEY"] = "secret-of-the-run"
    inherited: set[str] = set()

    @dataclass
    class Look(Recorder):
        def workers(self, workers: Sequence[Worker]) -> None:
            super().workers(workers)
            for place in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if b"ray" in (place / "cmdline").read_bytes() and b"secret-of-the-run" in (place / "environ").read_bytes():
                        inherited.add(place.name)

    progress = Look()
    signal.signal(signal.SIGTERM, _handled)
    scored(folder, "closed", progress, workers="ray:1")
    kept = signal.getsignal(signal.SIGTERM) is _handled
    return {"inherited": len(inherited), "followed": progress.followed, "handler": kept, "here": os.environ["SOME_API_KEY"]}


def _handled(*_: object) -> None:
    """Ignore it."""


SCENARIOS: dict[str, Callable[[Path, LocalCluster], dict[str, Any]]] = {"equal": equal, "sent": sent, "refused": refused}

if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    network = isolated()
    if sys.argv[1] == "closed":
        outcome = closed(Path(sys.argv[2]))
    else:
        with local_cluster(2) as cluster:
            outcome = SCENARIOS[sys.argv[1]](Path(sys.argv[2]), cluster)
    print(json.dumps(outcome | {"network": network}))
