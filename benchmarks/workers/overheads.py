"""What workers cost beside computing: start-up, a message, memory.

Example: python -m benchmarks.workers.overheads --model DIR --json benchmarks/results/workers.json --document docs/scale.md

Processes of this machine, and actors of a Ray cluster of two nodes on it; each opens the same model. An empty piece is sent and answered,
and computes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.documents import put, table
from benchmarks.workers.cluster import isolated, local_cluster
from harness.contract import ScoreChoices
from harness.engine import base
from harness.engine.cluster import ClusterSession, WorkerPool
from harness.engine.jobs import ComputeBatches, Idle, Job
from harness.engine.pools import Workers, open_pool
from harness.models.opening import ModelOptions, Opening, open_files

REPEATS = 200


def resident(process: int) -> int:
    """Resident bytes of a process and of all that it started."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if int(status.parent.name) == process or _parent(int(status.parent.name), process):
            total += int(lines.get("VmRSS", "0 kB").split()[0]) * 1024
    return total


def _parent(process: int, ancestor: int) -> bool:
    while process > 1:
        try:
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
        if process == ancestor:
            return True
    return False


@contextmanager
def opened(workers: Workers, opening: Opening) -> Iterator[WorkerPool]:
    """A pool of workers."""
    pool = open_pool(workers, "transformers", opening, ("cpu",), 1, print)
    try:
        yield pool
    finally:
        pool.close()


def measured(workers: Workers, opening: Opening) -> dict[str, float]:
    """Seconds until a worker has opened the model and planned, seconds of an empty piece, and bytes of a worker."""
    request = ScoreChoices("one", (1, 2, 3), ((4,), (5,)))
    began = time.perf_counter()
    with opened(workers, opening) as pool:
        session = ClusterSession(pool, opening)
        job: Job = session.new_job(0, [request])
        session.planned(job)
        start = time.perf_counter() - began
        (worker,) = pool.workers
        taken = []
        memory = 0
        for _ in range(REPEATS):
            sent = time.perf_counter()
            pool.send(worker, ComputeBatches(job.number, frozenset()))
            message: Any = None
            while not isinstance(message, Idle):
                message = next(message for _, message in pool.messages())
            taken.append(time.perf_counter() - sent)
            memory = message.memory
    return {"start_seconds": start, "message_seconds": statistics.median(taken), "worker_bytes": memory}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/workers.json"))
    parser.add_argument("--document", type=Path)
    given = parser.parse_args(arguments)
    network = isolated()
    opening = open_files(ModelOptions(given.model, devices=("cpu",)), print)
    began = time.perf_counter()
    session = base.load("transformers").open(opening)
    with session.engine(None) as engine:
        base.batches(engine, [ScoreChoices("one", (1, 2, 3), ((4,), (5,)))])
    here = {"start_seconds": time.perf_counter() - began, "message_seconds": 0.0, "worker_bytes": 0}
    session.close()
    results: dict[str, Any] = {"model": Path(given.model).name, "network": network, "this process": here}
    results["process"] = measured(Workers(1), opening)
    before = resident(os.getpid())
    began = time.perf_counter()
    with local_cluster(2):
        results["cluster_seconds"] = time.perf_counter() - began
        results["cluster_bytes"] = resident(os.getpid()) - before
        results["ray"] = measured(Workers(1, ray=True), opening)
    given.json.write_text(json.dumps(results, indent=1) + "\n")
    titles = {"this process": "this process", "process": "`--workers N`", "ray": "`--workers ray`"}
    body = [
        [
            titles[key],
            f"{results[key]['start_seconds']:.1f} s",
            f"{1000 * results[key]['message_seconds']:.2f} ms" if key != "this process" else "-",
            f"{results[key]['worker_bytes'] / 2**20:,.0f} MiB" if key != "this process" else "-",
        ]
        for key in titles
    ]
    said = (
        f"{results['model']}, libraries imported in this process already. A Ray cluster of a head and two nodes on one machine took "
        f"{results['cluster_seconds']:.1f} s to start and {results['cluster_bytes'] / 2**20:,.0f} MiB."
    )
    printed = "\n".join([*table(["worker", "start until planned", "an empty piece", "memory of a worker"], body), "", said])
    print(printed)
    if given.document:
        put(given.document, "overheads", printed)


if __name__ == "__main__":
    main()
