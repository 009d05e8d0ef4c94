"""Common misspellings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

from harness import lists
from harness.perturb.base import Perturbation, perturbation
from harness.perturb.phrases import words


@perturbation("misspelling")
@dataclass(frozen=True)
class Misspelling(Perturbation):
    """Misspells words of a list in common ways.

    Args:
        rate: probability that a word of the list is misspelled.
    """

    lists: ClassVar[tuple[str, ...]] = ("misspellings",)
    rate: float = 0.1

    def apply(self, text: str, random: Random) -> str:
        """The text with misspelled words."""

        def misspelt(word: str) -> str | None:
            choices = self._table.get(word.lower().replace("’", "'"))
            return random.choice(choices) if choices and random.random() < self.rate else None

        return words(text, misspelt)

    @cached_property
    def _table(self) -> dict[str, list[str]]:
        return {word: str(listed).split() for word, listed in lists.read("misspellings").items()}
