"""Contractions: "is not" becomes "isn't"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

from harness import lists
from harness.perturb.base import Perturbation, perturbation
from harness.perturb.phrases import Phrases, follows, plain


@perturbation("contraction")
@dataclass(frozen=True)
class Contraction(Perturbation):
    """Contracts every pair of words that has a contraction, if another word of the same clause follows."""

    lists: ClassVar[tuple[str, ...]] = ("contractions",)

    def apply(self, text: str, random: Random) -> str:
        """The text with contractions."""
        return self._phrases.replace(text)

    @cached_property
    def _phrases(self) -> Phrases:
        table = lists.read("contractions")
        clause_ends: list[str] = table["clause_ends"]
        subjects = {**table["subjects"], **table["one_way"]}
        with_be = {text: short for text, short in subjects.items() if text.endswith(" am")}
        others = {text: short for text, short in subjects.items() if text not in with_be}
        anywhere = follows(word=True, never=clause_ends)
        return Phrases(
            plain({**table["negations"], **table["perfects"], **with_be}, anywhere)
            + plain(others, follows(word=True, never=[*clause_ends, "not"]))
        )
