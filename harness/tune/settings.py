"""What a training is asked for: everything that decides the weights that come out, and how it is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from harness.contract import LARGEST_SEED
from harness.engine.pools import Workers
from harness.errors import InputError

Method = Literal["full", "lora", "qlora", "dora", "ia3", "prompt", "prefix", "ptuning"]
METHODS: tuple[Method, ...] = get_args(Method)
LOW_RANK = ("lora", "qlora", "dora")
SOFT_PROMPTS = ("prompt", "prefix", "ptuning")
LEARNING_RATES: Mapping[str, float] = {
    "full": 5e-5,
    "lora": 5e-4,
    "qlora": 5e-4,
    "dora": 5e-4,
    "ia3": 5e-3,
    "prompt": 3e-2,
    "prefix": 1e-2,
    "ptuning": 1e-3,
}
"""Where none is asked for: of the size that each method's paper or peft's examples use with AdamW on small models."""


_WHOLE = {
    "rank": (1, 65_536),
    "virtual_tokens": (1, 65_536),
    "max_steps": (1, 10_000_000),
    "batch_tokens": (1, 2**31 - 1),
    "limit": (1, 2**31 - 1),
    "seed": (0, LARGEST_SEED),
}
_POSITIVE = {"alpha": 1_000_000, "epochs": 10_000, "lr": 1_000}
"""Largest values: what is above them is a slip."""


@dataclass(frozen=True)
class Replay:
    """Other tasks mixed in against forgetting; `share` is their part of all pairs."""

    tasks: tuple[str, ...]
    share: float


@dataclass(frozen=True)
class TuneSettings:
    """What decides the weights that come out, beside the base and the data. What a method does not have is None.

    Attributes:
        method: one of METHODS.
        tasks: tasks or groups, whose train splits are learned.
        rank: of the low-rank methods.
        alpha: their scale is alpha / rank; by default twice the rank.
        targets: the modules they and ia3 work on; empty for peft's choice for the architecture.
        virtual_tokens: length of a soft prompt.
        epochs: passes over the pairs.
        max_steps: stops earlier, or goes on for longer, than `epochs`; None for what `epochs` gives.
        lr: peak learning rate.
        batch_tokens: tokens of a step, prompts and completions, padding left out; at least one pair.
        template: template variants by name, 'all' for a template drawn for each row, None for each task's first.
        limit: rows of each task, drawn by seed.
        seed: decides weights at the start, drawing and order.
        mix: 'size' trains on every row once an epoch, 'equal' on as many pairs of each task.
        replay: other tasks mixed in.
        train_split: the split to learn; None for the task's own train split.
        drop_duplicates: leave out training rows that equal evaluated items or nearly do.
        weights_dtype: data type of the saved weights.
    """

    method: Method
    tasks: tuple[str, ...]
    rank: int | None = None
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    virtual_tokens: int | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    lr: float | None = None
    batch_tokens: int = 2048
    template: str | None = None
    limit: int | None = None
    seed: int = 0
    mix: Literal["size", "equal"] = "size"
    replay: Replay | None = None
    train_split: str | None = None
    drop_duplicates: bool = False
    weights_dtype: Literal["float32", "bfloat16"] = "float32"

    def completed(self) -> TuneSettings:
        """These settings with the method's defaults filled in, and without what the method does not have.

        Raises:
            InputError: a value is out of range.
        """
        rank = (8 if self.rank is None else self.rank) if self.method in LOW_RANK else None
        changes: dict[str, Any] = {
            "rank": rank,
            "alpha": (2.0 * rank if self.alpha is None else self.alpha) if rank is not None else None,
            "targets": self.targets if self.method in (*LOW_RANK, "ia3") else (),
            "virtual_tokens": (20 if self.virtual_tokens is None else self.virtual_tokens) if self.method in SOFT_PROMPTS else None,
            "lr": LEARNING_RATES[self.method] if self.lr is None else self.lr,
        }
        complete = TuneSettings(**{field.name: getattr(self, field.name) for field in fields(self)} | changes)
        complete._check()
        return complete

    def _check(self) -> None:
        for name, (low, high) in _WHOLE.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                asked = f"{low} or more" if value < low else f"at most {high:,}"
                raise InputError(f"--{name.replace('_', '-')} must be {asked}, not {value}.", f"Give a number from {low} to {high:,}.")
        for name, most in _POSITIVE.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                asked = f"at most {most:,}" if value > most else "above 0"
                raise InputError(f"--{name} must be {asked}, not {value:g}.", f"Give a number above 0 and up to {most:,}.")
        if self.replay is not None and not 0 < self.replay.share < 1:
            raise InputError(f"--replay takes a share between 0 and 1, not {self.replay.share:g}.", "Such as --replay mmlu:0.1.")

    def record(self) -> dict[str, Any]:
        """The settings as cards keep them: plain values, without what is not there."""
        return {name: _plain(value) for name, value in asdict(self).items() if value is not None and value is not False and value != ()}

    def recipe(self) -> str:
        """The options of `harness tune` that ask for these settings."""
        parts = [f"--method {self.method}", f"--task {','.join(self.tasks)}"]
        for name in ("rank", "alpha", "virtual_tokens", "max_steps", "lr", "batch_tokens", "template", "limit", "seed", "train_split"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"--{name.replace('_', '-')} {value:g}" if isinstance(value, float) else f"--{name.replace('_', '-')} {value}")
        if self.targets:
            parts.append(f"--targets {'+'.join(self.targets)}")
        if self.epochs != 1:
            parts.append(f"--epochs {self.epochs:g}")
        if self.mix != "size":
            parts.append(f"--mix {self.mix}")
        if self.replay is not None:
            parts.append(f"--replay {','.join(self.replay.tasks)}:{self.replay.share:g}")
        if self.drop_duplicates:
            parts.append("--drop-duplicates")
        if self.weights_dtype != "float32":
            parts.append(f"--weights-dtype {self.weights_dtype}")
        return " ".join(parts)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Candidate:
    """One training of a grid, under the name its card will have."""

    name: str
    settings: TuneSettings


@dataclass(frozen=True)
class TuneOptions:
    """How trainings are carried out; nothing here but the validation items and the precision moves the weights.

    Attributes:
        model: the base.
        candidates: what to train, one after the other.
        output: the folder of cards and weights.
        validate: validation items of each task; 0 for none.
        validate_every: steps between validations; None for a fifth of the training.
        checkpoint_every: steps between checkpoints; None for about twenty in all.
        micro_tokens: tokens computed at once, padding included, as long as memory lasts; None for what suits the device.
        against: further tasks whose evaluated items are compared with the training rows.
        fresh: forget an unfinished training of the same name.
        workers: train the candidates of a grid at the same time; None for one after the other on one loaded base.
        part: this is a part of a grid, whose finished candidates are left as they are.
    """

    model: str
    candidates: tuple[Candidate, ...]
    output: Path = Path("adapters")
    data: Path | None = None
    chat: bool | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    validate: int = 32
    validate_every: int | None = None
    checkpoint_every: int | None = None
    micro_tokens: int | None = None
    against: tuple[str, ...] = ()
    fresh: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    workers: Workers | None = None
    part: bool = False

    @property
    def grid(self) -> bool:
        """Whether there are several candidates, so that finished ones are not trained again."""
        return self.part or len(self.candidates) > 1
