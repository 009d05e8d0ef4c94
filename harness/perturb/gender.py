"""Gendered words of one gender become those of the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, ClassVar, Literal

from harness import lists
from harness.perturb.base import Perturbation, perturbation
from harness.perturb.phrases import Phrase, Phrases, follows

_BOTH = ("he/she", "she/he", "s/he", "(s)he", "him/her", "her/him", "his/her", "her/his", "his/hers", "hers/his")
_JOINED = (("he", "she"), ("him", "her"), ("his", "her"), ("his", "hers"))
_ALSO_POSSESSIVE = r"(?=[ ]+(?:and|or)[ ]+(?:its|my|our|their|your)(?!\w))"
"""What follows "his" in "his or their house"; in "his and mine" no noun follows."""


@perturbation("gender")
@dataclass(frozen=True)
class Gender(Perturbation):
    """Pronouns or nouns of one gender become those of the other, all of them: a partial change would turn one person into two.

    Phrases with both genders ("he or she", "men and women") stay.

    Args:
        to: the gender of all words afterwards.
        words: pronouns as in HELM's preset, terms ("father", "waiter"), or both.
    """

    family: ClassVar[Literal["robustness", "fairness"]] = "fairness"
    references: ClassVar[bool] = True
    lists: ClassVar[tuple[str, ...]] = ("gender",)
    to: Literal["female", "male"] = "female"
    words: Literal["pronouns", "terms", "both"] = "pronouns"

    def apply(self, text: str, random: Random) -> str:
        """The text with words of the other gender."""
        return self._phrases.replace(text)

    @cached_property
    def _phrases(self) -> Phrases:
        table = lists.read("gender")
        pairs = [tuple(pair) for kind in ("pronouns", "terms") if self.words in (kind, "both") for pair in table[kind]]
        phrases = {phrase.text: phrase for phrase in reversed([*self._pairs(pairs), *_left_alone(pairs)])}
        ambiguous = self._ambiguous(table) if self.words != "terms" else []
        return Phrases([*phrases.values(), *ambiguous])

    def _pairs(self, pairs: list[tuple[str, ...]]) -> Iterator[Phrase]:
        for male, female in pairs:
            old, new = (male, female) if self.to == "female" else (female, male)
            yield Phrase(old, new, owner=True)

    def _ambiguous(self, table: dict[str, Any]) -> list[Phrase]:
        if self.to == "female":
            possessive = follows(word=True, never=("and", "or"))
            return [
                Phrase("him", "her", owner=True),
                Phrase("his", "her", possessive),
                Phrase("his", "her", _ALSO_POSSESSIVE),
                Phrase("his", "hers"),
            ]
        possessive = follows(word=True, never=table["after_object"])
        return [Phrase("her", "his", possessive), Phrase("her", "him"), Phrase("hers", "his")]


def _left_alone(pairs: list[tuple[str, ...]]) -> Iterator[Phrase]:
    joined = [(first, second) for pair in (*pairs, *_JOINED) for first, second in (pair, pair[::-1])]
    for text in (*_BOTH, *(f"{first} {link} {second}" for first, second in joined for link in ("or", "and"))):
        yield Phrase(text, text, owner=True)
