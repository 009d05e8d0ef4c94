"""Findings of rules: pass, fail, or inconclusive, with the numbers behind them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import InputError
from harness.stats import power
from harness.stats.intervals import UNSEEN

Outcome = Literal["fail", "inconclusive", "pass"]
OUTCOMES: tuple[Outcome, ...] = ("fail", "inconclusive", "pass")
"""Worst first."""
OUTCOME_WORDS: Mapping[Outcome, str] = {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive"}
"""For counts, such as `2 passed`."""

_MOST_PARTS = 6
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of one rule.

    Attributes:
        outcome: pass, fail or inconclusive.
        message: why, in one line, with the numbers.
        advice: steps that would make it conclusive, one phrase each; empty where it passes or fails.
        parts: for a rule that covers several scores, the messages of those that determine the outcome.
        reason: of a pass, an explanation that is repeated where the rule covers several scores.
        listed_first: whether it is listed before others of the same outcome.
    """

    outcome: Outcome
    message: str
    advice: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    reason: str = ""
    listed_first: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """The message and its parts."""
        return (self.message, *self.parts)


class UnfitRuleError(InputError):
    """A rule that cannot be applied to the results: it names what they do not have, or needs a baseline."""


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The worst of several outcomes, at least one."""
    return min(outcomes, key=OUTCOMES.index)


def combined(findings: Sequence[Finding], noun: str) -> Finding:
    """Combine findings about several scores into one; the messages of the worst ones are shown.

    Args:
        findings: at least one.
        noun: what they are about, such as "scores".
    """
    if len(findings) == 1:
        return findings[0]
    outcomes = [finding.outcome for finding in findings]
    outcome = worst(outcomes)
    counts = [f"{count} {OUTCOME_WORDS[name]}" for name in OUTCOMES if (count := outcomes.count(name))]
    head = f"{len(findings)} {noun}: {', '.join(counts)}"
    if outcome == "pass":
        reasons = Counter(finding.reason for finding in findings if finding.reason)
        notes = [reason if count == len(findings) else f"{reason} ({count} of {len(findings)})" for reason, count in reasons.items()]
        return Finding(outcome, f"{head} ({'; '.join(notes)})" if notes else head)
    first_to_last = sorted(findings, key=lambda finding: not finding.listed_first)
    shown = [finding.message for finding in first_to_last if finding.outcome == outcome]
    more = (f"and {len(shown) - _MOST_PARTS} more",) if len(shown) > _MOST_PARTS else ()
    advice = tuple(dict.fromkeys(step for finding in findings for step in finding.advice))
    parts = (*shown[:_MOST_PARTS], *more)
    return Finding(outcome, head, advice, parts, listed_first=any(finding.listed_first for finding in findings))


def number(value: float) -> str:
    """A number with four significant digits; of shares four decimals; 0 for what rounding left of it."""
    if abs(value) < 1e-12:
        return "0"
    if 5e-5 <= abs(value) < 1:
        return f"{value:.4f}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def p_text(value: float | None) -> str:
    """An adjusted p-value: `adjusted p = 0.0237`, `adjusted p < 0.0001`."""
    if value is None:
        return "no adjusted p"
    return "adjusted p < 0.0001" if value < 1e-4 else f"adjusted p = {value:.4f}"


def bounds(value: float, low: float, high: float) -> str:
    """A value with its interval, as `0.31 [0.29, 0.33]`."""
    return f"{number(value)} [{number(low)}, {number(high)}]"


def item_count(count: int) -> str:
    """A number of items, as `1 item` or `4,000 items`."""
    return f"{count:,} {'item' if count == 1 else 'items'}"


def items_to_decide(items: int, value: float, interval: tuple[float, float], limit: float, method: str | None = None) -> int | None:
    """Number of items with which the interval would lie on one side of a limit, if the score stays: its width shrinks with their root.

    Args:
        items: current number.
        value: the score.
        interval: its 95 % interval, which contains the limit.
        limit: the threshold.
        method: how the interval was computed; that of a share observed to be 0 or 1, or of rows that are all equal, shrinks faster.

    Returns:
        None where the score lies on the limit, so that no number of items suffices.
    """
    distance = abs(value - limit)
    if distance == 0:
        return None
    if method == "clopper-pearson" and distance < 1:
        return power.items_without_change(distance, 1.0)
    reach = value - interval[0] if value > limit else interval[1] - value
    if method == UNSEEN:
        return max(items + 1, power.IntervalReach.of(reach, 0.0, items, items).items_needed(distance) or 0)
    return max(items + 1, math.ceil(items * (reach / distance) ** 2 - _ROUNDING))
