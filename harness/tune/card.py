"""The record of a training, its card, and the moment in which both appear."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness import __version__
from harness.errors import AdapterError
from harness.models.adapter_cards import RECORD_NAME, AdapterCard, Training, read_card, yaml_text
from harness.models.cards import ModelSource
from harness.tasks.schema import NAME_PATTERN
from harness.tune.checkpoints import Workplace, writing
from harness.tune.settings import TuneSettings
from harness.util import libraries
from harness.util.atomic import write_text

_TITLES = {
    "full": "Full tuning",
    "lora": "LoRA",
    "qlora": "QLoRA",
    "dora": "DoRA",
    "ia3": "IA³",
    "prompt": "Soft prompt",
    "prefix": "Prefix tuning",
    "ptuning": "P-tuning",
}


@dataclass(frozen=True)
class Shelf:
    """Where a candidate's card and weights go.

    Args:
        output: the folder of cards.
        name: the card's.
        base: the model it is for.
    """

    output: Path
    name: str
    base: ModelSource

    @property
    def card(self) -> Path:
        """The card's file."""
        return self.output / f"{self.name}.yaml"

    @property
    def folder(self) -> Path:
        """The folder of the weights for this base."""
        return self.output / self.name / self.base.name

    @property
    def workplace(self) -> Workplace:
        """The folder of the unfinished training."""
        return Workplace(self.output / self.name / f".{self.base.name}.training")

    @property
    def files(self) -> list[Path]:
        """What a training writes, for a check beforehand: the card, and a file beside others in the folder of the weights."""
        return [self.card, self.folder / RECORD_NAME, self.workplace.folder / RECORD_NAME]

    def finished(self) -> Training | None:
        """The record of weights that are there already, where a training made them."""
        card = read_card(self.card) if self.card.is_file() else None
        key = next((model for model in card.weights if model.lower() in self.base.names), None) if card else None
        return card.training.get(key) if card and key else None

    def check_free(self, settings: TuneSettings) -> None:
        """Raise AdapterError when the name cannot be used, before anything is trained.

        Weights without a card are left from a training that was killed in its last moment, if its folder is still there.
        """
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise AdapterError(f"{self.name!r} cannot be an adapter's name.", "Use letters, digits, '_', '.' and '-'.")
        card = read_card(self.card) if self.card.is_file() else None
        if card is not None and any(model.lower() in self.base.names for model in card.weights):
            raise AdapterError(
                f"The adapter {self.name} exists for {self.base.name} already: {self.card}.",
                "Choose another --name; nothing is overwritten.",
            )
        if card is not None and card.method and card.method != settings.method:
            raise AdapterError(
                f"The card {self.card} is of method {card.method}, not {settings.method}.",
                "Choose another --name: a card is of one method.",
            )
        if self.folder.exists() and not self.workplace.folder.exists():
            raise AdapterError(f"The folder {self.folder} exists already.", "Choose another --name; nothing is overwritten.")

    def place(self, made: Path, training: Training) -> None:
        """Move finished weights to their folder, then write the card, then let go of the training's own folder.

        Killed in between, the same command finishes the rest.

        Raises:
            StorageError: something cannot be written; nothing that was there is lost.
        """
        with writing(self.folder):
            write_text(made / RECORD_NAME, yaml_text(training))
            if self.folder.exists():
                shutil.rmtree(self.folder)
            made.rename(self.folder)
        old = read_card(self.card) if self.card.is_file() else AdapterCard(name=self.name, weights={})
        card = old.model_copy(
            update={
                "title": old.title or title(training),
                "method": training.method,
                "weights": old.weights | {training.base: f"{self.name}/{self.base.name}"},
                "training": old.training | {training.base: training},
            }
        )
        write_text(self.card, card.text())
        self.workplace.remove()


def title(training: Training) -> str:
    """One line: what was done with which tasks."""
    settings = training.settings
    parts = [_TITLES[training.method]]
    parts += [f"rank {settings['rank']}"] if "rank" in settings else []
    parts += [f"{settings['virtual_tokens']} virtual tokens"] if "virtual_tokens" in settings else []
    return f"{', '.join(parts)}, for {', '.join(settings['tasks'])}"


def versions() -> dict[str, str]:
    """What the weights were made with."""
    return {"harness": __version__} | libraries.versions(("torch", "transformers", "peft", "accelerate", "bitsandbytes"))
