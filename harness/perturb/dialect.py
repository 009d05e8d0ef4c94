"""Standard American English as African American English."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, ClassVar, Literal

from harness import lists
from harness.perturb.base import Perturbation, perturbation
from harness.perturb.phrases import Phrase, Phrases, follows, plain


@perturbation("dialect")
@dataclass(frozen=True)
class Dialect(Perturbation):
    """Replaces words and phrases of the list `dialect`.

    Args:
        rate: probability that a match is replaced.
    """

    family: ClassVar[Literal["robustness", "fairness"]] = "fairness"
    references: ClassVar[bool] = True
    lists: ClassVar[tuple[str, ...]] = ("dialect",)
    rate: float = 1.0

    def apply(self, text: str, random: Random) -> str:
        """The text in the dialect."""
        return self._phrases.replace(text, lambda: random.random() < self.rate)

    @cached_property
    def _phrases(self) -> Phrases:
        return Phrases(phrase for feature in lists.read("dialect")["features"] for phrase in _phrases(feature))


def _phrases(feature: dict[str, Any]) -> Iterator[Phrase]:
    before = follows(word=feature.get("before_word", False), never=feature.get("never_before", ()), only=feature.get("only_before", ()))
    yield from plain(feature["replace"], before)
