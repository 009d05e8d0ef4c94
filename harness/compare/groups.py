"""Groups that average one metric over their tasks (MMLU over its subjects), compared as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.compare.comparability import NotComparable
from harness.compare.paired_tables import Gather, mean_score
from harness.stats.bootstrap import FloatArray, by_cluster
from harness.stats.pairs import MacroPairs, Pairs
from harness.store.records import GroupRecord, MetricRecord, TaskRecord
from harness.store.signature import AVERAGE_FIELDS

FEW_CLUSTERS = 20
"""With fewer changed tasks, items are resampled; from here on, whole tasks (Cameron, Gelbach and Miller, 2008, on few clusters)."""


def member_metric(record: MetricRecord, tasks: Sequence[TaskRecord]) -> tuple[str, str] | None:
    """The tasks' metric that a group's score averages, and "micro" or "macro"; None for an average over different metrics."""
    average = record.signature.get("average")
    if average not in ("micro", "macro"):
        return None
    of_tasks = record.signature.without(*AVERAGE_FIELDS)
    name = next((name for name, metric in tasks[0].metrics.items() if metric.signature == of_tasks), None)
    if name is None or any(name not in task.metrics for task in tasks):
        return None
    return name, str(average)


def groups_as_one(
    groups: tuple[Mapping[str, GroupRecord], Mapping[str, GroupRecord]], tasks: Mapping[str, TaskRecord], targets: Sequence[str]
) -> list[str]:
    """Groups that are compared as one: both results have them over the same tasks, all tasks are compared, and by one metric.

    Of nested groups only the largest is taken. A group of which some tasks are targets and some are not is compared task by task.

    Args:
        groups: of the results before and after.
        tasks: the tasks compared, as recorded before.
        targets: names of tasks and groups that the model was fine-tuned on.
    """
    before, after = groups
    covered: set[str] = set()
    names = []
    for name in sorted(before, key=lambda name: -len(before[name].tasks)):
        members = before[name].tasks
        alike = name in after and sorted(after[name].tasks) == sorted(members)
        if not alike or len(members) < 2 or covered & set(members) or not all(member in tasks for member in members):
            continue
        first = next(iter(before[name].metrics.values()), None)
        tuned = {member in targets for member in members}
        if first is not None and member_metric(first, [tasks[member] for member in members]) and (len(tuned) == 1 or name in targets):
            covered |= set(members)
            names.append(name)
    return names


def pooled(average: str, members: Mapping[str, Pairs], gather: Gather = np.concatenate) -> tuple[Pairs, bool] | NotComparable:
    """A group's pairs, and whether their rows are whole tasks.

    Args:
        average: "micro" over all items, or "macro" over the tasks' scores.
        members: pairs of each task.
        gather: puts their statistics together, for all items.
    """
    parts = list(members.values())
    whole = sum(part.changed > 0 for part in parts) >= FEW_CLUSTERS
    span = max(part.span for part in parts)
    if average == "macro":
        return _macro(parts, span, whole), whole
    if len({part.before.shape[1] for part in parts}) > 1:
        return NotComparable("the statistics of its tasks have different shapes")
    labels = [name for name, part in members.items() for _ in range(part.rows)]
    before, after = (gather([getattr(part, side) for part in parts]) for side in ("before", "after"))
    every = Pairs(before, after, parts[0].score, span)
    if whole:
        before, after = by_cluster(before, labels), by_cluster(after, labels)
        return MacroPairs(before, after, parts[0].score, span, parts=(every,), weights=(1.0,), whole=True), whole
    return every, whole


def _macro(parts: Sequence[Pairs], span: float, whole: bool) -> MacroPairs:
    equal = (1.0 / len(parts),) * len(parts)
    if not whole:
        before, after = _blocks([part.before for part in parts]), _blocks([part.after for part in parts])
        return MacroPairs(before, after, mean_score(parts), span, parts=tuple(parts), weights=equal)
    scores, ones = np.array([part.scores for part in parts]), np.ones(len(parts))
    before, after = (np.stack([scores[:, side], ones], axis=1) for side in (0, 1))
    return MacroPairs(before, after, _ratio, span, parts=tuple(parts), weights=equal, whole=True)


def _blocks(tables: Sequence[FloatArray]) -> FloatArray:
    """A block matrix [all rows, all columns], a block for each task, so that one sum holds every task's totals."""
    width = sum(table.shape[1] for table in tables)
    result = np.zeros((sum(map(len, tables)), width))
    row = column = 0
    for table in tables:
        result[row : row + len(table), column : column + table.shape[1]] = table
        row, column = row + len(table), column + table.shape[1]
    return result


def _ratio(totals: FloatArray) -> FloatArray:
    result: FloatArray = totals[..., 0] / totals[..., 1]
    return result
