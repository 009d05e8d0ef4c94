"""Everything in lower case."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from harness.perturb.base import Perturbation, perturbation


@perturbation("lowercase")
@dataclass(frozen=True)
class Lowercase(Perturbation):
    """Lower case throughout, but for answers' letters and placeholders."""

    def apply(self, text: str, random: Random) -> str:
        """The text in lower case."""
        return text.lower()
