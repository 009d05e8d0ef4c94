"""What a comparison could have shown, and how many items would show more; both from the standard error of a paired difference.

A two-sided test at level alpha finds a true difference d with power Phi(|d| / se - z) + Phi(-|d| / se - z), z = z(1 - alpha / 2).
The same numbers hold for non-inferiority: with margin d and no true difference, they are the chance that the interval stays above -d.
Source: Miller (2024), "Adding error bars to evals"; Chow, Shao and Wang (2008), "Sample size calculations in clinical research".
"""

from __future__ import annotations

import math
from statistics import NormalDist

from harness.stats.bootstrap import LEVEL
from harness.stats.discordant import unseen_share

POWER = 0.8
_NORMAL = NormalDist()


def power(difference: float, error: float, level: float = LEVEL) -> float:
    """Chance that the interval of a true difference excludes 0.

    Args:
        difference: the true difference.
        error: standard error of its estimate, more than 0.
        level: of the interval.
    """
    limit = _NORMAL.inv_cdf((1 + level) / 2)
    distance = abs(difference) / error
    return _NORMAL.cdf(distance - limit) + _NORMAL.cdf(-distance - limit)


def detectable(error: float, level: float = LEVEL, wanted: float = POWER) -> float:
    """The least difference that is found with the power wanted, the far tail neglected."""
    return error * (_NORMAL.inv_cdf((1 + level) / 2) + _NORMAL.inv_cdf(wanted))


def items_needed(items: int, least: float, margin: float) -> int:
    """How many items would make `margin` the least difference, given that `items` make it `least`: errors shrink with the root."""
    return max(1, math.ceil(items * (least / margin) ** 2))


def items_without_change(margin: float, span: float, level: float = LEVEL) -> int:
    """How many unchanged items it takes to say that fewer than the share margin / span of all items change.

    Args:
        margin: in the score's unit.
        span: from the lowest to the highest score, more than `margin`.
        level: of the two-sided interval.
    """
    found = math.ceil(math.log((1 - level) / 2) / math.log(1.0 - margin / span))
    while unseen_share(found, level) > margin / span:  # the logarithms' rounding
        found += 1
    return found
