"""The metric that represents each of the seven families for a task or group, and why some families have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from harness.contract import Family

if TYPE_CHECKING:
    from harness.store.records import MetricRecord, TaskRecord

FAMILIES: tuple[Family, ...] = get_args(Family)

UNRANKED: Mapping[Family, str] = {"efficiency": "machines differ"}
"""Families whose numbers are shown but not ranked, with the reason."""


def first_measure(metrics: Mapping[str, MetricRecord], headline: Sequence[str], family: Family) -> str | None:
    """The metric that represents a family: one with a value before one without, then a headline, then the first.

    Args:
        metrics: of a task or group, in their order.
        headline: the metrics that the task names as its headlines.
        family: the family.
    """
    names = [name for name, record in metrics.items() if record.family == family]
    return min(names, key=lambda name: (metrics[name].value is None, name not in headline), default=None)


def absent(tasks: Sequence[TaskRecord]) -> dict[Family, str]:
    """For families that were requested, why a group over these tasks has none: some or all tasks have none."""
    reasons: dict[Family, str] = {}
    for family in FAMILIES:
        missing = [task.without[family] for task in tasks if family in task.without]
        if missing:
            count = f"{len(missing)} of {len(tasks)} tasks have none: "
            reasons[family] = missing[0] if len(missing) == len(tasks) else f"{count}{missing[0]}"
    return reasons
