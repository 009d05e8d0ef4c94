"""Wilson's score interval of a share."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from harness.stats.bootstrap import LEVEL, FloatArray


def wilson(hits: FloatArray, items: FloatArray, level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
    """Ends of the score interval of each share hits / items (Wilson, 1927): within 0 and 1, and wider than a point.

    Args:
        hits: number of successes [...].
        items: at least 1 each [...].
        level: nominal coverage, between 0 and 1.
    """
    return wilson_bounds(hits / items, items, NormalDist().inv_cdf((1 + level) / 2))


def wilson_bounds(share: FloatArray, items: FloatArray, quantile: float) -> tuple[FloatArray, FloatArray]:
    """Ends of the score interval of a share [...].

    Args:
        share: between 0 and 1 [...].
        items: effective number of independent items [...], which need not be whole.
        quantile: of the normal distribution or of Student's t.
    """
    middle = (share + quantile**2 / (2 * items)) / (1 + quantile**2 / items)
    half = quantile / (1 + quantile**2 / items) * np.sqrt(share * (1 - share) / items + quantile**2 / (4 * items**2))
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
