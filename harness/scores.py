"""Scores with their intervals: of a task in one wording or several, and of a group of tasks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.contract import Family
from harness.evaluation.signatures import average_signature
from harness.metrics.base import FloatArray, Metric
from harness.stats.bootstrap import Interval, interval_of, is_ratio, reflected, replicates
from harness.stats.intervals import NO_SCATTER, Codes, Part, all_clusters, interval, mean_interval
from harness.store.runs import GroupRecord, MetricRecord, SpreadRecord
from harness.store.signature import Signature

if TYPE_CHECKING:
    from harness.tasks.schema import Aggregate, Group


@dataclass(frozen=True)
class Score:
    """One metric over one task's items.

    Attributes:
        metric: how the answers were judged.
        statistics: [items, statistics]; of several wordings side by side, [items, wordings x statistics].
        signature: what decides the number.
        seed: of the resampling.
        wordings: how many stand side by side; the score is their mean.
        family: what it is a measure of, where not what the metric is.
        clusters: number of each row's cluster [items], the same in all of a task's scores; None where items stand alone.
    """

    metric: Metric[Any]
    statistics: FloatArray
    signature: Signature
    seed: int
    wordings: int = 1
    family: Family | None = None
    clusters: Codes | None = None

    @property
    def parts(self) -> list[FloatArray]:
        """The statistics [items, statistics] of each wording."""
        return np.split(self.statistics, self.wordings, axis=1)

    @cached_property
    def value(self) -> float:
        """The score over all items."""
        return float(self.score(self.statistics.sum(axis=0)))

    @property
    def no_interval(self) -> str | None:
        """Why the items cannot be resampled, or None."""
        return next((reason for part in self.parts if (reason := self.metric.no_interval(part))), None)

    def score(self, totals: FloatArray) -> FloatArray:
        """Scores [...] from summed statistics: the mean over the wordings."""
        result: FloatArray = np.mean(self._each(totals), axis=0)
        return result

    def _each(self, totals: FloatArray) -> FloatArray:
        """Scores of each wording: [wordings, ...]."""
        return np.stack([self.metric.score(part) for part in np.split(totals, self.wordings, axis=-1)])

    def _spread(self, totals: FloatArray) -> FloatArray:
        result: FloatArray = np.ptp(self._each(totals), axis=0)
        return result

    @property
    def refused(self) -> str | None:
        """Why these items have no score, or None."""
        return next((reason for part in self.parts if (reason := self.metric.refused(part))), None)

    @cached_property
    def part(self) -> Part:
        """What is resampled. Means over the same items in several wordings are one mean of the items' mean values."""
        weights = [part[:, 1:] for part in self.parts]
        plain = self.wordings > 1 and weights[0].shape[1] == 1 and is_ratio(self.metric.score)
        if plain and all(np.array_equal(weights[0], one) for one in weights):
            values = np.mean([part[:, 0] for part in self.parts], axis=0)
            return Part(np.column_stack([values, weights[0]]), self.metric.score, self.clusters, self._range)
        return Part(self.statistics, self.score, self.clusters, self._range)

    @property
    def _range(self) -> tuple[float, float]:
        return self.metric.low, self.metric.high

    @property
    def clustered(self) -> int | None:
        """How many clusters are resampled; None where rows stand alone."""
        if self.clusters is None:
            return None
        count = len(np.unique(self.clusters))
        return count if count < len(self.clusters) else None

    def _interval(self) -> Interval | None:
        """Of the score, within the metric's range."""
        part, metric = self.part, self.metric
        if metric.pulled:
            found = interval_of(replicates(part.resampled, part.score, seed=self.seed)) if len(part.resampled) > 1 else None
            return reflected(found, self.value, (metric.low, metric.high)) if found and found.low < found.high else found
        found = interval(part.statistics, part.score, clusters=part.clusters, bounds=self._range, seed=self.seed)
        return found and Interval(max(found.low, metric.low), min(found.high, metric.high), found.method)

    def record(self) -> MetricRecord:
        """The score as results keep it."""
        if refused := self.refused:
            record = metric_record(self.metric, float("nan"), None, len(self.statistics), self.signature, refused)
        else:
            reason, bounds = self.no_interval, None
            if reason is None:
                reason, bounds = self._certainty()
            record = metric_record(self.metric, self.value, bounds, len(self.statistics), self.signature, reason, self._spread_record())
        beside = dict(self.metric.beside(self.statistics)) if self.wordings == 1 else {}
        return record.model_copy(update={"family": self.family or record.family, "beside": beside, "clusters": self.clustered})

    @property
    def too_few(self) -> str | None:
        """Why a single cluster gives no interval; None where there are several, or one item alone."""
        alone = len(self.statistics) > 1 and self.clusters is not None and len(np.unique(self.clusters)) == 1
        return "all items are of one cluster, which says nothing of others" if alone else None

    def _certainty(self) -> tuple[str | None, Interval | None]:
        """The interval, or the reason why there is none."""
        if reason := self.too_few:
            return reason, None
        bounds = self._interval()
        if bounds and bounds.low == bounds.high:
            return NO_SCATTER, None
        return None, bounds

    def _spread_record(self) -> SpreadRecord | None:
        each = self._each(self.statistics.sum(axis=0))
        if self.wordings == 1 or not np.isfinite(each).all():
            return None
        rows = Part(self.statistics, self._spread, self.clusters).resampled
        bounds = None if self.no_interval or self.too_few else interval_of(replicates(rows, self._spread, seed=self.seed))
        ci = (bounds.low, bounds.high) if bounds else None
        return SpreadRecord(wordings=self.wordings, lowest=float(each.min()), highest=float(each.max()), spread=float(np.ptp(each)), ci=ci)


