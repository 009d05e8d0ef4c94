"""Bias-corrected and accelerated bootstrap intervals (Efron, 1987; Efron and Tibshirani, 1993, chapter 14), and the jackknife.

Leaving an item out is subtracting its statistics from the totals, so the jackknife costs one call of the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.stats.bootstrap import LEVEL, FloatArray, Interval, Score, interval_of

_NORMAL = NormalDist()
_LEAST_TAIL = 1e-12  # a level so wide that it rounds to 1 means all replicates


@dataclass(frozen=True, slots=True)
class Jackknife:
    """Effects of leaving out each row of a score in turn.

    Attributes:
        error: standard error, in the score's unit; for a mean exactly the standard deviation over the square root of the rows.
        acceleration: a sixth of the skewness of the rows' influence; 0 where no row has any influence.
    """

    error: float
    acceleration: float


def influence(statistics: FloatArray, score: Score) -> FloatArray | None:
    """Influence of each row on a score: the mean of the scores without one row, minus the score without this row [rows].

    Args:
        statistics: per row, array [rows, statistics], at least two rows.
        score: from totals [..., statistics] to scores [...].

    Returns:
        None where a score without some row is not a number.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        without = score(statistics.sum(axis=0) - statistics)
    if not np.isfinite(without).all():
        return None
    result: FloatArray = without.mean() - without
    return result


def jackknife(statistics: FloatArray, score: Score) -> Jackknife | None:
    """Leave each row out once (Efron and Tibshirani, 1993, equations 11.5 and 14.15).

    Args:
        statistics: per row, array [rows, statistics], at least two rows.
        score: from totals [..., statistics] to scores [...].

    Returns:
        None where a score without some row is not a number.
    """
    count = len(statistics)
    moved = influence(statistics, score)
    if moved is None:
        return None
    squares = float((moved**2).sum())
    cubes = float((moved**3).sum())
    acceleration = cubes / (6.0 * squares**1.5) if squares > 0 else 0.0
    return Jackknife(math.sqrt((count - 1) / count * squares), acceleration)


def bca_interval(scores: FloatArray, estimate: float, acceleration: float, level: float = LEVEL) -> Interval | None:
    """The BCa interval (Efron and Tibshirani, 1993, equation 14.10); replicates equal to the estimate count half below it.

    Args:
        scores: replicates [resamples]; NaN are ignored.
        estimate: the score of all rows.
        acceleration: of the jackknife.
        level: nominal coverage, between 0 and 1.

    Returns:
        The percentile interval where all replicates lie on one side of the estimate; None where no replicate is a number.
    """
    defined = scores[~np.isnan(scores)]
    below = (defined < estimate).sum() + 0.5 * (defined == estimate).sum()
    if not 0 < below < len(defined):
        return interval_of(scores, level)
    bias = _NORMAL.inv_cdf(below / len(defined))
    reach = _NORMAL.inv_cdf(max((1 - level) / 2, _LEAST_TAIL))
    ends = []
    for quantile in (reach, -reach):
        shifted = bias + quantile
        room = 1.0 - acceleration * shifted
        if room <= 0:
            return interval_of(scores, level)
        ends.append(_NORMAL.cdf(bias + shifted / room))
    low, high = np.quantile(defined, ends)
    return Interval(float(low), float(high), "bca")
