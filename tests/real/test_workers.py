"""A run shared by processes, one of which is killed, and by shards: the results of one process, on pretrained weights."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.engine.cluster import Worker
from harness.engine.pieces import Shard
from harness.engine.processes import WorkerProcess
from harness.evaluation.options import Options
from harness.evaluation.run import run
from harness.evaluation.shard_run import merge, run_shard
from tests.silent import Recorder


@dataclass
class Killer(Recorder):
    """Kills the first process that has answered something and goes on computing."""

    killed: int = 0

    def workers(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            if not self.killed and worker.answered and worker.piece is not None:
                assert isinstance(worker, WorkerProcess)
                os.kill(worker.process.pid, signal.SIGKILL)
                self.killed += 1


def options(model: Path, data: Path, output: Path, workers: str | None = None) -> Options:
    return Options(
        model=str(model),
        tasks="glue_sst2,dialogsum",
        limit=24,
        data=data,
        device="cpu",
        batch_tokens=256,
        output=output,
        fresh=True,
        workers=workers,
    )


def content(folder: Path) -> dict[str, bytes]:
    record = json.loads((folder / "results.json").read_text())
    scores = {name: json.dumps(record[name], sort_keys=True).encode() for name in ("system", "tasks", "groups")}
    return {path.name: path.read_bytes() for path in sorted((folder / "samples").iterdir())} | scores


def test_killed_processes_and_merged_shards_equal_one_process(
    minimind2: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # sums of other numbers of threads round differently
    (alone,) = run(options(minimind2, data, tmp_path / "one"), Recorder(), cache=tmp_path / "one.sqlite")
    killer = Killer()
    (together,) = run(options(minimind2, data, tmp_path / "two", "2"), killer, cache=tmp_path / "two.sqlite")
    assert killer.killed == 1
    assert any("1 worker ended unexpectedly and started again" in note for note in killer.notes)
    assert content(together.folder) == content(alone.folder)
    shards = [tmp_path / f"shard{number}" for number in (1, 2, 3)]
    for number, folder in enumerate(shards, start=1):
        run_shard(options(minimind2, data, folder), Shard(number, 3), Recorder())
    (merged,) = merge(shards, tmp_path / "merged", Recorder())
    assert content(merged.folder) == content(alone.folder)
