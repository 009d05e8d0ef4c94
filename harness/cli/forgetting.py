"""`harness forgetting`: what tuning brought, and what it cost."""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import MOST_ITEMS, MOST_SHOTS, MOST_TOKENS, Dtype, Quantize, check_places, split
from harness.contract import LARGEST_SEED
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.compare.before_after import ForgettingComparisons
    from harness.compare.metric import ComparisonOptions
    from harness.evaluation.options import Options, StageTimer


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("forgetting")(forgetting)


def _schema(wanted: bool) -> None:
    if wanted:
        from harness.report.forgetting.record import json_schema

        typer.echo(json.dumps(json_schema(), indent=2))
        raise typer.Exit


_RUN, _REPORT = "Scoring a base and its adapters", "What is shown"
_OF_RUNS = (
    *("model", "adapter", "text", "shots", "limit", "template", "chat", "dtype", "quantize", "device", "batch_tokens", "data", "output"),
    *("fresh", "revision", "any_base", "merge", "allow_pickle", "trust_remote_code"),
)


def forgetting(
    ctx: typer.Context,
    folders: Annotated[list[Path] | None, typer.Argument(help="Further results for --after.", show_default=False)] = None,
    before: Annotated[Path | None, typer.Option(help="Results that exist: of the base.")] = None,
    after: Annotated[list[Path] | None, typer.Option(help="Results that exist: of each tuned system.")] = None,
    tasks: Annotated[list[str] | None, typer.Option("--tasks", "-t", help="Tasks, groups, globs or YAML files, by commas.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Tasks that were tuned for, by commas: shown apart, nothing is forgotten there.")
    ] = None,
    margin: Annotated[list[str] | None, typer.Option(help="NAME=LOSS that does not matter, of a task, metric or task.metric.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Card name, hub id or folder.", rich_help_panel=_RUN)] = None,
    adapter: Annotated[
        list[str] | None, typer.Option("--adapter", "-a", help="Adapter cards, hub ids or folders, by commas.", rich_help_panel=_RUN)
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="Also score this text (or JSON lines with a field text), in bits a byte.", rich_help_panel=_RUN)
    ] = None,
    noise: Annotated[
        bool,
        typer.Option("--noise", help="Score the base twice, in other batches, and show what that alone changes.", rich_help_panel=_RUN),
    ] = False,
    shots: Annotated[
        int | None, typer.Option(min=0, max=MOST_SHOTS, help="Solved items before each question.", rich_help_panel=_RUN)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=MOST_ITEMS, help="Only the first so many items of each task.", rich_help_panel=_RUN)
    ] = None,
    template: Annotated[str | None, typer.Option(help="Template variants, by commas, or all.", rich_help_panel=_RUN)] = None,
    chat: Annotated[bool | None, typer.Option("--chat/--no-chat", help="Use the chat template.", rich_help_panel=_RUN)] = None,
    dtype: Annotated[Dtype, typer.Option(help="auto: float32 on a CPU, bfloat16 on a GPU.", rich_help_panel=_RUN)] = Dtype.auto,
    quantize: Annotated[Quantize | None, typer.Option(help="Load the base in 8 or 4 bits.", rich_help_panel=_RUN)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:i.", rich_help_panel=_RUN)] = "auto",
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, max=MOST_TOKENS, help="Tokens in a batch; by default chosen.", rich_help_panel=_RUN)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seeds random shots, samples and resampling.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of snapshots; HARNESS_DATA by default.", rich_help_panel=_RUN)] = None,
    output: Annotated[Path | None, typer.Option(help="Where the results go; results/ by default.", rich_help_panel=_RUN)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute every answer anew.", rich_help_panel=_RUN)] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.", rich_help_panel=_RUN)] = None,
    any_base: Annotated[
        bool, typer.Option("--any-base", help="Accept an adapter whose configuration names another base.", rich_help_panel=_RUN)
    ] = False,
    merge: Annotated[bool, typer.Option("--merge", help="Add the adapter's update to the weights.", rich_help_panel=_RUN)] = False,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Accept pickled weights.", rich_help_panel=_RUN)] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that the model brings.", rich_help_panel=_RUN)
    ] = False,
    details: Annotated[
        bool, typer.Option("--details", help="All scores, all kinds of items, more items.", rich_help_panel=_REPORT)
    ] = False,
    items: Annotated[int, typer.Option(min=0, max=MOST_ITEMS, help="Items of a task in --details and --md.", rich_help_panel=_REPORT)] = 10,
    md: Annotated[Path | None, typer.Option(help="Also write Markdown, for a pull request.", rich_help_panel=_REPORT)] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page.", rich_help_panel=_REPORT)] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Also write all of it as JSON.", rich_help_panel=_REPORT)] = None,
    schema: Annotated[
        bool, typer.Option("--schema", callback=_schema, is_eager=True, help="Print the JSON Schema of --json.", rich_help_panel=_REPORT)
    ] = False,
) -> None:
    """What tuned systems gained and forgot against their base, item by item: from a model and adapters, or from results.

    Example: harness forgetting --model flan-t5-base --adapter lora_r8 --tasks glue,mmlu --target dialogsum

    Example: harness forgetting --before results/base --after results/tuned --target dialogsum
    """
    began = time.perf_counter()
    from harness.compare.metric import ComparisonOptions

    later, asked, targets = [*(after or []), *(folders or [])], split(tasks), split(target)
    check_places({"--md": md, "--html": html, "--json": json_})
    plan = ComparisonOptions(targets=tuple(targets), margins=dict(map(_margin, margin or [])), seed=seed)
    if before is not None or later:
        _refuse_run_options(ctx)
        found = _from_results(before, later, replace(plan, tasks=tuple(asked) or None), noise)
    else:
        adapters = [name for name in split(adapter) if name != "none"]
        if model is None or not adapters or not (asked or targets):
            raise InputError("There is nothing to compare.", "Give --model, --adapter and --tasks, or --before and --after.")
        from harness.evaluation.options import Options, StageTimer

        options = Options(
            model=model,
            tasks=tuple(dict.fromkeys([*asked, *targets])),
            adapters=tuple(adapters),
            shots=shots,
            limit=limit,
            template=template,
            chat=chat,
            dtype=dtype.value,
            quantize=quantize.value if quantize else None,
            device=device,
            batch_tokens=batch_tokens,
            seed=seed,
            data=data,
            output=output,
            fresh=fresh,
            revision=revision,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            any_base=any_base,
            merge=merge,
            command=("harness", *sys.argv[1:]),
        )
        found = _from_runs(options, plan, text, noise, StageTimer(began=began, startup=time.perf_counter() - began))
    _write(found, items, md, html, json_)
    _show(found, details, items)


