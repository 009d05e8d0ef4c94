"""Whether something was forgotten: a change held against a margin.

Changes count upwards as better. With the interval [low, high] of the change and the margin m:

* improved: low > 0, and the adjusted p is at most 0.05.
* forgot: high < -m, and the adjusted p is at most 0.01.
* likely forgot: high < -m, and the adjusted p is larger.
* retained: low > -m.
* inconclusive: otherwise.

`docs/design/statistics.md` says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from harness.stats.bootstrap import Interval

Verdict = Literal["forgot", "likely forgot", "inconclusive", "retained", "improved"]
VERDICTS: tuple[Verdict, ...] = ("forgot", "likely forgot", "inconclusive", "retained", "improved")
"""Worst first."""
UNRESOLVED: tuple[Verdict, ...] = ("likely forgot", "inconclusive")
"""Verdicts that more items may change into forgot."""

FORGOT_AT = 0.01
IMPROVED_AT = 0.05
MARGIN = 0.01


def scale_end(high: float | None, unit: str) -> float | None:
    """Where a score's scale from 0 ends: at its bound, at 100 for points that may exceed it, such as TER's; None where nothing ends it.

    Args:
        high: best or worst value, or None or infinity where there is no bound.
        unit: as the metric says.
    """
    if high is not None and math.isfinite(high):
        return high
    return 100.0 if unit == "points" else None


def default_margin(high: float | None, unit: str, before: float) -> float:
    """How much change does not matter: a hundredth of the scale, and of the score itself where nothing ends the scale.

    Args:
        high: best or worst value, see `scale_end`.
        unit: as the metric says.
        before: the score before.
    """
    end = scale_end(high, unit)
    return MARGIN * (abs(before) if end is None else end)


def change(bounds: Interval, higher_is_better: bool) -> tuple[float, float]:
    """An interval of after less before, turned so that more is better."""
    return (bounds.low, bounds.high) if higher_is_better else (-bounds.high, -bounds.low)


def verdict(bounds: Interval | None, p_adjusted: float | None, margin: float, higher_is_better: bool) -> Verdict:
    """What may be said of one score.

    Args:
        bounds: 95 % interval of after less before, None where there is none.
        p_adjusted: of no difference, adjusted (Holm) for all scores that are judged together.
        margin: the largest loss that does not matter, in the score's unit, at least 0.
        higher_is_better: the score's direction.
    """
    if bounds is None or p_adjusted is None:
        return "inconclusive"
    low, high = change(bounds, higher_is_better)
    if low > 0 and p_adjusted <= IMPROVED_AT:
        return "improved"
    if high < -margin:
        return "forgot" if p_adjusted <= FORGOT_AT else "likely forgot"
    return "retained" if low > -margin else "inconclusive"


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of several scores together: the worst of them, but improved only where none is merely retained.

    Raises:
        ValueError: there are none.
    """
    if not verdicts:
        raise ValueError("no verdict to choose from")
    return min(verdicts, key=VERDICTS.index)
