"""What rules find: pass, fail, or that the data cannot tell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import InputError
from harness.stats import power
from harness.stats.intervals import ALIKE

Outcome = Literal["fail", "cannot tell", "pass"]
OUTCOMES: tuple[Outcome, ...] = ("fail", "cannot tell", "pass")
"""Worst first."""

_MOST_TOLD = 6
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found.

    Attributes:
        told: why, in one line, with the numbers.
        advice: what would let it tell, one phrase each; empty where it passes or fails.
        parts: where a rule holds for several scores, why those that decide it found what they did, a line each.
        reason: of a pass, what is told even where a rule passes for several scores.
        grave: whether it is told before others of the same outcome.
    """

    outcome: Outcome
    told: str
    advice: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    reason: str = ""
    grave: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """All of the reasons."""
        return (self.told, *self.parts)


class UnfitRuleError(InputError):
    """A rule that does not fit the results: it names what they do not have, or needs a baseline."""


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The worst of several outcomes, at least one."""
    return min(outcomes, key=OUTCOMES.index)


def combined(findings: Sequence[Finding], named: str) -> Finding:
    """One finding for a rule that holds for each of several scores; the worst ones are told.

    Args:
        findings: at least one.
        named: what they are, such as "scores".
    """
    if len(findings) == 1:
        return findings[0]
    outcome = worst([one.outcome for one in findings])
    counts = [f"{number} {name}" for name in OUTCOMES if (number := sum(one.outcome == name for one in findings))]
    head = f"{len(findings)} {named}: {', '.join(counts)}"
    if outcome == "pass":
        reasons = Counter(one.reason for one in findings if one.reason)
        told = [reason if count == len(findings) else f"{reason} ({count} of {len(findings)})" for reason, count in reasons.items()]
        return Finding(outcome, ": ".join([head, "; ".join(told)]) if told else head)
    shown = [one.told for one in sorted(findings, key=lambda one: not one.grave) if one.outcome == outcome]
    more = (f"and {len(shown) - _MOST_TOLD} more",) if len(shown) > _MOST_TOLD else ()
    advice = tuple(dict.fromkeys(part for one in findings for part in one.advice))
    return Finding(outcome, head, advice, (*shown[:_MOST_TOLD], *more), grave=any(one.grave for one in findings))


def number(value: float) -> str:
    """A number with four digits that say something; of shares four decimals; what rounding left of 0 is 0."""
    if abs(value) < 1e-12:
        return "0"
    if 5e-5 <= abs(value) < 1:
        return f"{value:.4f}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def p_text(value: float | None) -> str:
    """A p-value as it is told: `p 0.0237`, `p < 0.0001`."""
    if value is None:
        return "no p"
    return "p < 0.0001" if value < 1e-4 else f"p {value:.4f}"


def bounds(value: float, low: float, high: float) -> str:
    """A value with its interval, as `0.31 [0.29, 0.33]`."""
    return f"{number(value)} [{number(low)}, {number(high)}]"


def items_to_decide(items: int, value: float, interval: tuple[float, float], limit: float, method: str | None = None) -> int | None:
    """How many items would put the interval on one side of a limit, if the score stays: its width shrinks with their root.

    Args:
        items: now.
        value: the score.
        interval: its 95 % interval, which holds the limit.
        limit: to be reached or not.
        method: how the interval was made; that of a share observed to be 0 or 1, or of rows that are all alike, shrinks faster.

    Returns:
        None where the score lies on the limit, so that no number of items would do.
    """
    distance = abs(value - limit)
    if distance == 0:
        return None
    if method == "clopper-pearson" and distance < 1:
        return power.items_without_change(distance, 1.0)
    reach = value - interval[0] if value > limit else interval[1] - value
    if method == ALIKE:
        return max(items + 1, power.Reach.of(reach, 0.0, items, items).needed(distance) or 0)
    return max(items + 1, math.ceil(items * (reach / distance) ** 2 - _ROUNDING))
