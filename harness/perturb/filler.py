"""Filler words of speech."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

from harness import lists
from harness.perturb.base import Perturbation, perturbation

_BEFORE_WORD = re.compile(r"(?<!\S)(?=[^\W\d_])")


@perturbation("filler")
@dataclass(frozen=True)
class Filler(Perturbation):
    """Inserts filler words before words, as in speech.

    Args:
        rate: probability of a filler before a word.
        hesitation: insert sounds and empty words ("um", "you know").
        uncertainty: insert words of doubt ("perhaps").
        speaker: insert remarks of the speaker ("I think").
    """

    lists: ClassVar[tuple[str, ...]] = ("fillers",)
    rate: float = 0.1
    hesitation: bool = True
    uncertainty: bool = True
    speaker: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.hesitation or self.uncertainty or self.speaker):
            raise ValueError("hesitation, uncertainty and speaker are all false, so there are no fillers")

    def apply(self, text: str, random: Random) -> str:
        """The text with fillers before some of its words."""
        return _BEFORE_WORD.sub(lambda _: f"{random.choice(self._fillers)} " if random.random() < self.rate else "", text)

    @cached_property
    def _fillers(self) -> list[str]:
        table = lists.read("fillers")
        return [filler for kind in ("hesitation", "uncertainty", "speaker") if getattr(self, kind) for filler in table[kind]]
