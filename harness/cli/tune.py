"""`harness tune`: where adapters come from."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from harness.cli.arguments import MOST_ITEMS, MOST_TOKENS, split
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.tune.settings import Replay

Value = TypeVar("Value")


class _Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class _WeightsDtype(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("tune")(tune)


def tune(
    model: Annotated[str, typer.Option("--model", "-m", help="The base: card name, hub id or folder.")],
    task: Annotated[list[str], typer.Option("--task", "-t", help="What to learn: tasks or groups, separated by commas.")],
    name: Annotated[str, typer.Option("--name", "-n", help="The adapter's name; with a grid, what the candidates' names begin with.")],
    method: Annotated[str, typer.Option(help="* full, lora, qlora, dora, ia3, prompt, prefix or ptuning.")] = "lora",
    rank: Annotated[str | None, typer.Option(help="* Of lora, qlora and dora; 8 by default.")] = None,
    alpha: Annotated[str | None, typer.Option(help="* Their scale is alpha / rank; twice the rank by default.")] = None,
    targets: Annotated[
        str | None, typer.Option(help="* Modules that lora, qlora, dora and ia3 work on, joined by '+', or all-linear; peft's by default.")
    ] = None,
    virtual_tokens: Annotated[str | None, typer.Option(help="* Length of a soft prompt; 20 by default.")] = None,
    epochs: Annotated[str | None, typer.Option(help="* Passes over the pairs; 1 by default.")] = None,
    max_steps: Annotated[str | None, typer.Option(help="* So many steps, whatever the epochs.")] = None,
    lr: Annotated[str | None, typer.Option(help="* Peak learning rate; by default one that suits the method.")] = None,
    batch_tokens: Annotated[str | None, typer.Option(help="* Tokens learned in a step, prompts included; 2048 by default.")] = None,
    template: Annotated[
        str | None, typer.Option(help="* A template, or all for one drawn for each row; each task's first by default.")
    ] = None,
    limit: Annotated[str | None, typer.Option(help="* So many rows of each task, drawn by seed.")] = None,
    seed: Annotated[str | None, typer.Option(help="* Decides first weights, drawing and order; 0 by default.")] = None,
    mix: Annotated[str | None, typer.Option(help="* size: every row once an epoch; equal: as many pairs of each task.")] = None,
    replay: Annotated[str | None, typer.Option(help="TASK[,TASK…]:SHARE of all pairs, mixed in against forgetting.")] = None,
    train_split: Annotated[str | None, typer.Option(help="The split to learn; the task's train split by default.")] = None,
    against: Annotated[str | None, typer.Option(help="Further tasks whose evaluated items the training rows are compared with.")] = None,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Leave out rows that equal evaluated items or nearly do.")
    ] = False,
    validate: Annotated[int, typer.Option(min=0, max=MOST_ITEMS, help="Validation items of each task; 0 for no validation.")] = 32,
    validate_every: Annotated[
        int | None, typer.Option(min=1, max=MOST_ITEMS, help="Steps between validations; a fifth of all by default.")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, max=MOST_ITEMS, help="Steps between checkpoints; a twentieth of all by default.")
    ] = None,
    micro_tokens: Annotated[
        int | None, typer.Option(min=1, max=MOST_TOKENS, help="Tokens computed at once; halved when memory runs out.")
    ] = None,
    chat: Annotated[bool | None, typer.Option("--chat/--no-chat", help="Use the chat template; by default for instruct models.")] = None,
    dtype: Annotated[_Dtype, typer.Option(help="auto: float32 on a CPU, bfloat16 on a GPU.")] = _Dtype.auto,
    weights_dtype: Annotated[_WeightsDtype, typer.Option(help="How the trained weights are kept.")] = _WeightsDtype.float32,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data: Annotated[Path | None, typer.Option(help="Folder of dataset and model snapshots; HARNESS_DATA by default.")] = None,
    output: Annotated[Path, typer.Option(help="The folder of cards and weights.")] = Path("adapters"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an unfinished training of this name.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Accept pickled weights, which can run code.")] = False,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that the model brings.")] = False,
) -> None:
    """Train an adapter, or a whole model, on the train split of tasks; write its weights and its card.

    Options marked * take several values, separated by commas: each combination is trained, one after the other on one loaded
    base, and a leaderboard compares them. A training that was interrupted goes on with the same command.

    Example: harness tune --model flan-t5-base --task dialogsum --method lora --rank 2,4,8,16 --name lora
    """
    from harness.cli.console import console
    from harness.tune import grid
    from harness.tune.settings import METHODS, TuneOptions, TuneSettings

    given: dict[str, list[Any] | None] = {
        "method": _values("method", method, _one_of("method", METHODS)),
        "rank": _values("rank", rank, int),
        "alpha": _values("alpha", alpha, float),
        "targets": _values("targets", targets, _modules),
        "virtual_tokens": _values("virtual-tokens", virtual_tokens, int),
        "epochs": _values("epochs", epochs, float),
        "max_steps": _values("max-steps", max_steps, int),
        "lr": _values("lr", lr, float),
        "batch_tokens": _values("batch-tokens", batch_tokens, int),
        "template": _values("template", template, str),
        "limit": _values("limit", limit, int),
        "seed": _values("seed", seed, int),
        "mix": _values("mix", mix, _one_of("mix", ("size", "equal"))),
    }
    base = TuneSettings(
        method="lora",
        tasks=tuple(split(task)),
        replay=_replay(replay),
        train_split=train_split,
        drop_duplicates=drop_duplicates,
        weights_dtype=weights_dtype.value,
    )
    options = TuneOptions(
        model=model,
        candidates=grid.candidates(name, base, {option: values for option, values in given.items() if values}),
        output=output,
        data=data,
        chat=chat,
        dtype=dtype.value,
        device=device,
        validate=validate,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
        micro_tokens=micro_tokens,
        against=tuple(split([against or ""])),
        fresh=fresh,
        revision=revision,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    from harness.tune.tuning import ranked
    from harness.tune.tuning import tune as tune_all
    from harness.tune.view import ConsoleTuneProgress, candidates_table

    with ConsoleTuneProgress() as progress:
        made = ranked(tune_all(options, progress))
    console().print(candidates_table(made))
    typer.echo(f"Card: {output / made[0].name}.yaml. Score it: harness run --model {model} --adapter none,{made[0].name} --tasks TASKS")


def _values(option: str, text: str | None, read: Callable[[str], Value]) -> list[Value] | None:
    """The values of an option that takes several."""
    if text is None:
        return None
    try:
        return [read(part) for part in split([text])]
    except ValueError as error:
        raise InputError(f"--{option} takes numbers separated by commas, not {text!r}.") from error


def _modules(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split("+"))
    if not all(names):
        raise InputError(f"--targets takes names of modules joined by '+', not {text!r}.", "Such as --targets q_proj+v_proj.")
    return names


def _one_of(option: str, known: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise InputError(f"--{option} {text!r} is not known.", f"Give {', '.join(known[:-1])} or {known[-1]}.")
        return text

    return read


def _replay(text: str | None) -> Replay | None:
    if text is None:
        return None
    from harness.tune.settings import Replay

    tasks, _, share = text.rpartition(":")
    try:
        return Replay(tuple(split([tasks])), float(share))
    except ValueError as error:
        raise InputError(f"--replay takes tasks and a share, not {text!r}.", "Such as --replay mmlu,glue_sst2:0.1.") from error
