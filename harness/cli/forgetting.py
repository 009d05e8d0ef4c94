"""`harness forgetting`: what fine-tuning gained and what it cost, from models or from finished runs."""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.api.comparing import CompareOptions, compare_folders
from harness.cli.comparison import REPORT_PANEL, ReportOptions, report_options, show
from harness.cli.options import generated, given_on_command_line, parameters, values
from harness.errors import InputError
from harness.evaluation.options import Options, option_fields, split

if TYPE_CHECKING:
    from harness.compare.before_after import ForgettingComparisons
    from harness.evaluation.progress import StageTimer

RUN_PANEL = "Evaluating a base model and its adapters"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("forgetting")(
        generated(
            forgetting,
            *("ctx", "folders", "before", "after"),
            parameters(CompareOptions, only=("target", "margin", "noise")),
            parameters(Options, optional=("model", "tasks"), panel=RUN_PANEL),
            "text",
            parameters(ReportOptions, panel=REPORT_PANEL),
        )
    )


def _schema(wanted: bool) -> None:
    if wanted:
        from harness.report.forgetting.record import json_schema

        typer.echo(json.dumps(json_schema(), indent=2))
        raise typer.Exit


def forgetting(
    *,
    ctx: typer.Context,
    folders: Annotated[list[Path] | None, typer.Argument(help="Further results for --after.", show_default=False)] = None,
    before: Annotated[Path | None, typer.Option(help="Results of the base model, instead of evaluating it.")] = None,
    after: Annotated[list[Path] | None, typer.Option(help="Results of each fine-tuned model, instead of evaluating it.")] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Also measure perplexity on this text file, or on the field 'text' of JSON lines, in bits per byte.",
            rich_help_panel=RUN_PANEL,
        ),
    ] = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", callback=_schema, is_eager=True, help="Print the JSON Schema of --json.", rich_help_panel=REPORT_PANEL),
    ] = False,
    **given: Any,
) -> None:
    """Show what fine-tuned models gained over their base model and what they forgot, item by item.

    Evaluates a base model and its adapters, or reads the results of finished runs.

    Example: harness forgetting --model flan-t5-base --adapter ./lora_r8 --tasks glue,mmlu --target dialogsum

    Example: harness forgetting --before results/base --after results/tuned --target dialogsum
    """
    began = time.perf_counter()
    shown = report_options(given)
    comparing = CompareOptions(**values(CompareOptions, given))
    _ = comparing.margins
    later = [*(after or []), *(folders or [])]
    if before is not None or later:
        _refuse_run_options(ctx)
        show(_from_results(before, later, comparing), shown)
        return
    tasks = split([*(given["tasks"] or ()), *split(comparing.target)])
    adapters = [name for name in split(given["adapter"] or ()) if name != "none"]
    if given["model"] is None or not adapters or not tasks:
        raise InputError(
            "Nothing to compare.", "Give --model, --adapter and --tasks to evaluate models, or --before and --after for results."
        )
    chosen = values(Options, given) | {"tasks": tasks, "adapter": adapters, "command": ("harness", *sys.argv[1:])}
    show(_from_runs(Options(**chosen), comparing, text, began), shown)


def _from_results(before: Path | None, after: list[Path], comparing: CompareOptions) -> ForgettingComparisons:
    if before is None or not after:
        missing, other = ("before", "after") if before is None else ("after", "before")
        raise InputError(f"--{other} needs --{missing}.", "Give both: --before BASE --after TUNED [TUNED …].")
    return compare_folders(before, after, comparing)


def _from_runs(options: Options, comparing: CompareOptions, text: Path | None, began: float) -> ForgettingComparisons:
    from harness.api.progress import ConsoleProgress
    from harness.compare.before_after import check_margins, compare
    from harness.evaluation.forgetting import score
    from harness.tasks import suites

    tasks, of_suites = suites.split(options.task_names)
    if text is None and not of_suites:
        check_margins(comparing.margins, tasks)
    with ConsoleProgress() as progress:
        evaluated = score(options, progress, text=text, noise=comparing.noise, timer=_timer(began))
    again = shlex.join([str(evaluated.base), *map(str, evaluated.tuned)])
    typer.echo(f"Results saved. To compare them again: harness compare {again}", err=True)
    plan = replace(comparing, tasks=evaluated.tasks).plan()
    return compare(evaluated.base, evaluated.tuned, plan, evaluated.noise)


def _timer(began: float) -> StageTimer:
    from harness.evaluation.progress import StageTimer

    return StageTimer(began=began, startup=time.perf_counter() - began)


def _refuse_run_options(ctx: typer.Context) -> None:
    """Refuse options that only apply to evaluating models where results are given."""
    shared = {"tasks", "seed"}
    names = [field.name for field in option_fields(Options) if field.name not in shared] + ["text"]
    for option in given_on_command_line(ctx, names):
        raise InputError(
            f"{option} applies to evaluating models, but --before and --after name finished runs.",
            f"Omit {option}, or --before and --after.",
        )
