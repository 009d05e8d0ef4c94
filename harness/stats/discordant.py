"""Correct or incorrect before and after: the test of the discordant pairs, on which two systems disagree."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.stats.bootstrap import LEVEL


@dataclass(frozen=True, slots=True)
class Flips:
    """Numbers of pairs of answers to the same items that disagree.

    Attributes:
        lost: correct before, incorrect after.
        gained: incorrect before, correct after.
        rows: number of all pairs.
    """

    lost: int
    gained: int
    rows: int

    @property
    def changed(self) -> int:
        """Number of pairs that disagree."""
        return self.lost + self.gained

    @property
    def odds_ratio(self) -> float | None:
        """Gained over lost: the conditional odds ratio of matched pairs; infinite where none was lost, None without flips."""
        if not self.changed:
            return None
        return self.gained / self.lost if self.lost else math.inf


def mcnemar(flips: Flips) -> float:
    """Two-sided p of McNemar's test in its exact form: a sign test of the discordant pairs (McNemar, 1947).

    Equals statsmodels' `mcnemar(table, exact=True)`. 1 where no pair disagrees.
    """
    if not flips.changed:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(flips.lost, flips.changed).pvalue)


def unseen_share(rows: int, level: float = LEVEL) -> float:
    """Upper bound of the share of a kind of item of which none was among `rows` items (Clopper and Pearson, 1934)."""
    return 1.0 - float(((1 - level) / 2) ** (1 / rows))
