"""HELM's mild mix: lower case, contractions, a few misspellings, uneven spaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

from harness.perturb.base import Perturbation, perturbation
from harness.perturb.contraction import Contraction
from harness.perturb.lowercase import Lowercase
from harness.perturb.misspelling import Misspelling
from harness.perturb.spaces import Spaces


@perturbation("mild_mix")
@dataclass(frozen=True)
class MildMix(Perturbation):
    """`lowercase`, `contraction`, `misspelling` and `spaces`, in this order.

    Args:
        rate: of the misspellings.
        most: longest run of spaces.
    """

    lists: ClassVar[tuple[str, ...]] = (*Contraction.lists, *Misspelling.lists)
    rate: float = 0.1
    most: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        Spaces(self.most)

    def apply(self, text: str, random: Random) -> str:
        """The text after all four."""
        for part in self._parts:
            text = part.apply(text, random)
        return text

    @cached_property
    def _parts(self) -> tuple[Perturbation, ...]:
        return Lowercase(), Contraction(), Misspelling(self.rate), Spaces(self.most)
