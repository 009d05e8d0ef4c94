"""`harness run`: evaluate a model, with adapters or without, on tasks."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import generated, parameters, values
from harness.evaluation.options import Options

if TYPE_CHECKING:
    from harness.engine.pieces import Shard
    from harness.evaluation.progress import Progress, StageTimer


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("run")(generated(run, parameters(Options)))


def run(
    *,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print what would be computed and how many tokens are shared, without computing it.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Compute only part I of N, into a cache below --output; `harness merge` joins the parts."),
    ] = None,
    **given: Any,
) -> None:
    """Evaluate a model, with each adapter or without, on tasks; save results and samples.

    Example: harness run --model flan-t5-base --adapter none,./lora_r8 --tasks mmlu,dialogsum
    """
    began = time.perf_counter()
    from harness.api.progress import ConsoleProgress
    from harness.cli.console import print_run
    from harness.engine.pieces import Shard

    options = Options(**values(Options, given), command=("harness", *sys.argv[1:]))
    part = None if shard is None else Shard.parse(shard)
    with ConsoleProgress() as progress:
        if explain:
            _explain(options, progress)
            return
        from harness.evaluation.progress import StageTimer
        from harness.evaluation.run import run as run_all

        if part is not None:
            _run_shard(options, part, progress, StageTimer(began=began, startup=time.perf_counter() - began))
            return
        finished = run_all(options, progress, StageTimer(began=began, startup=time.perf_counter() - began))
    for done in finished:
        print_run(done.record, done.folder, done.tasks)
    if len(finished) > 1:
        folders = " ".join(shlex.quote(str(done.folder)) for done in finished)
        typer.echo(f"Side by side: harness leaderboard {folders}", err=True)


def _run_shard(options: Options, shard: Shard, progress: Progress, timer: StageTimer) -> None:
    from harness.evaluation.shard_run import run_shard

    path = run_shard(options, shard, progress, timer)
    typer.echo(f"Shard {shard} is finished: {path}. When all are: harness merge FOLDER… --output DIR", err=True)


def _explain(options: Options, progress: Progress) -> None:
    from harness.cli.console import console
    from harness.cli.plan import plan_table
    from harness.evaluation.dry_run import explain

    for name, dry_run in explain(options, progress).items():
        console().print(plan_table(name, dry_run))
