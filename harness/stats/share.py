"""The interval of a share."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from harness.stats.bootstrap import LEVEL, FloatArray


def wilson(hits: FloatArray, items: FloatArray, level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
    """Ends of the score interval of each share hits / items (Wilson, 1927): within 0 and 1, and never a point.

    Args:
        hits: how many of the items [...].
        items: at least 1 each [...].
        level: coverage aimed at, between 0 and 1.
    """
    return wilson_bounds(hits / items, items, NormalDist().inv_cdf((1 + level) / 2))


def wilson_bounds(share: FloatArray, items: FloatArray, quantile: float) -> tuple[FloatArray, FloatArray]:
    """The same from a share [...] and a number of independent items [...], which need not be whole; `quantile` is the normal's or t's."""
    middle = (share + quantile**2 / (2 * items)) / (1 + quantile**2 / items)
    half = quantile / (1 + quantile**2 / items) * np.sqrt(share * (1 - share) / items + quantile**2 / (4 * items**2))
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
