"""Repeated spaces."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from harness.perturb.base import Perturbation, perturbation


@perturbation("extra_space")
@dataclass(frozen=True)
class ExtraSpace(Perturbation):
    """Every space becomes `spaces` spaces.

    Args:
        spaces: number of spaces.
    """

    spaces: int = 2

    def __post_init__(self) -> None:
        if self.spaces < 1:
            raise ValueError(f"spaces is at least 1, not {self.spaces}")

    def apply(self, text: str, random: Random) -> str:
        """The text with wider spaces."""
        return text.replace(" ", " " * self.spaces)
