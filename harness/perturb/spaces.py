"""Runs of spaces of random length."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from harness.perturb.base import Perturbation, perturbation


@perturbation("spaces")
@dataclass(frozen=True)
class Spaces(Perturbation):
    """Replaces every run of spaces by 1 to `most` spaces, with equal probability.

    Args:
        most: longest run.
    """

    most: int = 3

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most is at least 1, not {self.most}")

    def apply(self, text: str, random: Random) -> str:
        """The text with other runs of spaces and the same line breaks."""
        return re.sub(" +", lambda _: " " * random.randint(1, self.most), text)
