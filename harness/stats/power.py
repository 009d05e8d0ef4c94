"""Power of a comparison: the differences it can detect, and the number of items needed, from the standard error of a paired difference.

`ForgettingPower` is about the verdict forgot; `IntervalReach` and the functions are about the interval of a difference.

A two-sided test at level alpha finds a true difference d with power Phi(|d| / se - z) + Phi(-|d| / se - z), z = z(1 - alpha / 2).
The same numbers hold for non-inferiority: with margin d and no true difference, they are the chance that the interval stays above -d.
Source: Miller (2024), "Adding error bars to evals"; Chow, Shao and Wang (2008), "Sample size calculations in clinical research".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from harness.stats.bootstrap import LEVEL
from harness.stats.discordant import Flips, unseen_share
from harness.stats.verdict import FORGOT_AT

POWER = 0.8
_NORMAL = NormalDist()
QUANTILE = _NORMAL.inv_cdf((1 + LEVEL) / 2)
"""Of the normal distribution: standard errors to either side of a 95 % interval."""


def detectable(error: float, level: float = LEVEL, target: float = POWER) -> float:
    """The smallest difference that is detected with a target power, neglecting the far tail.

    Args:
        error: standard error of the difference.
        level: of the two-sided interval.
        target: the power, between 0 and 1.
    """
    return error * (_NORMAL.inv_cdf((1 + level) / 2) + _NORMAL.inv_cdf(target))


@dataclass(frozen=True, slots=True)
class IntervalReach:
    """The distance from a score to an end of its interval, and how it shrinks with more items.

    An interval adds two terms in quadrature. The standard error shrinks with the root of the number of items. The room for unseen rows
    shrinks with the number of items as z² / (n + z²), as the score interval of unchanged items does, and nearly as `unseen_share` does.

    The interval adds in quadrature what scatters, which shrinks with the root of the items, and room for what may have stayed unseen, which
    shrinks with the items: as z² / (n + z²), as the score interval of unchanged items does and a share of which none was seen nearly so.

    Attributes:
        items: current number of items.
        error: standard error.
        room: the other term.
        shift: number of items that z² rows have.
    """

    items: int
    error: float
    room: float
    shift: float

    @classmethod
    def of(cls, distance: float, error: float, items: int, rows: int) -> IntervalReach:
        """From an interval.

        Args:
            distance: from the score to the end.
            error: the score's standard error, without what was added for unseen rows.
            items: number of items.
            rows: number of rows that were resampled.
        """
        room = math.sqrt(max(0.0, distance**2 - (QUANTILE * error) ** 2))
        return cls(items, error, room, QUANTILE**2 * items / rows)

    def items_needed(self, distance: float, target: float | None = None) -> int | None:
        """The smallest number of items with which the interval ends within a distance; None for a distance of 0 or less.

        Args:
            distance: from the observed score; with a target, from the true score.
            target: probability that the interval ends within the distance, as the observed score varies about the true one, between 0
                and 1; None: the observed score stays as it is.
        """
        if distance <= 0:
            return None
        quantile = 0.0 if target is None else _NORMAL.inv_cdf(target)

        def suffices(items: int) -> bool:
            error = self.error * math.sqrt(self.items / items)
            room = self.room * (self.items + self.shift) / (items + self.shift)
            return math.hypot(QUANTILE * error, room) + quantile * error <= distance * (1 + 1e-12)

        low, high = 0, 1
        while not suffices(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if suffices(middle) else (middle, high)
        return high


def items_without_change(margin: float, span: float, level: float = LEVEL) -> int:
    """Number of unchanged items needed to show that fewer than the share margin / span of all items change.

    Args:
        margin: in the score's unit.
        span: from the lowest to the highest score, more than `margin`.
        level: of the two-sided interval.
    """
    items = math.ceil(math.log((1 - level) / 2) / math.log(1.0 - margin / span))
    while unseen_share(items, level) > margin / span:  # the logarithms' rounding
        items += 1
    return items


@dataclass(frozen=True)
class ForgettingPower:
    """Power of the verdict forgot for a true loss: its interval ends beyond the margin, and its adjusted p is at most `FORGOT_AT`.

    With z the normal quantiles and v(t) the variance of one item's difference where the loss is t, an observed loss t gets the verdict
    forgot where it is beyond margin + z(0.975) sqrt(v(t) / n), for the interval, and beyond z(1 - 0.005 / tests) sqrt((v(t) + t²) / n), for
    the test, whose variance is that about no change. Holm's adjustment is taken at its strictest, where no other score tested
    together has a smaller p. With t the larger of both, a true loss d gets the verdict with the power Phi((d - t) / sqrt(v(d) / n)).

    For correct and incorrect answers the variance grows with the loss: items that flip both ways continue to flip, and the loss is added,
    so v(t) + t² is the share of items that flip (Miettinen, 1968, "The matched pairs design in the case of all-or-none responses").
    The exact test requires half a flip more on either side, 1 / n (Connett, Smith and McHugh, 1987, "Sample size and power for
    pair-matched case-control studies").

    Attributes:
        margin: the largest loss that does not matter, at least 0.
        tests: number of scores that are tested together.
        variance: of one item's difference; for correct and incorrect, the share of items that flip without changing the score.
        binary: whether items are correct or incorrect.
        room: how much wider than scatter alone the interval is, for changes that may be unseen among `rows` items; shrinks as 1 / n.
        rows: number of items that `room` belongs to.
    """

    margin: float
    tests: int
    variance: float
    binary: bool
    room: float = 0.0
    rows: int = 1

    @classmethod
    def of_flips(cls, flips: Flips, margin: float, tests: int) -> ForgettingPower:
        """From the observed flips, with half a pair added to each kind."""
        share = (flips.changed + 1) / (flips.rows + 1) - abs(flips.gained - flips.lost) / flips.rows
        return cls(margin, tests, max(share, 0.0), True)

    def power(self, loss: float, items: int) -> float:
        """Probability that a true loss gets the verdict forgot.

        Args:
            loss: in the score's unit, more than 0.
            items: number of items.
        """
        error = math.sqrt(self._variance(loss) / items)
        distance = loss - max(self._beyond_margin(items), self._beyond_chance(items))
        return _NORMAL.cdf(distance / error) if error > 0 else float(distance > 0)

    def least(self, items: int, span: float = math.inf, target: float = POWER) -> float | None:
        """The smallest loss that gets the verdict forgot with a target power; None where no loss within the span does.

        Args:
            items: number of items.
            span: from the lowest to the highest score.
            target: the power, between 0 and 1.
        """
        if math.isinf(self._beyond_chance(items)):
            return None
        low = high = max(self.margin, math.sqrt(self.variance / items), 1e-12)
        while self.power(high, items) < target:
            if high >= span:
                return None
            low, high = high, min(2 * high, span)
        while high - low > 1e-6 * high:
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle, items) >= target else (middle, high)
        return high

    def items(self, loss: float, target: float = POWER) -> int | None:
        """Number of items with which a loss gets the verdict forgot with a target power; None for a loss within the margin."""
        if loss <= self.margin:
            return None
        low, high = 1, 2
        while self.power(loss, high) < target:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(loss, middle) >= target else (middle, high)
        return high

    def _variance(self, loss: float) -> float:
        """Of one item's difference."""
        return max(self.variance + loss - loss**2, 0.0) if self.binary else self.variance

    def _beyond_margin(self, items: int) -> float:
        """The observed loss t whose interval ends at the margin: (t - margin)² = k v(t), k = z² / items."""
        k = _NORMAL.inv_cdf((1 + LEVEL) / 2) ** 2 / items
        if self.binary:
            return _larger_root(1 + k, -(2 * self.margin + k), self.margin**2 - k * self.variance)
        return self.margin + math.hypot(math.sqrt(k * self.variance), self.room * self.rows / items)

    def _beyond_chance(self, items: int) -> float:
        """The observed loss t whose p in the test is exactly `FORGOT_AT`: (t - 1 / items)² = k (v(t) + t²), k = z² / items."""
        k = _NORMAL.inv_cdf(1 - FORGOT_AT / (2 * self.tests)) ** 2 / items
        if self.binary:
            return _larger_root(1.0, -(2 / items + k), 1 / items**2 - k * self.variance)
        return math.sqrt(k * self.variance / (1 - k)) if k < 1 else math.inf


def _larger_root(a: float, b: float, c: float) -> float:
    """The larger root of a t² + b t + c, which has real roots."""
    return (-b + math.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a)
