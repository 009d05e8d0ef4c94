"""Columns of a leaderboard: the headline of each task and group, and one metric for each further family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.compare.families import FAMILIES, absent, first_measure

if TYPE_CHECKING:
    from harness.compare.comparability import SignatureParts
    from harness.contract import Family
    from harness.store.records import MetricRecord, RunRecord, TaskRecord


@dataclass(frozen=True, slots=True)
class Owner:
    """A task or group with its scores in one run.

    Attributes:
        metrics: its scores.
        headline: names of its headline metrics.
        without: for families that were requested, why it has none.
        parts: name and signature of each task that its scores cover.
    """

    metrics: Mapping[str, MetricRecord]
    headline: Sequence[str]
    without: Mapping[Family, str]
    parts: SignatureParts

    @property
    def first(self) -> str:
        """Name of the first headline, or of the first metric where it names none."""
        return [*self.headline, *self.metrics][0]


Owners: TypeAlias = dict[tuple[str, bool], Owner]
"""By name, and whether it is a group."""


@dataclass(frozen=True, slots=True)
class Key:
    """What identifies a column.

    Attributes:
        name: of a task or group.
        group: whether it is a group.
        metric: as results name it.
        family: what it measures.
        headline: whether it is the headline of the task or group.
    """

    name: str
    group: bool
    metric: str
    family: Family
    headline: bool


def owners(records: Sequence[RunRecord], grouped: bool) -> list[Owners]:
    """What each run scored: groups first and none of their tasks, or all tasks and no groups."""
    members = {task for record in records for group in record.groups.values() for task in group.tasks} if grouped else set()
    by_run = []
    for record in records:
        scored: Owners = {}
        for name, group in record.groups.items() if grouped else ():
            tasks = {task: record.tasks[task] for task in sorted(group.tasks) if task in record.tasks}
            scored[name, True] = Owner(group.metrics, [], absent(list(tasks.values())), _parts(tasks))
        for name, task in record.tasks.items():
            if name not in members:
                scored[name, False] = Owner(task.metrics, task.headline, task.without, _parts({name: task}))
        by_run.append({key: owner for key, owner in scored.items() if owner.metrics})
    return by_run


def columns_of(owned: Sequence[Owners]) -> list[Key]:
    """All columns: headlines of groups, then of tasks, in order of appearance; then each further family.

    A family is represented by the metric that represents it in most runs, the first of equally many.
    """
    names = sorted(dict.fromkeys(key for scored in owned for key in scored), key=lambda key: not key[1])
    headlines: list[Key] = []
    further: dict[Family, list[Key]] = {family: [] for family in FAMILIES}
    for name, group in names:
        present = [scored[name, group] for scored in owned if (name, group) in scored]
        first = {owner.first: owner.metrics[owner.first].family for owner in present if owner.first in owner.metrics}
        headlines += [Key(name, group, metric, family, True) for metric, family in first.items()]
        for family in FAMILIES:
            measures = (first_measure(owner.metrics, owner.headline, family) for owner in present)
            votes = Counter(metric for metric in measures if metric is not None)
            if votes and family not in first.values():
                further[family].append(Key(name, group, votes.most_common(1)[0][0], family, False))
    return [*headlines, *(key for keys in further.values() for key in keys)]


def _parts(tasks: Mapping[str, TaskRecord]) -> SignatureParts:
    return tuple((name, task.signature.with_fields(items=task.items)) for name, task in tasks.items())
