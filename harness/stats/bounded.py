"""The score interval of the mean of a bounded variable, whose coverage holds where few values differ from the rest."""

from __future__ import annotations

import numpy as np

from harness.stats.bootstrap import LEVEL, FloatArray, Interval

_EDGE = 1e-12
_PRECISION = 1e-13


def mean_interval(values: FloatArray, bounds: tuple[float, float], level: float = LEVEL) -> Interval:
    """Interval of the mean of independent values between two bounds, by inverting the score test.

    Under the hypothesis that the mean is d, the likelihood of the observed values and of the two bounds, which may be
    unobserved, is greatest at p_j = n_j / (n (1 + t (v_j - d))). The multiplier t is the one that gives the mean d, or 1 / (d - low) where
    that requires mass on an unobserved lower bound. The variance is then (m - d) / t with m the observed mean, so the ends of the
    interval are where n t (m - d) = z². Of the values -1, 0 and 1 this is Tango's interval of a difference of paired proportions
    (1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design"); of other
    values it is the same test for a multinomial distribution (Owen, 2001, "Empirical likelihood", section 2.3, has the weights).
    With 100 values of 0 between -1 and 1 it is -z² / (100 + z²) = -0.037 to 0.037.

    Args:
        values: array [values], at least one.
        bounds: the lowest and the highest possible value.
        level: nominal coverage, between 0 and 1.
    """
    from scipy.special import ndtri

    distinct, times = np.unique(values, return_counts=True)
    counts = times.astype(np.float64)
    squared = float(ndtri((1 + level) / 2)) ** 2
    low, high = bounds
    return Interval(_lower(distinct, counts, low, squared), -_lower(-distinct, counts, -high, squared), "score")


def _lower(values: FloatArray, counts: FloatArray, bound: float, squared: float) -> float:
    """The lower end of the interval, for values that are at least `bound`."""
    from scipy.optimize import brentq

    rows = float(counts.sum())
    mean = float((values * counts).sum()) / rows
    if mean <= bound:
        return bound

    def excess(shift: float) -> float:
        """The weighted mean of the observed values minus `shift`, with the weights of the hypothesis that `shift` is the mean."""
        multiplier = squared / (rows * (mean - shift))
        distances = values - shift
        return float((counts * distances / (1.0 + multiplier * distances)).sum())

    unseen = (rows * mean + squared * bound) / (rows + squared)
    highest = unseen - _EDGE * (mean - bound)
    if excess(highest) >= 0:
        return unseen
    return float(brentq(excess, bound, highest, xtol=_PRECISION * (mean - bound), rtol=1e-12))
