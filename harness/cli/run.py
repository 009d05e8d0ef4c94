"""`harness run`: score a model, with adapters or without, on tasks."""

from __future__ import annotations

import shlex
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import (
    MOST_ITEMS,
    MOST_SHOTS,
    MOST_TEXTS,
    MOST_TOKENS,
    Dtype,
    Quantize,
    adapter_names,
    families,
    split,
    whole_number,
)
from harness.contract import LARGEST_SEED
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.options import Options


_MEASURES = "Measures"


class _Engine(StrEnum):
    transformers = "transformers"
    vllm = "vllm"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("run")(run)


def run(
    model: Annotated[str, typer.Option("--model", "-m", help="Card name, hub id or folder.")],
    tasks: Annotated[list[str], typer.Option("--tasks", "-t", help="Tasks, groups, globs or YAML files, separated by commas.")],
    adapter: Annotated[
        list[str] | None,
        typer.Option("--adapter", "-a", help="Adapter cards, hub ids or folders, separated by commas; 'none' is the base."),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(min=0, max=MOST_SHOTS, help="Solved items before each question; the task's own number by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=MOST_ITEMS, help="Only the first so many items of each task.")] = None,
    template: Annotated[str | None, typer.Option(help="Wordings, separated by commas, or all; each task's first by default.")] = None,
    template_file: Annotated[
        Path | None, typer.Option(help="Further wordings, in promptsource's format; asked before the task's own.")
    ] = None,
    shot_seeds: Annotated[
        str | None, typer.Option(help="Seeds of random shots, separated by commas: each is a wording of its own.")
    ] = None,
    chat: Annotated[bool | None, typer.Option("--chat/--no-chat", help="Use the chat template; by default for instruct models.")] = None,
    dtype: Annotated[Dtype, typer.Option(help="auto: float32 on a CPU, bfloat16 on a GPU.")] = Dtype.auto,
    quantize: Annotated[
        Quantize | None, typer.Option(help="Load the base in 8 or 4 bits (bitsandbytes; nf4, double quantization).")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto (every GPU, else the CPU), cpu, cuda, cuda:i, or several separated by commas.")
    ] = "auto",
    batch_tokens: Annotated[str, typer.Option(help="Tokens in a batch, padding included, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seeds random shots, samples and resampling.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of dataset and model snapshots; HARNESS_DATA by default.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where the results go; results/SYSTEM by default.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute every answer anew.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
    any_base: Annotated[bool, typer.Option("--any-base", help="Accept an adapter whose configuration names another base.")] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Add the adapter's update to the base's weights instead of computing it apart.")
    ] = False,
    measures: Annotated[
        str | None,
        typer.Option(
            help="Measured beside the tasks' metrics: calibration, robustness, fairness, bias, toxicity, efficiency, "
            "separated by commas, or all.",
            rich_help_panel=_MEASURES,
        ),
    ] = None,
    perturb: Annotated[
        str | None,
        typer.Option(
            help="Perturbations, as typos:0.05, or presets, separated by commas; a family's preset by default.", rich_help_panel=_MEASURES
        ),
    ] = None,
    texts: Annotated[
        int, typer.Option(min=1, max=MOST_TEXTS, help="Texts generated for each item, in tasks that sample.", rich_help_panel=_MEASURES)
    ] = 1,
    toxicity: Annotated[
        str, typer.Option(help="Scorer of toxicity: classifier:FOLDER_OR_ID or profanity.", rich_help_panel=_MEASURES)
    ] = "",
    small_samples: Annotated[
        bool, typer.Option("--small-samples", help="Compute calibration of few items too.", rich_help_panel=_MEASURES)
    ] = False,
    engine: Annotated[_Engine, typer.Option(help="What computes; vllm for decoder-only models on a GPU.")] = _Engine.transformers,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print what would be computed, and how much of it is shared; compute nothing.")
    ] = False,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Accept pickled weights, which can run code.")] = False,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that the model brings.")] = False,
) -> None:
    """Score one model, with each adapter or without, on tasks; write results and samples.

    Example: harness run --model flan-t5-base --adapter none,lora_r8 --tasks mmlu,dialogsum
    """
    began = time.perf_counter()
    from harness.cli.console import print_run
    from harness.cli.watch import ConsoleWatch
    from harness.options import Clock, Options
    from harness.run import run as run_all

    devices = split([device])
    if not devices:
        raise InputError("--device names no device.", "Give auto, cpu, cuda or cuda:i, or several separated by commas.")
    options = Options(
        model=model,
        tasks=tuple(split(tasks)),
        adapters=tuple(None if name == "none" else name for name in adapter_names(adapter)),
        shots=shots,
        limit=limit,
        template=template,
        template_file=template_file,
        chat=chat,
        dtype=dtype.value,
        quantize=quantize.value if quantize else None,
        device=devices[0],
        devices=tuple(devices) if len(devices) > 1 else (),
        batch_tokens=_batch_tokens(batch_tokens),
        seed=seed,
        shot_seeds=_seeds(shot_seeds),
        data=data,
        output=output,
        fresh=fresh,
        revision=revision,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
        any_base=any_base,
        merge=merge,
        measures=families(measures),
        perturb=tuple(split([perturb or ""])),
        texts=texts,
        toxicity=toxicity,
        small=small_samples,
        engine=engine.value,
        command=("harness", *sys.argv[1:]),
    )
    if explain:
        _explain(options)
        return
    clock = Clock(began=began, startup=time.perf_counter() - began)
    with ConsoleWatch() as watch:
        finished = run_all(options, watch, clock)
    for one in finished:
        print_run(one.record, one.folder)
    if len(finished) > 1:
        folders = " ".join(shlex.quote(str(one.folder)) for one in finished)
        typer.echo(f"Side by side: harness leaderboard {folders}", err=True)


def _explain(options: Options) -> None:
    from harness.cli.console import console
    from harness.cli.plan import plan_table
    from harness.cli.watch import ConsoleWatch
    from harness.explain import explain

    with ConsoleWatch() as watch:
        found = explain(options, watch)
    for name, one in found.items():
        console().print(plan_table(name, one))


def _seeds(text: str | None) -> tuple[int, ...]:
    return tuple(
        dict.fromkeys(whole_number("--shot-seeds", part, 0, LARGEST_SEED, ", separated by commas") for part in split([text or ""]))
    )


def _batch_tokens(text: str) -> int | None:
    if text == "auto":
        return None
    return whole_number("--batch-tokens", text, 1, MOST_TOKENS, ", or auto")
