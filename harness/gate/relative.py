"""A score held against a multiple of the baseline's, with the interval of what is between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.report import groups
from harness.report.kept import LoadMeasure, Reader, Results, Table, join
from harness.report.scored import Plan
from harness.stats.bootstrap import Interval
from harness.stats.contrast import contrast
from harness.stats.pairs import Pairs
from harness.stats.power import Reach

_STREAM = 7_919
"""Sets this resampling apart from the comparison's own."""


@dataclass(frozen=True)
class Excess:
    """What a score has beyond a multiple of the baseline's.

    Attributes:
        before, after: both scores over the shared items.
        value: after less the multiple of before.
        interval: 95 % interval of it; None where it has none.
        items: rows that were resampled.
        scatter: standard error of the value, by what was seen.
    """

    before: float
    after: float
    value: float
    interval: Interval | None
    items: int
    scatter: float = 0.0

    def items_to_decide(self, items: int) -> int | None:
        """How many items would put the interval on one side of 0, if the value stays; None where it is 0, or has no interval.

        Args:
            items: now.
        """
        if self.interval is None:
            return None
        distance = self.value - self.interval.low if self.value > 0 else self.interval.high - self.value
        needed = Reach.of(distance, self.scatter, items, self.items).needed(abs(self.value))
        return None if needed is None else max(items + 1, needed)


def excess(sides: tuple[Results, Results], load: LoadMeasure, plan: Plan, owner: str, key: str, factor: float) -> Excess | str:
    """After less `factor` times before, both systems on the same items, with the interval that the comparison's verdicts have.

    Args:
        sides: baseline and candidate.
        load: finds metrics.
        plan: seed, resamples, clusters.
        owner: a task or group.
        key: a metric that both have.
        factor: of the baseline's score.

    Returns:
        A sentence where the two cannot be compared item by item.
    """
    pairs = _pairs(sides, load, plan, owner, key)
    if isinstance(pairs, str):
        return pairs
    before, after = pairs.scores
    if not np.isfinite([before, after]).all():
        return "undefined on these items"
    drawn, interval = contrast(pairs, factor=factor, seed=(plan.seed, _STREAM), resamples=plan.resamples, threads=plan.threads)
    scatter = float(np.nanstd(drawn[1] - factor * drawn[0]))
    return Excess(before, after, after - factor * before, interval, pairs.rows, scatter)


def _pairs(sides: tuple[Results, Results], load: LoadMeasure, plan: Plan, owner: str, key: str) -> Pairs | str:
    before, after = sides
    if owner in before.record.tasks:
        table = _table(sides, load, plan, owner, key)
        return table if isinstance(table, str) else table.pairs
    record = before.record.groups[owner]
    members = [name for name in record.tasks if name in before.record.tasks and name in after.record.tasks]
    average = groups.member_metric(record.metrics[key], [before.record.tasks[name] for name in members])
    if average is None or len(members) < len(record.tasks):
        return "its tasks cannot be resampled as one"
    tables = {name: _table(sides, load, plan, name, average[0]) for name in members}
    if (reason := next((one for one in tables.values() if isinstance(one, str)), None)) is not None:
        return reason
    found = groups.pooled(average[1], {name: one.pairs for name, one in tables.items() if isinstance(one, Table)})
    return found if isinstance(found, str) else found[0]


def _table(sides: tuple[Results, Results], load: LoadMeasure, plan: Plan, name: str, key: str) -> Table | str:
    before, after = sides
    records = before.record.tasks[name], after.record.tasks[name]
    joined = [join(before.kept(name, own), after.kept(name, own), own) for own in records[0].wordings or [None]]
    return Reader(load, *records, joined, plan.clusters.get(name)).table(key)
