"""Typing errors: letters become neighbours on the keyboard."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from harness.perturb.base import Perturbation, perturbation

ROWS = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))
"""The rows of letters on a US keyboard, and the shift of each row to the right in key widths."""

TOUCHING = 1.3
"""Largest distance between the centres of neighbouring keys in key widths."""


def neighbours() -> dict[str, str]:
    """Each letter's neighbours on the keyboard."""
    places = {letter: (shift + column, row) for row, (keys, shift) in enumerate(ROWS) for column, letter in enumerate(keys)}
    return {
        letter: "".join(other for other, there in places.items() if other != letter and math.dist(here, there) <= TOUCHING)
        for letter, here in places.items()
    }


NEIGHBOURS = neighbours()


@perturbation("typos")
@dataclass(frozen=True)
class Typos(Perturbation):
    """Replaces letters by a neighbour on the keyboard, in the same case.

    Args:
        rate: probability that a letter is replaced.
    """

    rate: float = 0.01

    def apply(self, text: str, random: Random) -> str:
        """The text with typing errors."""
        return "".join(self._typed(character, random) for character in text)

    def _typed(self, character: str, random: Random) -> str:
        near = NEIGHBOURS.get(character.lower())
        if near is None or random.random() >= self.rate:
            return character
        slip = random.choice(near)
        return slip.upper() if character.isupper() else slip
