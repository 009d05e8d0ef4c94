"""Several systems tuned from one base: what each gained, what it forgot, and which one to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.comparison import Comparison
from harness.report.forgetting.facts import ends
from harness.report.numbers import plain, some


@dataclass(frozen=True)
class Choice:
    """Which system to keep, and why.

    Attributes:
        place: of the system among those compared.
        reason: a few clauses.
    """

    place: int
    reason: str


def names(comparisons: Sequence[Comparison]) -> list[str]:
    """The tuned systems' names, told apart by their digests where two are alike."""
    plain_names = [plain(one.after.name) for one in comparisons]
    return [
        f"{name} ({one.after.digest[:8]})" if plain_names.count(name) > 1 else name
        for name, one in zip(plain_names, comparisons, strict=True)
    ]


def choose(comparisons: Sequence[Comparison]) -> Choice | None:
    """The system that forgot the fewest tasks, and of these likely forgot the fewest; of several the one that gained most.

    Gains are those on the targets; without targets it is the one that lost least.

    None where there is only one, or no number to choose by.
    """
    if len(comparisons) < 2:
        return None
    fewest = min(map(_forgotten, comparisons))
    open_ = [place for place, one in enumerate(comparisons) if _forgotten(one) == fewest]
    by_gain = all(comparisons[place].overall.plasticity is not None for place in open_)
    worth = {place: _worth(comparisons[place], by_gain) for place in open_}
    known = {place: value for place, value in worth.items() if value is not None}
    if not known:
        return None
    best = max(known, key=lambda place: known[place])
    unsure = [names(comparisons)[place] for place in known if place != best and _overlap(comparisons, best, place, by_gain)]
    return Choice(best, _reason(comparisons, best, by_gain, len(open_), unsure))


def _reason(comparisons: Sequence[Comparison], best: int, by_gain: bool, rivals: int, unsure: Sequence[str]) -> str:
    counts = comparisons[best].overall.verdicts
    tasks, parts = sum(counts.values()), []
    if rivals < len(comparisons):
        tied = any(one.overall.verdicts["forgot"] == counts["forgot"] for one in _others(comparisons, best, rivals))
        likely = f", and likely forgot the fewest ({counts['likely forgot']})" if tied else ""
        parts.append(f"it forgot the fewest tasks ({counts['forgot']} of {tasks}){likely}")
    if rivals > 1:
        whose = "it" if rivals == len(comparisons) else "of those that did, it"
        doubt = f", though not surely more than {', '.join(unsure)}" if unsure and by_gain else ""
        doubt = f", though not surely less than {', '.join(unsure)}" if unsure and not by_gain else doubt
        parts.append(f"{whose} {'gained most on the targets' if by_gain else 'lost least'}{doubt}")
    if counts["likely forgot"]:
        parts.append(f"but it likely forgot {_tasks(counts['likely forgot'])}")
    if lost := surely_lost(comparisons[best]):
        parts.append(f"but it surely lost some of {some(lost)}")
    if counts["cannot tell"]:
        parts.append(f"forgetting is inconclusive on {_tasks(counts['cannot tell'])}")
    return "; ".join(parts)


def surely_lost(comparison: Comparison) -> list[str]:
    """Tasks that were not tuned for whose whole interval lies below 0, whatever the margin says."""
    rest = [task for task in comparison.tasks if not task.target]
    return [plain(task.name) for task in rest if any((found := ends(score)) is not None and found[1] < 0 for score in task.headlines)]


def _forgotten(comparison: Comparison) -> tuple[int, int]:
    """How many tasks a system forgot, and how many it likely forgot."""
    verdicts = comparison.overall.verdicts
    return verdicts["forgot"], verdicts["likely forgot"]


def _others(comparisons: Sequence[Comparison], best: int, rivals: int) -> list[Comparison]:
    """Systems that forgot more, or likely forgot more, than the best; none where all are rivals."""
    return [one for one in comparisons if _forgotten(one) > _forgotten(comparisons[best])] if rivals < len(comparisons) else []


def _tasks(count: int) -> str:
    return f"{count} {'task' if count == 1 else 'tasks'}"


def _worth(comparison: Comparison, by_gain: bool) -> float | None:
    found = comparison.overall.plasticity if by_gain else comparison.overall.mean_change
    return found.value if found else None


def _overlap(comparisons: Sequence[Comparison], best: int, other: int, by_gain: bool) -> bool:
    one, two = ((c.overall.plasticity if by_gain else c.overall.mean_change) for c in (comparisons[best], comparisons[other]))
    if one is None or two is None or one.low is None or two.high is None:
        return True
    return one.low <= two.high
