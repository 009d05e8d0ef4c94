"""Right or wrong before and after: only the items on which two systems disagree tell them apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.stats.bootstrap import LEVEL, Interval

_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Flips:
    """Pairs of answers on the same rows.

    Attributes:
        lost: right before, wrong after.
        gained: wrong before, right after.
        rows: all pairs.
    """

    lost: int
    gained: int
    rows: int

    @property
    def changed(self) -> int:
        """Pairs that disagree."""
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


def score_interval(flips: Flips, level: float = LEVEL) -> Interval:
    """Interval of the difference of two paired proportions, after less before, by inverting the score test.

    It keeps its coverage where few pairs disagree, and has a width where none does.
    Source: Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the paired-sample design".
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    limit = float(ndtri((1 + level) / 2))
    estimate = (flips.gained - flips.lost) / flips.rows
    low = -1.0
    if flips.lost < flips.rows:
        low = brentq(lambda shift: _z(flips, shift) - limit, -1.0 + _TOLERANCE, estimate)
    high = 1.0
    if flips.gained < flips.rows:
        high = brentq(lambda shift: _z(flips, shift) + limit, estimate, 1.0 - _TOLERANCE)
    return Interval(float(low), float(high), "score")


def _z(flips: Flips, shift: float) -> float:
    """Tango's score statistic of the hypothesis that the true difference is `shift`."""
    rows, gained, lost = flips.rows, flips.gained, flips.lost
    a = 2.0 * rows
    b = (2 * rows - gained + lost) * shift - gained - lost
    c = -lost * shift * (1.0 - shift)
    share_lost = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = rows * (2 * share_lost + shift * (1.0 - shift))
    distance = gained - lost - rows * shift
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


def unseen_share(rows: int, level: float = LEVEL) -> float:
    """The largest share of items of some kind that may exist although none was among `rows` (Clopper and Pearson, 1934)."""
    return 1.0 - float(((1 - level) / 2) ** (1 / rows))
