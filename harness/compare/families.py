"""Which measure of a task or group stands for each of the seven families, and why some have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from harness.contract import Family

if TYPE_CHECKING:
    from harness.store.runs import MetricRecord, TaskRecord

FAMILIES: tuple[Family, ...] = get_args(Family)

UNRANKED: Mapping[Family, str] = {"efficiency": "machines differ"}
"""Families whose numbers are shown but not ranked, with the reason."""


def first_measure(metrics: Mapping[str, MetricRecord], headline: Sequence[str], family: Family) -> str | None:
    """The measure that stands for a family: one with a value before one without, then a headline, then the first.

    Args:
        metrics: of a task or group, in their order.
        headline: the metrics that the task names as its headlines.
        family: the family.
    """
    own = [name for name, record in metrics.items() if record.family == family]
    return min(own, key=lambda name: (metrics[name].value is None, name not in headline), default=None)


def absent(tasks: Sequence[TaskRecord]) -> dict[Family, str]:
    """Of families that were asked for, why a group over these tasks has none: some task, or every one, has none."""
    reasons: dict[Family, str] = {}
    for family in FAMILIES:
        found = [task.without[family] for task in tasks if family in task.without]
        if found:
            reasons[family] = found[0] if len(found) == len(tasks) else f"{len(found)} of {len(tasks)} tasks have none: {found[0]}"
    return reasons