def blend(scores: Sequence[Score]) -> Score:
    """The mean score of several wordings of the same items; their items are resampled together."""
    first = scores[0]
    if len(scores) == 1:
        return first
    pooled = first.metric.pool([score.statistics for score in scores])
    parts = np.split(pooled, len(scores))
    return Score(first.metric, np.concatenate(parts, axis=1), first.signature, first.seed, len(scores), first.family, first.clusters)


@dataclass(frozen=True)
class Member:
    """A task in a group.

    Attributes:
        scores: its scores by metric.
        headlines: the metrics whose mean is its one score.
        weight: its share in the average over the group's direct members.
    """

    scores: Mapping[str, Score]
    headlines: tuple[str, ...]
    weight: float


def judge_group(group: Group, members: Mapping[str, Member], signatures: Mapping[str, Signature]) -> GroupRecord:
    """A group's aggregates over its tasks, each with an interval from resampling the items within the tasks.

    Args:
        group: the group.
        members: its tasks by name.
        signatures: the tasks' own.
    """
    records = {}
    for aggregate in group.aggregate:
        names = {task: (aggregate.metric,) if aggregate.metric else member.headlines for task, member in members.items()}
        if all(name in members[task].scores for task, wanted in names.items() for name in wanted):
            scores = {task: [members[task].scores[name] for name in wanted] for task, wanted in names.items()}
            weights = [member.weight if aggregate.average == "members" else 1.0 for member in members.values()]
            records[aggregate.key] = _aggregate(aggregate, scores, weights, signatures)
    for name, average in _beside(members):
        records[f"{name}_{average}"] = _measure({task: member.scores[name] for task, member in members.items()}, name, average, signatures)
    return GroupRecord(title=group.title, tasks=list(members), metrics=records)


def _beside(members: Mapping[str, Member]) -> Iterator[tuple[str, Literal["macro", "micro"]]]:
    """What every task was measured for beside its own metrics; calibration is that of all items, which are more than a task's."""
    first, *others = members.values()
    for name, score in first.scores.items():
        if all(name in member.scores for member in others) and name not in first.headlines:
            family = score.family or score.metric.family
            if family != "accuracy":
                yield name, "micro" if family == "calibration" else "macro"


