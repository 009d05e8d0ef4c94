"""Lower case."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from harness.perturb.base import Perturbation, perturbation


@perturbation("lowercase")
@dataclass(frozen=True)
class Lowercase(Perturbation):
    """Converts the text to lower case, except letters of answers and placeholders."""

    def apply(self, text: str, random: Random) -> str:
        """The text in lower case."""
        return text.lower()
