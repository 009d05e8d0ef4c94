"""Intervals of sums and ratios from the intervals of their parts (MOVER: method of variance estimates recovery)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.stats.bootstrap import Interval

METHOD = "mover"


def weighted_sum(values: Sequence[float], intervals: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """Interval of the sum of independent estimates, each times its weight (Zou and Donner, 2008, equation 4).

    The distance from each estimate to an end of its interval stands for a multiple of its standard error on that side, so a skewed
    interval stays skewed in the sum. For two parts of weight 1/2, 0.0 [-0.07, 0.07] and -0.01 [-0.02, 0.0], it is -0.005 with a lower
    end of -0.005 - sqrt(0.07² + 0.01²) / 2.

    Args:
        values: the estimates.
        intervals: of each.
        weights: of each; a negative one reverses its interval.
    """
    below = above = 0.0
    for value, interval, weight in zip(values, intervals, weights, strict=True):
        down, up = weight * (value - interval.low), weight * (interval.high - value)
        down, up = (down, up) if weight >= 0 else (-up, -down)
        below, above = math.hypot(below, down), math.hypot(above, up)
    total = math.fsum(weight * value for value, weight in zip(values, weights, strict=True))
    return Interval(total - below, total + above, METHOD)


def ratio(top: float, over: Interval, bottom: float, under: Interval, correlation: float = 0.0) -> Interval | None:
    """Interval of top / bottom (MOVER-R; Donner and Zou, 2012, "Closed-form confidence intervals for functions of the normal mean").

    An end r is where the interval of top - r bottom ends at 0. As in Fieller's interval, the correlation enters that difference.

    Args:
        top: the numerator.
        over: its interval.
        bottom: the denominator, more than 0.
        under: its interval.
        correlation: of the two estimates, from -1 to 1.

    Returns:
        None where `under` reaches 0 on the relevant side, so that the ratio is unbounded.
    """
    ends = []
    for sign, distance in ((-1, top - over.low), (1, over.high - top)):
        positive = bottom - under.low if sign > 0 else under.high - bottom
        negative = under.high - bottom if sign > 0 else bottom - under.low
        end = _end(sign, top, distance, bottom, positive, correlation)
        if end is not None and end < 0:
            end = _end(sign, top, distance, bottom, negative, correlation)
        if end is None:
            return None
        ends.append(end)
    return Interval(ends[0], ends[1], METHOD)


def _end(sign: int, top: float, over: float, bottom: float, under: float, correlation: float) -> float | None:
    """The r for which (top - r bottom)² = over² + r² under² - 2 r correlation over under, on the side of `sign`."""
    square = bottom**2 - under**2
    if square <= 0:
        return None
    middle = top * bottom - correlation * over * under
    root = math.sqrt(max(middle**2 - square * (top**2 - over**2), 0.0))
    return (middle + sign * root) / square
