"""Adapter cards: the method of an adapter, the base models it has weights for, and the training record of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import AdapterError
from harness.util import paths

Record = TypeVar("Record", bound=BaseModel)
RECORD_NAME = "training.yaml"
"""File name of the training record next to the weights, which makes the folder usable without its card."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ValidationScore(_Strict):
    """One validation score; `ci` is its 95 % interval."""

    value: float | None
    ci: tuple[float, float] | None = None
    n: int
    higher_is_better: bool = True


class DataUse(_Strict):
    """Training data from one task; `digest` covers the rows' content, in the order of the split."""

    task: str
    role: Literal["task", "replay"] = "task"
    split: str
    templates: tuple[str, ...]
    rows: int = Field(description="Distinct rows.")
    pairs: int = Field(description="Pairs of prompt and completion in the mixture; more than rows if a small task is repeated.")
    digest: str


class Overlap(_Strict):
    """Training rows that resemble evaluated items: rows that share at least half of an item's word n-grams."""

    ngram: int
    compared_with: tuple[str, ...] = Field(description="Tasks whose evaluated items were compared with the training rows.")
    near_duplicates: int
    left_out: bool = Field(description="Whether these rows were excluded from training.")


class Losses(_Strict):
    """Cross-entropy per completion token in nats: over the first and the last tenth of the steps, and on the validation items."""

    first: float
    last: float
    validation: float | None = None


class Training(_Strict):
    """How the weights for one base were made."""

    method: str
    base: str
    base_digest: str
    architecture: Literal["causal", "seq2seq"]
    quantization: Literal["8bit", "4bit"] | None = Field(None, description="Of the base during training; evaluate the adapter on the same.")
    dtype: str
    chat: bool = Field(description="Whether the base's chat template formatted the prompts.")
    settings: dict[str, Any]
    recipe: str = Field(description="Options of `harness tune` that repeat the training, for this base or another.")
    data: tuple[DataUse, ...]
    data_digest: str = Field(description="SHA-256 over all training token ids, in order.")
    too_long: int = Field(description="Pairs left out because they exceed the model's maximum length.")
    overlap: Overlap | None = None
    trainable: int
    share: float = Field(description="Trainable parameters as a share of the base's.")
    bytes: int = Field(description="Size of the weights on disk.")
    digest: str = Field(description="SHA-256 over configuration and weights.")
    steps: int
    best_step: int = Field(description="The step whose weights were saved.")
    tokens: int = Field(description="Tokens trained on, with prompts, without padding.")
    seconds: float = Field(description="Of training and validation.")
    peak_memory_bytes: int
    device: str
    losses: Losses
    scores: dict[str, dict[str, ValidationScore]] = Field(description="Task to metric, on validation items.")
    headline: float | None = Field(None, description="Mean of the tasks' headline scores, each as a share of its best value.")
    versions: dict[str, str]


class AdapterCard(_Strict):
    """An adapter under a short name; it may hold weights for several bases."""

    name: str
    title: str = ""
    method: str = ""
    license: str = ""
    weights: dict[str, str] = Field(description="Base model to a folder relative to the card, or to a Hub id, which may end in @REVISION.")
    training: dict[str, Training] = Field(default_factory=dict, description="Base model to the training record of its weights.")
    notes: str = ""

    def text(self) -> str:
        """The card as YAML."""
        return yaml_text(self)

    @property
    def recipe(self) -> str:
        """Options of `harness tune` that train such weights for another base; "" without a training record."""
        return next((training.recipe for training in self.training.values()), "")


def yaml_text(record: BaseModel) -> str:
    """A card or record as YAML, without fields at their default."""
    content = record.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def places() -> list[Path]:
    """Folders that are searched for cards: the built-in ones, ./adapters, then the user's (HARNESS_PATH)."""
    return list(dict.fromkeys([paths.shipped("adapters"), Path("adapters").resolve(), *paths.added("adapters")]))


def cards() -> dict[str, tuple[AdapterCard, Path]]:
    """Every adapter card by name, with its file; the user's card replaces a built-in card of the same name."""
    return {card.name: (card, path) for card, path in _all()}


def named(name: str) -> list[tuple[AdapterCard, Path]]:
    """The cards of that name, the user's before the built-in ones; each may have weights for other bases."""
    return [(card, path) for card, path in reversed(_all()) if card.name == name]


def _all() -> list[tuple[AdapterCard, Path]]:
    paths = [path for place in places() if place.is_dir() for path in sorted(place.glob("*.yaml"))]
    return [(read_card(path), path) for path in paths]


def read_card(path: Path) -> AdapterCard:
    """Read a card; raises AdapterError if the file is not a card."""
    return _read(path, AdapterCard, "an adapter card", "It needs at least `name` and `weights`.")


def read_training(folder: Path) -> Training | None:
    """The training record in a folder of weights, or None; raises AdapterError if it cannot be read."""
    path = folder / RECORD_NAME
    return _read(path, Training, "a training record", "Remove it, or train again.") if path.is_file() else None


def _read(path: Path, kind: type[Record], what: str, remedy: str) -> Record:
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise AdapterError(f"{path}: not {what}: {where}: {first['msg']}.", remedy) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AdapterError(f"{path}: not {what}: {error}.", remedy) from error
