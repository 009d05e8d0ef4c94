"""Two results folders side by side: the same items of both, and each metric's statistics over them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from harness.errors import InputError, MetricError
from harness.report.leaderboard import differences
from harness.stats.bootstrap import FloatArray, Score, by_cluster
from harness.stats.paired import Pairs
from harness.store import runs, samples
from harness.store.runs import MetricRecord, RunRecord, TaskRecord
from harness.store.samples import SampleRecord, StatisticsRecord
from harness.store.signature import Signature

_TOLERANCE = 1e-9

ONE_CLUSTER = "all items are of one cluster, which says nothing of others"
DISAGREE = "the statistics kept do not give the score beside them; run the task again"


class Measure(Protocol):
    """What is needed of a metric to score kept statistics."""

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
        """Why these may not be resampled, or None."""
        ...


Gather: TypeAlias = Callable[[Sequence[FloatArray]], FloatArray]

LoadMeasure: TypeAlias = Callable[[str, Mapping[str, Any]], Measure]
"""From a metric's registered name and options to the metric: `harness.metrics.load`."""


@dataclass(frozen=True)
class Kept:
    """One task in one wording as one system answered it."""

    samples: list[SampleRecord]
    statistics: Mapping[str, StatisticsRecord]


@dataclass(frozen=True)
class Results:
    """One results folder."""

    folder: Path
    record: RunRecord

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read the run in `path`, a folder or its `results.json`; samples are read when they are asked for.

        Raises:
            StorageError: there is none, or it is not readable.
        """
        return cls(path if path.is_dir() else path.parent, runs.read(path))

    def kept(self, task: str, wording: str | None) -> Kept:
        """Samples and statistics of one task; `wording` where there are several.

        Raises:
            StorageError: a file is missing, or is not the one that the results record.
        """
        place = task if wording is None else f"{task}@{wording}"
        files = self.record.tasks[task].files
        return Kept(samples.read(self.folder, place, files), samples.read_statistics(self.folder, place, files))


@dataclass(frozen=True)
class Joined:
    """One task in one wording in both results, joined by the items' content.

    Attributes:
        wording: its name, or None where there is only one.
        before, after: what each system's results keep.
        places: of each shared item in `before` and in `after`.
        only_before, only_after: ids of items that the other has not.
    """

    wording: str | None
    before: Kept
    after: Kept
    places: tuple[tuple[int, int], ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    @property
    def same_items(self) -> bool:
        """Whether both hold the same items in the same order."""
        whole = not self.only_before and not self.only_after
        return whole and all(first == second for first, second in self.places)

    @cached_property
    def pairs(self) -> list[tuple[SampleRecord, SampleRecord]]:
        """Both samples of each shared item."""
        return [(self.before.samples[first], self.after.samples[second]) for first, second in self.places]


def join(before: Kept, after: Kept, wording: str | None = None) -> Joined:
    """Pair the items of equal content digest; of items that occur more than once, the first with the first and so on."""
    theirs = {key: place for place, key in enumerate(_keys(after.samples))}
    places = [(place, theirs.pop(key)) for place, key in enumerate(_keys(before.samples)) if key in theirs]
    matched = {place for place, _ in places}
    lonely = tuple(sample.id for place, sample in enumerate(before.samples) if place not in matched)
    return Joined(wording, before, after, tuple(places), lonely, tuple(after.samples[place].id for place in sorted(theirs.values())))


def _keys(kept: Sequence[SampleRecord]) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    keys = []
    for sample in kept:
        keys.append((sample.digest, seen[sample.digest]))
        seen[sample.digest] += 1
    return keys


def refuse_unlike(before: Results, after: Results, tasks: Sequence[str]) -> None:
    """Make sure that what is compared was measured alike; which items were asked may differ, they are joined.

    Raises:
        InputError: a task or a metric that both have carries another signature; says what differs.
    """
    unlike = {}
    for name in tasks:
        one, other = before.record.tasks[name], after.record.tasks[name]
        shared = [key for key in one.metrics if key in other.metrics]
        mine = [("", _without_items(other.signature)), *((key, other.metrics[key].signature) for key in shared)]
        theirs = [("", _without_items(one.signature)), *((key, one.metrics[key].signature) for key in shared)]
        found = differences(tuple(mine), tuple(theirs))
        if found:
            unlike[name] = found
    if unlike:
        name, notes = next(iter(unlike.items()))
        more = f", and so with {len(unlike) - 1} more tasks" if len(unlike) > 1 else ""
        raise InputError(
            f"{name} was not measured alike in {before.folder} and {after.folder} ({'; '.join(notes)}){more}.",
            f"Run it again with the same settings, or leave it out: {', '.join(unlike)}.",
        )
    for name in tasks:
        _refuse_other_ids(before, after, name)


def _refuse_other_ids(before: Results, after: Results, name: str) -> None:
    """Make sure that items of equal content have equal ids where something was drawn by an item's id.

    Raises:
        InputError: they have not, so that the same item was asked with other examples, or sampled or perturbed otherwise.
    """
    one, other = before.record.tasks[name], after.record.tasks[name]
    if not _drawn_by_id(one) or one.signature.get("data_digest") == other.signature.get("data_digest"):
        return
    wording = next(iter(one.wordings), None)
    pairs = join(before.kept(name, wording), after.kept(name, wording), wording).pairs
    moved = [(mine, theirs) for mine, theirs in pairs if mine.id != theirs.id]
    if moved:
        mine, theirs = moved[0]
        raise InputError(
            f"{name} was not measured alike in {before.folder} and {after.folder}: {len(moved)} of {len(pairs)} items have other ids "
            f"({mine.id!r} and {theirs.id!r} the first), by which examples, samples or perturbations were drawn.",
            "Give items an id of their own with data.id, and run both again.",
        )


def _drawn_by_id(task: TaskRecord) -> bool:
    return any(field in task.signature for field in ("shot_seed", "sampling_seed")) or bool(task.disturbances)


def _without_items(signature: Signature) -> Signature:
    return signature.without("data_digest", "items")


@dataclass(frozen=True)
class Table:
    """One metric of one task over the shared items.

    Attributes:
        pairs: the rows that are resampled: items, groups that the metric judges as one, or clusters.
        items: the same with a row for each shared item; None where the metric's rows are no items.
        clustered: whether rows are clusters of items, or of groups.
        clusters: of the groups that a metric judges as one; None where rows are items, or groups stand alone.
        gather: puts statistics of several tasks' rows together, for a micro average.
    """

    pairs: Pairs
    items: Pairs | None
    clustered: bool = False
    clusters: Sequence[Hashable] | None = None
    gather: Gather = np.concatenate

    @property
    def resampled(self) -> str:
        """What a row is: "items", "clusters" of them, or "groups" that the metric judges as one."""
        return "clusters" if self.clustered else "groups" if self.items is None else "items"

    def subset(self, chosen: Sequence[int]) -> Pairs | None:
        """These items alone; None where rows are no items."""
        if self.items is None:
            return None
        return Pairs(self.items.before[chosen], self.items.after[chosen], self.items.score, self.items.span)


@dataclass(frozen=True)
class Reader:
    """Makes tables of one task out of its wordings, each joined.

    Attributes:
        load: finds metrics.
        before, after: what the results say of the task.
        joined: its wordings.
        cluster: label that says which items belong together; by default the cluster that the task gave them.
    """

    load: LoadMeasure
    before: TaskRecord
    after: TaskRecord
    joined: Sequence[Joined]
    cluster: str | None = None

    def table(self, key: str, wording: str | None = None) -> Table | str:
        """The metric `key` over all wordings, or in one of them; a sentence where its items cannot be compared."""
        chosen = [one for one in self.joined if wording is None or one.wording == wording]
        tables = []
        for one in chosen:
            records = [self._record(task, key, one.wording) for task in (self.before, self.after)]
            made = _table(self.load, key, records, one)
            if isinstance(made, str):
                return made
            tables.append(made)
        return self._clustered(_blend(tables))

    def _record(self, task: TaskRecord, key: str, wording: str | None) -> MetricRecord:
        return task.metrics[key] if wording is None else task.wordings[wording].metrics[key]

    def _clustered(self, table: Table) -> Table | str:
        labels = table.clusters if table.items is None else self.clusters()
        if labels is None or len(set(labels)) == len(labels):
            return table
        if len(set(labels)) == 1:
            return ONE_CLUSTER
        rows = table.pairs
        pairs = Pairs(by_cluster(rows.before, labels), by_cluster(rows.after, labels), rows.score, rows.span)
        return Table(pairs, table.items, True)

    def clusters(self) -> list[Hashable] | None:
        """The cluster of each shared item; None where items stand alone."""
        first = self.joined[0]
        name = self.cluster
        if name is None:
            own = [one.cluster or other.cluster for one, other in first.pairs]
            if any(own):
                return list(own)
            name = self._judged_by()
        if name is None:
            return None
        if not self._has(name):
            raise InputError(f"The items of {self.before.title} have no label {name!r} to cluster by.", "Name one of the task's labels.")
        return [str((one.labels or {})[name]) for one, _ in first.pairs]

    def _judged_by(self) -> str | None:
        """For results that keep no clusters: the label by which a metric judges several items as one."""
        judged = (record.options.get("by") for record in self.joined[0].before.statistics.values())
        return next((str(by) for by in judged if by and self._has(str(by))), None)

    def _has(self, name: str) -> bool:
        return bool(self.joined[0].pairs) and all(name in (one.labels or {}) for one, _ in self.joined[0].pairs)


def _table(load: LoadMeasure, key: str, records: Sequence[MetricRecord], joined: Joined) -> Table | str:
    span = _span(records[0])
    kept = [side.statistics.get(key) for side in (joined.before, joined.after)]
    if kept[0] is not None and kept[1] is not None:
        return _from_statistics(load, kept[0], kept[1], records, joined, span)
    values = [_item_means(side, key, record) for side, record in zip((joined.before, joined.after), records, strict=True)]
    if values[0] is None or values[1] is None:
        return f"these results keep no statistics of {key}; run the task again to compare it item by item"
    return _per_item(values[0], values[1], joined, _ratio, span)


def _from_statistics(
    load: LoadMeasure, before: StatisticsRecord, after: StatisticsRecord, records: Sequence[MetricRecord], joined: Joined, span: float
) -> Table | str:
    try:
        measure = load(before.metric, before.options)
    except MetricError as error:
        return error.what
    both = measure.pool([before.table, after.table])
    first, second = both[: len(before.table)], both[len(before.table) :]
    for table, record in ((first, records[0]), (second, records[1])):
        if reason := measure.no_interval(table):
            return reason
        if record.value is None:
            return record.reason or "it has no value"
        if not _agrees(measure.score(table.sum(axis=0)), record.value):
            return DISAGREE
    if len(first) == len(joined.before.samples) and len(second) == len(joined.after.samples):
        return _per_item(first, second, joined, measure.score, span, measure.gather)
    if joined.same_items and len(first) == len(second):
        clusters = None if before.clusters is None else before.clusters.tolist()
        return Table(Pairs(first, second, measure.score, span), None, clusters=clusters, gather=measure.gather)
    return "the metric judges several items as one, and the two results do not hold the same items in the same order"


def _per_item(
    before: FloatArray, after: FloatArray, joined: Joined, score: Score, span: float, gather: Gather = np.concatenate
) -> Table | str:
    if not joined.places:
        return "the two results have no item in common"
    places = np.array(joined.places)
    pairs = Pairs(before[places[:, 0]], after[places[:, 1]], score, span)
    return Table(pairs, pairs, gather=gather)


def _item_means(kept: Kept, key: str, record: MetricRecord) -> FloatArray | None:
    """Statistics from the items' own values, where the score is their mean."""
    values = [sample.metrics.get(key) for sample in kept.samples]
    present = np.array([value for value in values if value is not None])
    if not values or len(present) < len(values) or not _agrees(present.mean(), record.value):
        return None
    return np.stack([present, np.ones_like(present)], axis=1)


