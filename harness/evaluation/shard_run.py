"""Run one shard, and merge finished shards into the results of the whole run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from harness.engine.pieces import Shard
from harness.errors import InputError, StorageError
from harness.evaluation import shards
from harness.evaluation.options import Options
from harness.evaluation.plan import plan
from harness.evaluation.progress import Progress, StageTimer
from harness.evaluation.run import FinishedRun, respond, run
from harness.store.records import system_record
from harness.store.responses import ResponseStore


def run_shard(options: Options, shard: Shard, progress: Progress, timer: StageTimer | None = None) -> Path:
    """Compute one part of a run into a cache of its own, and return the path of its `shard.json`.

    Args:
        options: of the whole run; `output` is this shard's own folder.
        shard: which part.
        progress: receives progress and remarks.
        timer: time spent so far.

    Raises:
        HarnessError: bad input, or a failure that has a message.
    """
    timer, folder = timer or StageTimer(), options.output
    if folder is None:
        raise InputError("--shard needs --output.", f"Give each shard a folder of its own, such as --output shards/{shard.number}.")
    work = plan(options, progress, timer)
    systems = []
    with closing(work.systems), ResponseStore(folder / shards.CACHE_NAME) as store:
        (folder / shards.FILE_NAME).unlink(missing_ok=True)
        for system, adapter in work.systems.systems:
            cache, usage = respond(work, system, adapter, store, timer, shard=shard)
            work.systems.check(adapter)
            spent = shards.UsageRecord.of(usage)
            systems.append(
                shards.ShardSystem(
                    name=system.name, digest=system_record(system).digest, requests=cache.digest, computed=cache.computed, usage=spent
                )
            )
    return shards.write(shards.record(shard, options, systems), folder)


def merge(
    folders: Sequence[Path],
    output: Path | None,
    progress: Progress,
    command: Sequence[str] = (),
    timer: StageTimer | None = None,
    data: Path | None = None,
) -> list[FinishedRun]:
    """Save the results of a whole run from its finished shards; nothing is computed.

    Args:
        folders: of all shards, in any order.
        output: folder for the results, as of `harness run`.
        progress: receives remarks.
        command: recorded in the results.
        timer: time spent so far.
        data: folder of local datasets and models; None for the one of the shards.

    Raises:
        HarnessError: shards are missing or do not fit each other, or models, data or versions are others here than where they ran.
    """
    records = shards.complete(folders)
    finished = list(records.values())
    if difference := shards.versions_differ(finished[0]):
        raise StorageError(f"The shards were computed with other versions than those installed here: {difference}.", "Merge with the same.")
    options = shards.options_of(finished[0], output, data, command)
    with tempfile.TemporaryDirectory(prefix="harness-merge-") as scratch:
        whole = Path(scratch) / shards.CACHE_NAME
        with ResponseStore(whole) as store:
            for folder, record in records.items():
                try:
                    store.absorb(folder / shards.CACHE_NAME)
                except StorageError as error:
                    raise StorageError(error.what, f"Move it away if it is there, and run shard {record.shard} again.") from error
        return run(options, progress, timer, cache=whole, shards=shards.MergedShards(finished))
