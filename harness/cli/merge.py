"""`harness merge`: join the shards of a run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("merge")(merge)


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folder of each shard: its --output.")],
    output: Annotated[Path | None, typer.Option(help="Folder for the results (default: results/SYSTEM).")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of local dataset and model snapshots (default: that of the shards).")] = None,
) -> None:
    """Join the parts of a run that `harness run --shard` computed; the results equal those of one process.

    Example: harness merge shards/1 shards/2 shards/3 shards/4 --output results/base
    """
    began = time.perf_counter()
    from harness.api.progress import ConsoleProgress
    from harness.cli.console import print_run
    from harness.evaluation import shard_run
    from harness.evaluation.progress import StageTimer

    with ConsoleProgress() as progress:
        timer = StageTimer(began=began, startup=time.perf_counter() - began)
        finished = shard_run.merge(folders, output, progress, ("harness", *sys.argv[1:]), timer, data)
    for done in finished:
        print_run(done.record, done.folder, done.tasks)