def _measure(
    scores: Mapping[str, Score], name: str, average: Literal["macro", "micro"], signatures: Mapping[str, Signature]
) -> MetricRecord:
    from harness.tasks.schema import Aggregate

    first = next(iter(scores.values()))
    refused = next((reason for score in scores.values() if (reason := score.refused)), None)
    if average == "macro" and refused:
        own = [(task, score.signature) for task, score in scores.items()]
        record = metric_record(first.metric, math.nan, None, 0, average_signature(own, signatures, average, name), refused)
    else:
        each = {task: [score] for task, score in scores.items()}
        record = _aggregate(Aggregate(metric=name, average=average), each, [1.0] * len(scores), signatures)
    return record.model_copy(update={"family": first.family or first.metric.family})


def _aggregate(
    aggregate: Aggregate, by_task: Mapping[str, Sequence[Score]], weights: Sequence[float], signatures: Mapping[str, Signature]
) -> MetricRecord:
    own = [(task, score.signature) for task, scores in by_task.items() for score in scores]
    signature = average_signature(own, signatures, aggregate.average, aggregate.metric)
    tasks = list(by_task.values())
    first = tasks[0][0]
    if aggregate.average == "micro":
        return _pooled([scores[0] for scores in tasks], signature).record()
    every = [score for scores in tasks for score in scores]
    count = sum(len(scores[0].statistics) for scores in tasks)
    if len({_scale(score.metric) for score in every}) > 1:
        return metric_record(first.metric, float("nan"), None, count, signature, "its tasks are scored in different units or directions")
    value = float(np.average([np.mean([score.value for score in scores]) for scores in tasks], weights=weights))
    reason = next((reason for score in every if (reason := score.no_interval)), None)
    reason = reason or next((reason for score in every if count > len(tasks) and (reason := score.too_few)), None)
    bounds = None
    if reason is None and count > len(tasks):
        bounds = mean_interval([[score.part for score in scores] for scores in tasks], weights, seed=first.seed)
        if bounds is None:
            reason = "the rows of one of its tasks are all alike, which says nothing of others"
    widest = min((score.metric for score in every), key=lambda metric: metric.low)
    bounds = bounds and Interval(max(bounds.low, widest.low), min(bounds.high, widest.high), bounds.method)
    record = metric_record(widest, value, bounds, count, signature, reason)
    return record.model_copy(update={"clusters": _clustered([scores[0] for scores in tasks])})


def _clustered(scores: Sequence[Score]) -> int | None:
    """How many clusters are resampled in all, a row that stands alone being its own; None where no task has any."""
    counts = [score.clustered for score in scores]
    if all(count is None for count in counts):
        return None
    return sum(len(score.statistics) if count is None else count for score, count in zip(scores, counts, strict=True))


def _scale(metric: Metric[Any]) -> tuple[float | str, bool]:
    """What scores must share to be averaged: a best value, such as the 1 of shares and of correlations (GLUE averages both), or a unit."""
    return metric.high if math.isfinite(metric.high) else metric.unit, metric.higher_is_better


def _pooled(scores: Sequence[Score], signature: Signature) -> Score:
    """All items of several tasks as one."""
    metric, wordings = scores[0].metric, scores[0].wordings
    columns = [metric.gather([score.parts[number] for score in scores]) for number in range(wordings)]
    table = np.concatenate(columns, axis=1)
    clusters = all_clusters([(score.clusters, len(score.statistics)) for score in scores])
    known = clusters if clusters is not None and len(clusters) == len(table) else None
    return Score(metric, table, signature, scores[0].seed, wordings, scores[0].family, known)


def metric_record(
    metric: Metric[Any],
    value: float,
    bounds: Interval | None,
    count: int,
    signature: Signature,
    reason: str | None = None,
    spread: SpreadRecord | None = None,
) -> MetricRecord:
    """A score as results keep it; `reason` says why there is no interval, or no value."""
    known = bool(np.isfinite(value))
    return MetricRecord(
        value=value if known else None,
        ci=(bounds.low, bounds.high) if known and bounds else None,
        ci_method=bounds.method if known and bounds else None,
        reason=reason if known else reason or "undefined on these items",
        n=count,
        higher_is_better=metric.higher_is_better,
        low=metric.low,
        high=metric.high,
        unit=metric.unit,
        signature=signature,
        family=metric.family,
        spread=spread,
    )
