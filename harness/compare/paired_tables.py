"""Tables of paired statistics: one metric of one task over the items that two results share."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from harness.compare.comparability import NotComparable
from harness.compare.pairing import PairedSamples, TaskSamples
from harness.errors import InputError, MetricError
from harness.stats.bootstrap import FloatArray, Score, by_cluster
from harness.stats.intervals import ONE_CLUSTER
from harness.stats.pairs import Pairs
from harness.store.records import MetricRecord, TaskRecord
from harness.store.samples import StatisticsRecord

_TOLERANCE = 1e-9

SCORE_NOT_REPRODUCED = NotComparable("the saved statistics do not reproduce the score; run the task again")


class Measure(Protocol):
    """What is needed of a metric to score saved statistics."""

    def score(self, totals: FloatArray) -> FloatArray:
        """Scores [...] from summed statistics [..., statistics]."""
        ...

    def pool(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Statistics of several sets of items as one table."""
        ...

    def gather(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Statistics of several tasks as those of one task with all their items."""
        ...

    def no_interval(self, statistics: FloatArray) -> str | None:
        """Why these statistics may not be resampled, or None."""
        ...


Gather: TypeAlias = Callable[[Sequence[FloatArray]], FloatArray]

LoadMeasure: TypeAlias = Callable[[str, Mapping[str, Any]], Measure]
"""From a metric's registered name and options to the metric: `harness.metrics.load`."""


@dataclass(frozen=True)
class PairedTable:
    """One metric of one task over the shared items.

    Attributes:
        pairs: the rows that are resampled: items, groups of items that the metric scores as one, or clusters.
        items: the same with a row for each shared item; None where the metric's rows are not items.
        clustered: whether rows are clusters of items, or of groups.
        clusters: of groups that a metric scores as one; None where rows are items, or groups are independent.
        gather: puts statistics of several tasks' rows together, for a micro average.
    """

    pairs: Pairs
    items: Pairs | None
    clustered: bool = False
    clusters: Sequence[Hashable] | None = None
    gather: Gather = np.concatenate

    @property
    def resampled(self) -> str:
        """What a row is: "items", "clusters" of them, or "groups" that the metric scores as one."""
        return "clusters" if self.clustered else "groups" if self.items is None else "items"

    def subset(self, chosen: Sequence[int]) -> Pairs | None:
        """Only these items; None where rows are not items."""
        if self.items is None:
            return None
        return Pairs(self.items.before[chosen], self.items.after[chosen], self.items.score, self.items.span)


@dataclass(frozen=True)
class PairedReader:
    """Makes tables of one task from its joined template variants.

    Attributes:
        load: loads metrics.
        before, after: the task's record in each results folder.
        joined: its template variants.
        cluster: label whose equal values mark items that belong together; by default the clusters that the task defines.
    """

    load: LoadMeasure
    before: TaskRecord
    after: TaskRecord
    joined: Sequence[PairedSamples]
    cluster: str | None = None

    def table(self, key: str, variant: str | None = None) -> PairedTable | NotComparable:
        """The metric `key` over all template variants, or in one of them.

        Raises:
            InputError: the items lack the label to cluster by.
        """
        tables = []
        for paired in self.joined:
            if variant is not None and paired.variant != variant:
                continue
            records = [self._record(task, key, paired.variant) for task in (self.before, self.after)]
            table = _table(self.load, key, records, paired)
            if isinstance(table, NotComparable):
                return table
            tables.append(table)
        return self._clustered(_averaged(tables))

    def clusters(self) -> list[Hashable] | None:
        """The cluster of each shared item; None where items are independent.

        Raises:
            InputError: the items lack the label to cluster by.
        """
        first = self.joined[0]
        label = self.cluster
        if label is None:
            given = [before.cluster or after.cluster for before, after in first.pairs]
            if any(given):
                return list(given)
            label = self._grouping_label()
        if label is None:
            return None
        if not self._all_have(label):
            raise InputError(f"The items of {self.before.title} have no label {label!r} to cluster by.", "Name one of the task's labels.")
        return [str((before.labels or {})[label]) for before, _ in first.pairs]

    def _record(self, task: TaskRecord, key: str, variant: str | None) -> MetricRecord:
        return task.metrics[key] if variant is None else task.template_variants[variant].metrics[key]

    def _clustered(self, table: PairedTable) -> PairedTable | NotComparable:
        labels = table.clusters if table.items is None else self.clusters()
        if labels is None or len(set(labels)) == len(labels):
            return table
        if len(set(labels)) == 1:
            return NotComparable(ONE_CLUSTER)
        rows = table.pairs
        pairs = Pairs(by_cluster(rows.before, labels), by_cluster(rows.after, labels), rows.score, rows.span)
        return PairedTable(pairs, table.items, True)

    def _grouping_label(self) -> str | None:
        """For results saved without clusters: the label by which a metric scores several items as one."""
        labels = (record.options.get("by") for record in self.joined[0].before.statistics.values())
        return next((str(label) for label in labels if label and self._all_have(str(label))), None)

    def _all_have(self, label: str) -> bool:
        pairs = self.joined[0].pairs
        return bool(pairs) and all(label in (before.labels or {}) for before, _ in pairs)


def side_by_side(parts: Sequence[Pairs]) -> Pairs:
    """The mean of several scores over the same rows; for plain means, the rows' mean values."""
    if all(part.mean for part in parts):
        before, after = (np.mean([getattr(part, side) for part in parts], axis=0) for side in ("before", "after"))
        return Pairs(before, after, parts[0].score, parts[0].span)
    before, after = (np.concatenate([getattr(part, side) for part in parts], axis=1) for side in ("before", "after"))
    return Pairs(before, after, mean_score(parts), max(part.span for part in parts))


def mean_score(parts: Sequence[Pairs]) -> Score:
    """A score of totals that stand side by side: the mean of each part's score."""
    ends = np.cumsum([part.before.shape[1] for part in parts])[:-1]

    def score(totals: FloatArray) -> FloatArray:
        columns = np.split(totals, ends, axis=-1)
        result: FloatArray = np.mean([part.score(block) for part, block in zip(parts, columns, strict=True)], axis=0)
        return result

    return score


def agrees(score: Any, value: float | None) -> bool:
    """Whether a score computed from saved statistics is the one that the results record."""
    return value is not None and math.isclose(float(score), value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def _table(load: LoadMeasure, key: str, records: Sequence[MetricRecord], paired: PairedSamples) -> PairedTable | NotComparable:
    span = _span(records[0])
    before, after = (side.statistics.get(key) for side in (paired.before, paired.after))
    if before is not None and after is not None:
        return _from_statistics(load, (before, after), records, paired, span)
    values = [_item_means(side, key, record) for side, record in zip((paired.before, paired.after), records, strict=True)]
    if values[0] is None or values[1] is None:
        return NotComparable(f"the results hold no statistics of {key}; run the task again to compare it item by item")
    return _per_item(values[0], values[1], paired, _ratio, span)


def _from_statistics(
    load: LoadMeasure,
    sides: tuple[StatisticsRecord, StatisticsRecord],
    records: Sequence[MetricRecord],
    paired: PairedSamples,
    span: float,
) -> PairedTable | NotComparable:
    before, after = sides
    try:
        measure = load(before.metric, before.options)
    except MetricError as error:
        return NotComparable(error.what)
    both = measure.pool([before.table, after.table])
    first, second = both[: len(before.table)], both[len(before.table) :]
    for table, record in ((first, records[0]), (second, records[1])):
        if reason := measure.no_interval(table):
            return NotComparable(reason)
        if record.value is None:
            return NotComparable(record.reason or "the score is undefined")
        if not agrees(measure.score(table.sum(axis=0)), record.value):
            return SCORE_NOT_REPRODUCED
    if len(first) == len(paired.before.samples) and len(second) == len(paired.after.samples):
        return _per_item(first, second, paired, measure.score, span, measure.gather)
    if paired.same_items and len(first) == len(second):
        clusters = None if before.clusters is None else before.clusters.tolist()
        return PairedTable(Pairs(first, second, measure.score, span), None, clusters=clusters, gather=measure.gather)
    return NotComparable("the metric scores several items as one, and the two results do not hold the same items in the same order")


def _per_item(
    before: FloatArray, after: FloatArray, paired: PairedSamples, score: Score, span: float, gather: Gather = np.concatenate
) -> PairedTable | NotComparable:
    if not paired.places:
        return NotComparable("the two results have no items in common")
    places = np.array(paired.places)
    pairs = Pairs(before[places[:, 0]], after[places[:, 1]], score, span)
    return PairedTable(pairs, pairs, gather=gather)


def _item_means(side: TaskSamples, key: str, record: MetricRecord) -> FloatArray | None:
    """Statistics from the items' own values, where the score is their mean."""
    values = [sample.metrics.get(key) for sample in side.samples]
    present = np.array([value for value in values if value is not None])
    if not values or len(present) < len(values) or not agrees(present.mean(), record.value):
        return None
    return np.stack([present, np.ones_like(present)], axis=1)


def _ratio(totals: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = totals[..., 0] / totals[..., 1]
    return result


def _span(record: MetricRecord) -> float:
    return math.inf if record.low is None or record.high is None else record.high - record.low


def _averaged(tables: Sequence[PairedTable]) -> PairedTable:
    """The mean score over several template variants of the same items; their statistics stand side by side."""
    if len(tables) == 1:
        return tables[0]
    pairs = side_by_side([table.pairs for table in tables])
    return PairedTable(pairs, pairs if all(table.items is not None for table in tables) else None, clusters=tables[0].clusters)
