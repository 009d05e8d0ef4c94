"""Kill workers at random moments of a run on a Ray cluster, and compare the results with those of one process, byte by byte.

Example: python -m benchmarks.workers.kills --kills 50 --model DIR --tasks FILE,FILE

Half of the kills are SIGKILL of an actor's process, and half end its node; a new node is added afterwards. Every run computes everything
anew. Exit code 1 where a result differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.workers.cluster import LocalCluster, isolated, local_cluster
from harness.engine.cluster import Worker
from harness.engine.pieces import Batch, WorkPiece
from harness.engine.ray_pool import ActorWorker
from harness.evaluation.options import Options
from harness.evaluation.progress import SilentProgress
from harness.evaluation.run import run

_MOST_HITS = 2


@dataclass
class Killer(SilentProgress):
    """Ends workers of a run.

    Attributes:
        cluster: whose nodes end.
        chance: draws moments and victims.
        wait: mean seconds between two kills.
        left: kills that may still happen.
    """

    cluster: LocalCluster
    chance: random.Random
    wait: float
    left: int
    actors: int = 0
    nodes: int = 0
    notes: list[str] = field(default_factory=list)
    _next: float = 0.0
    _hits: Counter[Batch] = field(default_factory=Counter)

    def workers(self, workers: Sequence[Worker]) -> None:
        """End one that computes, when its time has come."""
        now = time.monotonic()
        if not self._next:
            self._next = now + self.chance.expovariate(1 / self.wait)
        computing = [
            worker for worker in workers if isinstance(worker, ActorWorker) and worker.piece is not None and self._may_end(worker.piece)
        ]
        if now < self._next or not computing or not self.left:
            return
        self._next = 0.0
        self.left -= 1
        worker = self.chance.choice(computing)
        assert worker.piece is not None
        self._hits.update(worker.piece.batches)
        node = worker.name.rpartition(" on ")[2]
        if node in self.cluster.nodes and self.chance.random() < 0.5:
            self.nodes += 1
            self.cluster.remove(node)
            self.cluster.add()
        else:
            self.actors += 1
            os.kill(worker.process, signal.SIGKILL)

    def _may_end(self, piece: WorkPiece) -> bool:
        """A run rightly gives up a batch whose computation has ended three workers."""
        return all(self._hits[batch] < _MOST_HITS for batch in piece.batches)

    def note(self, message: str) -> None:
        """Keep it."""
        self.notes.append(message)


def content(folder: Path) -> dict[str, bytes]:
    """Every file with results of items, and the scores of results.json."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "samples").iterdir())}
    record = json.loads((folder / "results.json").read_text())
    parts = {name: json.dumps(record[name], sort_keys=True).encode() for name in ("system", "tasks", "groups")}
    return files | parts


def main() -> int:
    """Print what was ended and whether results were equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--wait", type=float, default=4.0, help="mean seconds between two kills")
    parser.add_argument("--most", type=int, default=5, help="kills in one run")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--model", required=True)
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-tokens", type=int, help="small batches make many moments")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # with as many threads as an actor has; sums of other numbers of threads round differently
    network = isolated()
    killed = {"actors": 0, "nodes": 0}
    runs, different, again = 0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)

        def scored(name: str, progress: SilentProgress, workers: str | None = None) -> dict[str, bytes]:
            chosen = {"limit": given.limit} if given.limit else {}
            options = Options(
                model=given.model,
                tasks=given.tasks,
                engine=given.engine,
                device="cpu" if given.engine != "mock" else "auto",
                batch_tokens=given.batch_tokens,
                output=root / name,
                workers=workers,
                fresh=True,
                **chosen,
            )
            (finished,) = run(options, progress, cache=root / f"{name}.sqlite")
            return content(finished.folder)

        alone = scored("one", SilentProgress())
        with local_cluster(given.nodes) as cluster:
            chance = random.Random(given.seed)
            while sum(killed.values()) < given.kills:
                killer = Killer(cluster, chance, given.wait, min(given.most, given.kills - sum(killed.values())))
                together = scored(f"run{runs}", killer, "ray")
                runs += 1
                different += together != alone
                killed["actors"] += killer.actors
                killed["nodes"] += killer.nodes
                again += sum("started again" in note for note in killer.notes)
                print(f"run {runs}: ended {killed['actors']} actors and {killed['nodes']} nodes so far, {different} different", flush=True)
    print(
        json.dumps(
            {"kills": killed, "runs": runs, "runs_that_say_so": again, "different": different, "nodes": given.nodes, "network": network}
        )
    )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
