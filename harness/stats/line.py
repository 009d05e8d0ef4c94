"""Least-squares line of one variable, from sums alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.contract import Moments

FEWEST = 8
"""Number of points below which no line is fitted."""


@dataclass(frozen=True, slots=True)
class Line:
    """y = intercept + slope x.

    Attributes:
        r2: share of y's variance that the line explains.
        points: number of points that it was fitted to.
        noise: standard deviation of a point about the line.
        middle: mean of x; 0 for a line through the origin.
        spread: sum of (x - middle)².
    """

    intercept: float
    slope: float
    r2: float
    points: int
    noise: float
    middle: float
    spread: float

    def at(self, x: float) -> float:
        """The line's y at x."""
        return self.intercept + self.slope * x

    def error_at(self, x: float) -> float:
        """Standard error of the line's y at x."""
        mean = 1 / self.points if self.middle else 0.0
        return self.noise * math.sqrt(mean + (x - self.middle) ** 2 / self.spread)


def fit(moments: Moments) -> Line | None:
    """The least-squares line; through the origin where its intercept would be negative.

    Source: Draper and Smith, "Applied Regression Analysis", sections 1.2 to 1.4.

    Returns:
        The line, or None for fewer than 8 points, x that does not vary, or y that does not grow with x.
    """
    n = moments.passes
    if n < FEWEST:
        return None
    xx = moments.xx - moments.x**2 / n
    xy = moments.xy - moments.x * moments.y / n
    yy = moments.yy - moments.y**2 / n
    if xx <= 1e-12 * moments.xx or xy <= 0 or yy <= 0:
        return None
    slope = xy / xx
    intercept = (moments.y - slope * moments.x) / n
    if intercept < 0:
        slope = moments.xy / moments.xx
        left = max(0.0, moments.yy - slope * moments.xy)
        return Line(0.0, slope, 1.0 - left / yy, n, math.sqrt(left / (n - 1)), 0.0, moments.xx)
    left = max(0.0, yy - slope * xy)
    return Line(intercept, slope, 1.0 - left / yy, n, math.sqrt(left / (n - 2)), moments.x / n, xx)
