"""Contractions undone: "isn't" becomes "is not"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

from harness import lists
from harness.perturb.base import Perturbation, perturbation
from harness.perturb.phrases import Phrases, follows, plain


@perturbation("expansion")
@dataclass(frozen=True)
class Expansion(Perturbation):
    """Expands every unambiguous contraction: "he's" (is, has) and "he'd" (would, had) stay.

    A negation before its subject ("Isn't he late?") also stays, since "is not he late" is not English.
    """

    lists: ClassVar[tuple[str, ...]] = ("contractions",)

    def apply(self, text: str, random: Random) -> str:
        """The text without contractions."""
        return self._phrases.replace(text)

    @cached_property
    def _phrases(self) -> Phrases:
        table = lists.read("contractions")
        negations = {short: text for text, short in table["negations"].items()}
        others = {short: text for text, short in {**table["subjects"], **table["perfects"]}.items()}
        return Phrases(plain(negations, follows(never=table["inverted_subjects"])) + plain(others))
