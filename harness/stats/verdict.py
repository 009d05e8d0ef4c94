"""Verdicts on forgetting: a change of a score compared with a margin.

Positive changes are better. With the interval [low, high] of the change and the margin m:

* improved: low > 0, and the adjusted p is at most 0.05.
* forgot: high < -m, and the adjusted p is at most 0.01.
* likely forgot: high < -m, and the adjusted p is larger.
* retained: low > -m.
* inconclusive: otherwise.

`docs/design/statistics.md` explains why.
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
"""Verdicts that more items may turn into forgot."""

FORGOT_AT = 0.01
IMPROVED_AT = 0.05
MARGIN = 0.01


def scale_end(high: float | None, unit: str) -> float | None:
    """The end of a score's scale from 0: its bound, or 100 for points that may exceed it, such as TER's; None where it is unbounded.

    Args:
        high: best or worst value, or None or infinity where there is no bound.
        unit: of the metric.
    """
    if high is not None and math.isfinite(high):
        return high
    return 100.0 if unit == "points" else None


def default_margin(high: float | None, unit: str, before: float) -> float:
    """The largest loss that does not matter: a hundredth of the scale, or of the score itself where the scale is unbounded.

    Args:
        high: best or worst value, see `scale_end`.
        unit: of the metric.
        before: the score before.
    """
    end = scale_end(high, unit)
    return MARGIN * (abs(before) if end is None else end)


def change(bounds: Interval, higher_is_better: bool) -> tuple[float, float]:
    """An interval of after minus before, with its sign changed where lower is better: positive is better."""
    return (bounds.low, bounds.high) if higher_is_better else (-bounds.high, -bounds.low)


def verdict(bounds: Interval | None, p_adjusted: float | None, margin: float, higher_is_better: bool) -> Verdict:
    """The verdict on one score.

    Args:
        bounds: 95 % interval of after minus before, None where there is none.
        p_adjusted: p of no difference, adjusted (Holm) for all scores that are tested together.
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
