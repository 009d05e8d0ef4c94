"""Recommend which of several systems fine-tuned from one base to keep: what each gained and what it forgot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.comparison import RunComparison
from harness.compare.highlights import ends
from harness.util.text import plain, some


@dataclass(frozen=True)
class Recommendation:
    """The system to keep.

    Attributes:
        place: its index among the comparisons.
        reason: a few clauses.
    """

    place: int
    reason: str


def names(comparisons: Sequence[RunComparison]) -> list[str]:
    """The tuned systems' names, with part of their digests where several share a name."""
    plain_names = [plain(comparison.after.name) for comparison in comparisons]
    return [
        f"{name} ({comparison.after.digest[:8]})" if plain_names.count(name) > 1 else name
        for name, comparison in zip(plain_names, comparisons, strict=True)
    ]


def choose(comparisons: Sequence[RunComparison]) -> Recommendation | None:
    """The system that forgot the fewest tasks; of equals that likely forgot the fewest; of these the one that gained most.

    Gains are those on the targets; without targets it is the system that lost least.

    Returns:
        None where there is only one system, or no number to choose by.
    """
    if len(comparisons) < 2:
        return None
    fewest = min(map(_forgotten, comparisons))
    rivals = [place for place, comparison in enumerate(comparisons) if _forgotten(comparison) == fewest]
    by_gain = all(comparisons[place].overall.plasticity is not None for place in rivals)
    gains = {place: _gain(comparisons[place], by_gain) for place in rivals}
    known = {place: value for place, value in gains.items() if value is not None}
    if not known:
        return None
    best = max(known, key=lambda place: known[place])
    unsure = [names(comparisons)[place] for place in known if place != best and _overlap(comparisons, best, place, by_gain)]
    return Recommendation(best, _reason(comparisons, best, by_gain, len(rivals), unsure))


def _reason(comparisons: Sequence[RunComparison], best: int, by_gain: bool, rivals: int, unsure: Sequence[str]) -> str:
    counts = comparisons[best].overall.verdicts
    tasks, parts = sum(counts.values()), []
    if rivals < len(comparisons):
        tied = any(other.overall.verdicts["forgot"] == counts["forgot"] for other in _worse(comparisons, best, rivals))
        likely = f", and likely forgot the fewest ({counts['likely forgot']})" if tied else ""
        parts.append(f"it forgot the fewest tasks ({counts['forgot']} of {tasks}){likely}")
    if rivals > 1:
        subject = "it" if rivals == len(comparisons) else "of those that did, it"
        doubt = f", though not significantly {'more' if by_gain else 'less'} than {', '.join(unsure)}" if unsure else ""
        parts.append(f"{subject} {'gained most on the targets' if by_gain else 'lost least'}{doubt}")
    if counts["likely forgot"]:
        parts.append(f"but it likely forgot {_tasks(counts['likely forgot'])}")
    if lost := significant_losses(comparisons[best]):
        parts.append(f"but it lost significantly on {some(lost)}")
    if counts["inconclusive"]:
        parts.append(f"forgetting is inconclusive on {_tasks(counts['inconclusive'])}")
    return "; ".join(parts)


def significant_losses(comparison: RunComparison) -> list[str]:
    """Names of tasks other than targets where the whole interval of a headline's change lies below 0, whatever the margin."""
    rest = [task for task in comparison.tasks if not task.target]
    intervals = {plain(task.name): [ends(score) for score in task.headlines] for task in rest}
    return [name for name, changes in intervals.items() if any(change is not None and change[1] < 0 for change in changes)]


def _forgotten(comparison: RunComparison) -> tuple[int, int]:
    """How many tasks a system forgot, and how many it likely forgot."""
    verdicts = comparison.overall.verdicts
    return verdicts["forgot"], verdicts["likely forgot"]


def _worse(comparisons: Sequence[RunComparison], best: int, rivals: int) -> list[RunComparison]:
    """Systems that forgot more, or likely forgot more, than the best; none where all are rivals."""
    if rivals == len(comparisons):
        return []
    return [comparison for comparison in comparisons if _forgotten(comparison) > _forgotten(comparisons[best])]


def _tasks(count: int) -> str:
    return f"{count} {'task' if count == 1 else 'tasks'}"


def _gain(comparison: RunComparison, by_gain: bool) -> float | None:
    estimate = comparison.overall.plasticity if by_gain else comparison.overall.mean_change
    return estimate.value if estimate else None


def _overlap(comparisons: Sequence[RunComparison], best: int, other: int, by_gain: bool) -> bool:
    sides = (comparisons[best].overall, comparisons[other].overall)
    first, second = (overall.plasticity if by_gain else overall.mean_change for overall in sides)
    if first is None or second is None or first.low is None or second.high is None:
        return True
    return first.low <= second.high
