"""`harness.tune`: adapters trained on the train split of tasks. Its keywords are the options of `harness tune`, defined here once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

from harness.api.keywords import keywords_of
from harness.errors import InputError
from harness.evaluation.options import MOST_ITEMS, MOST_TOKENS, Names, OptionSpec, option_fields, split
from harness.util import paths

if TYPE_CHECKING:
    from harness.tune.settings import Replay, TuneOptions
    from harness.tune.tuning import Made

Value = TypeVar("Value")
Numbers: TypeAlias = float | str | Sequence[float | str]
"""One number, numbers separated by commas, or a sequence of them."""

_MIXES = ("size", "equal")


@dataclass(frozen=True)
class TuneKeywords:
    """What `harness.tune` takes: the options of `harness tune`. Those marked * may have several values; every combination is trained.

    Raises:
        InputError: a value is out of range or unknown.
    """

    model: Annotated[str | Path, OptionSpec("The base model: a model card name, local folder or Hub id.", short="-m")]
    task: Annotated[Names, OptionSpec("Tasks or groups to train on, separated by commas.", short="-t")]
    name: Annotated[str, OptionSpec("Name of the adapter; of a grid, the prefix of each candidate's name.", short="-n")]
    method: Annotated[Names, OptionSpec("* full, lora, qlora, dora, ia3, prompt, prefix or ptuning (default: lora).")] = ()
    rank: Annotated[Numbers, OptionSpec("* Rank for lora, qlora and dora (default: 8).")] = ()
    alpha: Annotated[
        Numbers, OptionSpec("* Alpha for lora, qlora and dora; updates are scaled by alpha / rank (default: twice the rank).")
    ] = ()
    targets: Annotated[
        Names, OptionSpec("* Modules for lora, qlora, dora and ia3, joined by '+', or all-linear (default: as peft chooses).")
    ] = ()
    virtual_tokens: Annotated[Numbers, OptionSpec("* Length of a soft prompt (default: 20).")] = ()
    epochs: Annotated[Numbers, OptionSpec("* Number of passes over the training pairs (default: 1).")] = ()
    max_steps: Annotated[Numbers, OptionSpec("* Number of optimizer steps (overrides --epochs).")] = ()
    lr: Annotated[Numbers, OptionSpec("* Peak learning rate (default: depends on the method).")] = ()
    batch_tokens: Annotated[Numbers, OptionSpec("* Tokens in an optimizer step, prompts included (default: 2048).")] = ()
    template: Annotated[
        Names, OptionSpec("* Prompt template by name, or all to draw one for each row (default: the first template of each task).")
    ] = ()
    limit: Annotated[Numbers, OptionSpec("* Number of rows of each task, drawn by seed (default: all).")] = ()
    seed: Annotated[Numbers, OptionSpec("* Seed for initial weights, drawing and order (default: 0).")] = ()
    mix: Annotated[
        Names, OptionSpec("* size trains on every row once an epoch; equal on the same number of pairs of each task (default: size).")
    ] = ()
    replay: Annotated[
        str | None, OptionSpec("TASK[,TASK…]:SHARE; mix in pairs of other tasks, as a share of all pairs, against forgetting.")
    ] = None
    train_split: Annotated[str | None, OptionSpec("Split to train on (default: the task's train split).")] = None
    against: Annotated[Names, OptionSpec("Further tasks whose evaluated items are checked for overlap with the training rows.")] = ()
    drop_duplicates: Annotated[bool, OptionSpec("Leave out training rows that equal, or nearly equal, evaluated items.")] = False
    validate: Annotated[int, OptionSpec("Number of validation items of each task; 0 for no validation.", low=0, high=MOST_ITEMS)] = 32
    validate_every: Annotated[
        int | None, OptionSpec("Steps between validations (default: a fifth of the training).", low=1, high=MOST_ITEMS)
    ] = None
    checkpoint_every: Annotated[
        int | None, OptionSpec("Steps between checkpoints (default: a twentieth of the training).", low=1, high=MOST_ITEMS)
    ] = None
    micro_tokens: Annotated[
        int | None, OptionSpec("Tokens computed at once; halved when memory runs out (default: by device).", low=1, high=MOST_TOKENS)
    ] = None
    chat: Annotated[bool | None, OptionSpec("Format prompts with the chat template (default: only for instruct models).")] = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"], OptionSpec("Data type for computing; auto is float32 on a CPU and bfloat16 on a GPU.")
    ] = "auto"
    weights_dtype: Annotated[Literal["float32", "bfloat16"], OptionSpec("Data type of the trained weights.")] = "float32"
    device: Annotated[str, OptionSpec("auto, cpu, mps or cuda.")] = "auto"
    data: Annotated[str | Path | None, OptionSpec("Folder of local dataset and model snapshots (default: $HARNESS_DATA).")] = None
    output: Annotated[str | Path, OptionSpec("Folder for adapter cards and weights.")] = "adapters"
    fresh: Annotated[bool, OptionSpec("Discard an unfinished training of the same name and start again.")] = False
    revision: Annotated[str | None, OptionSpec("Branch, tag or commit of a Hub model.")] = None
    allow_pickle: Annotated[bool, OptionSpec("Load pickled weights, which can run code.")] = False
    trust_remote_code: Annotated[bool, OptionSpec("Run Python code that comes with the model.")] = False
    workers: Annotated[
        str | None,
        OptionSpec(
            "Train the combinations at the same time, with N processes or on a Ray cluster: N, ray or ray://HOST:PORT.", metavar="WORKERS"
        ),
    ] = None

    def __post_init__(self) -> None:
        """Check every value."""
        for field in option_fields(TuneKeywords):
            object.__setattr__(self, field.name, field.checked(getattr(self, field.name)))

    def options(self) -> TuneOptions:
        """The trainings that they ask for."""
        from harness.engine.pools import Workers
        from harness.tune import grid
        from harness.tune.settings import TuneOptions, TuneSettings

        base = TuneSettings(
            method="lora",
            tasks=split(self.task),
            replay=_replay(self.replay),
            train_split=self.train_split,
            drop_duplicates=self.drop_duplicates,
            weights_dtype=self.weights_dtype,
        )
        return TuneOptions(
            model=str(self.model),
            candidates=grid.candidates(self.name, base, self._lists()),
            output=paths.expanded(self.output),
            data=None if self.data is None else paths.expanded(self.data),
            chat=self.chat,
            dtype=self.dtype,
            device=self.device,
            validate=self.validate,
            validate_every=self.validate_every,
            checkpoint_every=self.checkpoint_every,
            micro_tokens=self.micro_tokens,
            against=split(self.against),
            fresh=self.fresh,
            revision=self.revision,
            allow_pickle=self.allow_pickle,
            trust_remote_code=self.trust_remote_code,
            workers=None if self.workers is None else Workers.parse(self.workers),
        )

    def _lists(self) -> dict[str, list[Any]]:
        """The values of the options that may have several, where they are given."""
        from harness.tune.settings import METHODS

        readers: dict[str, Callable[[str], Any]] = {
            "method": _one_of("method", METHODS),
            "rank": int,
            "alpha": float,
            "targets": _modules,
            "virtual_tokens": int,
            "epochs": float,
            "max_steps": int,
            "lr": float,
            "batch_tokens": int,
            "template": str,
            "limit": int,
            "seed": int,
            "mix": _one_of("mix", _MIXES),
        }
        lists = {option: _values(option, getattr(self, option), read) for option, read in readers.items()}
        return {option: values for option, values in lists.items() if values}


@keywords_of(TuneKeywords, positional=3)
def tune(keywords: TuneKeywords) -> list[Made]:
    """Train an adapter, or a whole model, on the train split of tasks, as `harness tune` does.

    Options marked * in `harness tune --help` may have several values; every combination is trained, one after the other.

    Returns:
        The trained candidates, the best first: by validation score, then by validation loss.

    Raises:
        TypeError: a keyword is unknown.
        HarnessError: bad input, or a failure that has a message.
    """
    from harness.tune.tuning import ranked
    from harness.tune.tuning import tune as train
    from harness.tune.view import ConsoleTuneProgress

    with ConsoleTuneProgress() as progress:
        return ranked(train(keywords.options(), progress))


def _values(option: str, given: Any, read: Callable[[str], Value]) -> list[Value]:
    """The values of an option that may have several."""
    parts = split(str(part) for part in (given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)))
    try:
        return [read(part) for part in parts]
    except ValueError as error:
        text = given if isinstance(given, str) else ",".join(map(str, given)) if isinstance(given, Sequence) else str(given)
        raise InputError(f"--{option.replace('_', '-')} takes numbers separated by commas, not {text!r}.") from error


def _modules(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split("+"))
    if not all(names):
        raise InputError(f"--targets takes module names joined by '+', not {text!r}.", "Example: --targets q_proj+v_proj.")
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
        return Replay(split(tasks), float(share))
    except ValueError as error:
        raise InputError(f"--replay takes tasks and a share, not {text!r}.", "Example: --replay mmlu,glue_sst2:0.1.") from error