def _from_results(before: Path | None, after: list[Path], plan: ComparisonOptions, noise: bool) -> ForgettingComparisons:
    if before is None or not after:
        raise InputError(f"--{'after' if before is None else 'before'} stands alone.", "Give both: --before BASE --after TUNED [TUNED …].")
    from harness.compare.before_after import compare, noise_folder

    return compare(before, after, plan, noise_folder(before) if noise else None)


def _from_runs(options: Options, plan: ComparisonOptions, text: Path | None, noise: bool, timer: StageTimer) -> ForgettingComparisons:
    from harness.cli.progress import ConsoleProgress
    from harness.compare.before_after import check_margins, compare
    from harness.evaluation.forgetting import score

    if text is None:
        check_margins(plan.margins, options.tasks)
    with ConsoleProgress() as progress:
        scored = score(options, progress, text=text, noise=noise, timer=timer)
    again = shlex.join(["--before", str(scored.base), "--after", *map(str, scored.tuned)])
    typer.echo(f"Results kept: harness forgetting {again}", err=True)
    return compare(scored.base, scored.tuned, replace(plan, tasks=scored.tasks), scored.noise)


def _write(found: ForgettingComparisons, items: int, md: Path | None, html: Path | None, json_: Path | None) -> None:
    from harness.util.atomic import write_text

    if md is not None:
        from harness.report.forgetting.markdown import forgetting_markdown

        write_text(md, forgetting_markdown(found.comparisons, noise=found.noise, items=items))
    if html is not None:
        from harness import metrics
        from harness.metrics.calibration import reliability
        from harness.report.html import measures
        from harness.report.html.forgetting import forgetting_page

        noise = {name: (one.flips, one.largest) for name, one in found.noise.items()} if found.noise is not None else None
        section = measures.of_comparisons(found.comparisons, found.folders, metrics.load, reliability)
        write_text(html, forgetting_page(found.comparisons, noise=noise, measures=section))
    if json_ is not None:
        from harness.report.forgetting.record import as_json

        write_text(json_, as_json(found.comparisons, found.noise))


def _show(found: ForgettingComparisons, details: bool, items: int) -> None:
    from harness.cli.console import console
    from harness.report.forgetting.terminal import forgetting_view

    out = console()
    out.print(forgetting_view(found.comparisons, out.width, noise=found.noise, details=details, items=items))


def _margin(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        margin = float(value)
    except ValueError as error:
        raise InputError(f"--margin takes NAME=LOSS, not {text!r}.", "Such as --margin mmlu=0.02, in the score's own unit.") from error
    if not name or not 0 <= margin < float("inf"):
        raise InputError(f"--margin takes a name and a loss of at least 0, not {text!r}.", "Such as --margin mmlu=0.02.")
    return name.strip(), margin


def _refuse_run_options(ctx: typer.Context) -> None:
    """Options of a run mean nothing for results that exist."""
    for name in _OF_RUNS:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{option} is for a run, and --before and --after are results that exist.", f"Leave out {option}, or the results."
            )
