"""Effect sizes: differences relative to their variation."""

from __future__ import annotations

import math


def cohen_h(before: float, after: float) -> float:
    """Difference of two proportions on the arcsine scale (Cohen, 1988, chapter 6): 0.2 small, 0.5 medium, 0.8 large."""
    return 2.0 * (math.asin(math.sqrt(after)) - math.asin(math.sqrt(before)))


def standardized(difference: float, error: float, rows: int) -> float | None:
    """Mean paired difference in standard deviations of the paired differences, d_z (Cohen, 1988, section 2.3.5).

    Args:
        difference: of the scores.
        error: its standard error; for a score that is not a mean, the standard deviation is that of the rows' pseudo-values.
        rows: number of pairs.

    Returns:
        None where the differences do not vary.
    """
    return difference / (error * math.sqrt(rows)) if error > 0 else None
