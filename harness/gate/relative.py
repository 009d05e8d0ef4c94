"""Compare a score with a multiple of the baseline's: the difference with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.compare import groups
from harness.compare.comparability import NotComparable
from harness.compare.metric import ComparisonOptions
from harness.compare.paired_tables import LoadMeasure, PairedReader, PairedTable
from harness.compare.pairing import Results, join_task
from harness.stats.bootstrap import Interval
from harness.stats.contrast import contrast
from harness.stats.pairs import Pairs
from harness.stats.power import IntervalReach

_STREAM = 7_919
"""Separates the random stream of this resampling from the comparison's."""


@dataclass(frozen=True)
class Excess:
    """By how much a score exceeds a multiple of the baseline's.

    Attributes:
        before, after: both scores over the shared items.
        value: after minus the multiple of before.
        interval: 95 % interval of `value`; None where there is none.
        items: number of rows that were resampled.
        observed_error: standard error of `value`, from the observed changes alone.
    """

    before: float
    after: float
    value: float
    interval: Interval | None
    items: int
    observed_error: float = 0.0

    def items_to_decide(self, items: int) -> int | None:
        """Number of items that puts the interval on one side of 0, if the value stays; None where it is 0, or has no interval.

        Args:
            items: current number.
        """
        if self.interval is None:
            return None
        distance = self.value - self.interval.low if self.value > 0 else self.interval.high - self.value
        needed = IntervalReach.of(distance, self.observed_error, items, self.items).items_needed(abs(self.value))
        return None if needed is None else max(items + 1, needed)


def excess(
    sides: tuple[Results, Results], load: LoadMeasure, options: ComparisonOptions, owner: str, key: str, factor: float
) -> Excess | NotComparable:
    """Compute after minus `factor` times before on the same items, with the same kind of interval as the comparison's verdicts.

    Args:
        sides: baseline and candidate.
        load: loads metrics: `harness.metrics.load`.
        options: seed, resamples, clusters.
        owner: a task or group.
        key: a metric that both have.
        factor: of the baseline's score.
    """
    pairs = _pairs(sides, load, options, owner, key)
    if isinstance(pairs, NotComparable):
        return pairs
    before, after = pairs.scores
    if not np.isfinite([before, after]).all():
        return NotComparable("undefined on these items")
    drawn, interval = contrast(pairs, factor=factor, seed=(options.seed, _STREAM), resamples=options.resamples, threads=options.threads)
    observed_error = float(np.nanstd(drawn[1] - factor * drawn[0]))
    return Excess(before, after, after - factor * before, interval, pairs.rows, observed_error)


def _pairs(sides: tuple[Results, Results], load: LoadMeasure, options: ComparisonOptions, owner: str, key: str) -> Pairs | NotComparable:
    before, after = sides
    if owner in before.record.tasks:
        table = _table(sides, load, options, owner, key)
        return table if isinstance(table, NotComparable) else table.pairs
    record = before.record.groups[owner]
    members = [name for name in record.tasks if name in before.record.tasks and name in after.record.tasks]
    averaged = groups.member_metric(record.metrics[key], [before.record.tasks[name] for name in members])
    if averaged is None or len(members) < len(record.tasks):
        return NotComparable("its tasks cannot be resampled together")
    metric, average = averaged
    tables: dict[str, PairedTable] = {}
    for name in members:
        table = _table(sides, load, options, name, metric)
        if isinstance(table, NotComparable):
            return table
        tables[name] = table
    pool = groups.pooled(average, {name: table.pairs for name, table in tables.items()})
    return pool if isinstance(pool, NotComparable) else pool[0]


def _table(
    sides: tuple[Results, Results], load: LoadMeasure, options: ComparisonOptions, name: str, key: str
) -> PairedTable | NotComparable:
    before, after = (side.record.tasks[name] for side in sides)
    return PairedReader(load, before, after, join_task(sides, name), options.clusters.get(name)).table(key)
