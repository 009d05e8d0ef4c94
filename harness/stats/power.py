"""What a comparison could have shown, and how many items would show more; both from the standard error of a paired difference.

`Forgetting` is about the verdict forgot itself; the functions are about the interval of a difference.

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


@dataclass(frozen=True, slots=True)
class Reach:
    """How far an end of an interval is from its score, and how that shrinks with more items.

    The interval adds in quadrature what scatters, which shrinks with the root of the items, and room for what may have stayed unseen, which
    shrinks with the items: as z² / (n + z²), as the score interval of unchanged items does and a share of which none was seen nearly so.

    Attributes:
        items: now.
        scatter: standard error.
        room: the rest.
        shift: how many items z² rows are.
    """

    items: int
    scatter: float
    room: float
    shift: float

    @classmethod
    def of(cls, distance: float, scatter: float, items: int, rows: int) -> Reach:
        """From an interval.

        Args:
            distance: from the score to the end.
            scatter: the score's standard error, without what was added for rows that were not drawn.
            items: so many.
            rows: in so many rows that are resampled.
        """
        room = math.sqrt(max(0.0, distance**2 - (QUANTILE * scatter) ** 2))
        return cls(items, scatter, room, QUANTILE**2 * items / rows)

    def needed(self, distance: float, wanted: float | None = None) -> int | None:
        """The least number of items whose interval ends within a distance; None for no distance.

        Args:
            distance: from the score, which stays; or, where a power is wanted, from the true score.
            wanted: chance that the end is so near, the score scattering about the true one; None: the score stays.
        """
        if distance <= 0:
            return None
        beyond = 0.0 if wanted is None else _NORMAL.inv_cdf(wanted)

        def near(items: int) -> bool:
            error = self.scatter * math.sqrt(self.items / items)
            room = self.room * (self.items + self.shift) / (items + self.shift)
            return math.hypot(QUANTILE * error, room) + beyond * error <= distance * (1 + 1e-12)

        low, high = 0, 1
        while not near(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if near(middle) else (middle, high)
        return high


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


@dataclass(frozen=True)
class Forgetting:
    """How likely a true loss is called forgot: its interval ends beyond the margin, and its adjusted p is at most `FORGOT_AT`.

    With z the normal quantiles and v(t) the variance of one item's difference where the loss is t, an observed loss t is called
    forgot where it is beyond margin + z(0.975) sqrt(v(t) / n), for the interval, and beyond z(1 - 0.005 / tests) sqrt((v(t) + t²) / n), for
    the test, whose variance is that about no change. Holm's adjustment is taken at its strictest, where no other score of those judged
    together has a smaller p. With t the larger of both, a true loss d is called forgot with the power Phi((d - t) / sqrt(v(d) / n)).

    Of right and wrong answers the variance grows with the loss: items that flip both ways go on flipping, and what is lost comes on top, so
    v(t) + t² is the share of items that flip (Miettinen, 1968, "The matched pairs design in the case of all-or-none responses").
    The exact test asks for half a flip more on either side, 1 / n (Connett, Smith and McHugh, 1987, "Sample size and power for
    pair-matched case-control studies").

    Attributes:
        margin: the largest loss that does not matter, at least 0.
        tests: how many scores are judged together.
        variance: of one item's difference; of right and wrong, the share of items that flip without changing the score.
        binary: whether items are right or wrong.
        room: by what the interval reaches further than its scatter, for what may be unseen among `rows` items; it shrinks as 1 / n.
        rows: to which `room` belongs.
    """

    margin: float
    tests: int
    variance: float
    binary: bool
    room: float = 0.0
    rows: int = 1

    @classmethod
    def of_flips(cls, flips: Flips, margin: float, tests: int) -> Forgetting:
        """From the flips seen, with half a pair more of each kind."""
        share = (flips.changed + 1) / (flips.rows + 1) - abs(flips.gained - flips.lost) / flips.rows
        return cls(margin, tests, max(share, 0.0), True)

    def power(self, loss: float, items: int) -> float:
        """Chance that a true loss is called forgot.

        Args:
            loss: in the score's unit, more than 0.
            items: so many.
        """
        error = math.sqrt(self._variance(loss) / items)
        distance = loss - max(self._beyond_margin(items), self._beyond_chance(items))
        return _NORMAL.cdf(distance / error) if error > 0 else float(distance > 0)

    def least(self, items: int, span: float = math.inf, wanted: float = POWER) -> float | None:
        """The smallest loss that so many items call forgot with the power wanted; None where not even the whole span is, or any.

        Args:
            items: so many.
            span: from the lowest to the highest score.
            wanted: the power, between 0 and 1.
        """
        if math.isinf(self._beyond_chance(items)):
            return None
        low = high = max(self.margin, math.sqrt(self.variance / items), 1e-12)
        while self.power(high, items) < wanted:
            if high >= span:
                return None
            low, high = high, min(2 * high, span)
        while high - low > 1e-6 * high:
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle, items) >= wanted else (middle, high)
        return high

    def items(self, loss: float, wanted: float = POWER) -> int | None:
        """How many items call a loss forgot with the power wanted; None for a loss within the margin."""
        if loss <= self.margin:
            return None
        low, high = 1, 2
        while self.power(loss, high) < wanted:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(loss, middle) >= wanted else (middle, high)
        return high

    def _variance(self, loss: float) -> float:
        """Of one item's difference."""
        return max(self.variance + loss - loss**2, 0.0) if self.binary else self.variance

    def _beyond_margin(self, items: int) -> float:
        """The observed loss t of which the interval ends at the margin: (t - margin)² = k v(t), k = z² / items."""
        k = _NORMAL.inv_cdf((1 + LEVEL) / 2) ** 2 / items
        if self.binary:
            return _larger_root(1 + k, -(2 * self.margin + k), self.margin**2 - k * self.variance)
        return self.margin + math.hypot(math.sqrt(k * self.variance), self.room * self.rows / items)

    def _beyond_chance(self, items: int) -> float:
        """The observed loss t of which the test gives just `FORGOT_AT`: (t - 1 / items)² = k (v(t) + t²), k = z² / items."""
        k = _NORMAL.inv_cdf(1 - FORGOT_AT / (2 * self.tests)) ** 2 / items
        if self.binary:
            return _larger_root(1.0, -(2 / items + k), 1 / items**2 - k * self.variance)
        return math.sqrt(k * self.variance / (1 - k)) if k < 1 else math.inf


def _larger_root(a: float, b: float, c: float) -> float:
    """Of a t² + b t + c, which has real ones."""
    return (-b + math.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a)
