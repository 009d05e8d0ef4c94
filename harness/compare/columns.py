"""Which columns a leaderboard has: what each task and group is scored by, and one measure of each further family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.compare.families import FAMILIES, absent, first_measure

if TYPE_CHECKING:
    from harness.contract import Family
    from harness.store.runs import MetricRecord, RunRecord, TaskRecord
    from harness.store.signature import Signature


@dataclass(frozen=True, slots=True)
class Owner:
    """A task or group as one run scored it.

    Attributes:
        metrics: its scores.
        headline: those that it names as its headlines.
        without: of families that were asked for, why it has none.
        parts: name and signature of each task that its scores are over.
    """

    metrics: Mapping[str, MetricRecord]
    headline: Sequence[str]
    without: Mapping[Family, str]
    parts: tuple[tuple[str, Signature], ...]

    @property
    def first(self) -> str:
        """What it is scored by."""
        return [*self.headline, *self.metrics][0]


Owners: TypeAlias = dict[tuple[str, bool], Owner]
"""By name, and whether it is a group."""


@dataclass(frozen=True, slots=True)
class Key:
    """What makes a column.

    Attributes:
        name: of a task or group.
        group: whether it is a group.
        metric: as results name it.
        family: what it is a measure of.
        headline: whether the task or group is scored by it.
    """

    name: str
    group: bool
    metric: str
    family: Family
    headline: bool


def owners(records: Sequence[RunRecord], grouped: bool) -> list[Owners]:
    """What each run scored: groups first and none of their tasks, or all tasks and no groups."""
    members = {task for record in records for group in record.groups.values() for task in group.tasks} if grouped else set()
    found = []
    for record in records:
        own: Owners = {}
        for name, group in record.groups.items() if grouped else ():
            tasks = {task: record.tasks[task] for task in sorted(group.tasks) if task in record.tasks}
            own[name, True] = Owner(group.metrics, [], absent(list(tasks.values())), _parts(tasks))
        for name, task in record.tasks.items():
            if name not in members:
                own[name, False] = Owner(task.metrics, task.headline, task.without, _parts({name: task}))
        found.append({key: owner for key, owner in own.items() if owner.metrics})
    return found


def columns_of(owned: Sequence[Owners]) -> list[Key]:
    """All columns: headlines of groups, then of tasks, in order of appearance; then each further family.

    For a family stands the measure that does so in most runs, the first of equally many.
    """
    names = sorted(dict.fromkeys(key for own in owned for key in own), key=lambda key: not key[1])
    headlines: list[Key] = []
    further: dict[Family, list[Key]] = {family: [] for family in FAMILIES}
    for name, group in names:
        there = [own[name, group] for own in owned if (name, group) in own]
        first = {owner.first: owner.metrics[owner.first].family for owner in there if owner.first in owner.metrics}
        headlines += [Key(name, group, metric, family, True) for metric, family in first.items()]
        for family in FAMILIES:
            votes = Counter(metric for owner in there if (metric := first_measure(owner.metrics, owner.headline, family)) is not None)
            if votes and family not in first.values():
                further[family].append(Key(name, group, votes.most_common(1)[0][0], family, False))
    return [*headlines, *(key for keys in further.values() for key in keys)]


def _parts(tasks: Mapping[str, TaskRecord]) -> tuple[tuple[str, Signature], ...]:
    return tuple((name, task.signature.with_fields(items=task.items)) for name, task in tasks.items())