def _agrees(score: Any, value: float | None) -> bool:
    return value is not None and math.isclose(float(score), value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def _ratio(totals: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = totals[..., 0] / totals[..., 1]
    return result


def _span(record: MetricRecord) -> float:
    return math.inf if record.low is None or record.high is None else record.high - record.low


def _blend(tables: Sequence[Table]) -> Table:
    """The mean score over several wordings of the same items; their statistics stand side by side."""
    if len(tables) == 1:
        return tables[0]
    pairs = side_by_side([table.pairs for table in tables])
    return Table(pairs, pairs if all(table.items is not None for table in tables) else None, clusters=tables[0].clusters)


def side_by_side(parts: Sequence[Pairs]) -> Pairs:
    """The mean of several scores over the same rows; of plain means, the rows' mean values."""
    if all(part.mean for part in parts):
        before, after = (np.mean([getattr(part, side) for part in parts], axis=0) for side in ("before", "after"))
        return Pairs(before, after, parts[0].score, parts[0].span)
    before, after = (np.concatenate([getattr(part, side) for part in parts], axis=1) for side in ("before", "after"))
    return Pairs(before, after, mean_score(parts), max(part.span for part in parts))


def mean_score(parts: Sequence[Pairs]) -> Score:
    """A score of totals side by side: the mean of the parts' own."""
    ends = np.cumsum([part.before.shape[1] for part in parts])[:-1]

    def score(totals: FloatArray) -> FloatArray:
        split = np.split(totals, ends, axis=-1)
        result: FloatArray = np.mean([part.score(own) for part, own in zip(parts, split, strict=True)], axis=0)
        return result

    return score
