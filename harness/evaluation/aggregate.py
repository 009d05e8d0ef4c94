"""Scores with confidence intervals: of a task with one prompt template or several, and of a group of tasks."""

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
from harness.stats.intervals import NO_VARIATION, ONE_CLUSTER, Codes, ScoreStatistics, all_clusters, interval, mean_interval
from harness.store.records import GroupRecord, MetricRecord, SpreadRecord
from harness.store.signature import Signature

if TYPE_CHECKING:
    from harness.tasks.schema import Aggregate, Group


@dataclass(frozen=True)
class MetricScore:
    """One metric over one task's items.

    Attributes:
        metric: the metric.
        statistics: [items, statistics]; of several template variants side by side, [items, template variants x statistics].
        signature: everything that decides the score.
        seed: for bootstrap resampling.
        template_variants: number of template variants; the score is their mean.
        family: family of measures, where it is not the metric's own.
        clusters: number of each row's cluster [items], the same in all scores of a task; None where items are independent.
    """

    metric: Metric[Any]
    statistics: FloatArray
    signature: Signature
    seed: int
    template_variants: int = 1
    family: Family | None = None
    clusters: Codes | None = None

    @property
    def parts(self) -> list[FloatArray]:
        """The statistics [items, statistics] of each template."""
        return np.split(self.statistics, self.template_variants, axis=1)

    @cached_property
    def value(self) -> float:
        """The score over all items."""
        return float(self.score(self.statistics.sum(axis=0)))

    @property
    def no_interval(self) -> str | None:
        """Why the items cannot be resampled; None where they can."""
        return next((reason for part in self.parts if (reason := self.metric.no_interval(part))), None)

    def score(self, totals: FloatArray) -> FloatArray:
        """Scores [...] from summed statistics: the mean over the template variants."""
        result: FloatArray = np.mean(self._each(totals), axis=0)
        return result

    def _each(self, totals: FloatArray) -> FloatArray:
        """Scores of each template: [template variants, ...]."""
        return np.stack([self.metric.score(part) for part in np.split(totals, self.template_variants, axis=-1)])

    def _spread(self, totals: FloatArray) -> FloatArray:
        result: FloatArray = np.ptp(self._each(totals), axis=0)
        return result

    @property
    def refused(self) -> str | None:
        """Why these items have no score; None where they have one."""
        return next((reason for part in self.parts if (reason := self.metric.refused(part))), None)

    @cached_property
    def part(self) -> ScoreStatistics:
        """The statistics to resample. Means over the same items in several template variants become one mean of the items' mean values."""
        weights = [part[:, 1:] for part in self.parts]
        plain = self.template_variants > 1 and weights[0].shape[1] == 1 and is_ratio(self.metric.score)
        if plain and all(np.array_equal(weights[0], other) for other in weights):
            values = np.mean([part[:, 0] for part in self.parts], axis=0)
            return ScoreStatistics(np.column_stack([values, weights[0]]), self.metric.score, self.clusters, self._range)
        return ScoreStatistics(self.statistics, self.score, self.clusters, self._range)

    @property
    def _range(self) -> tuple[float, float]:
        return self.metric.low, self.metric.high

    @property
    def clustered(self) -> int | None:
        """Number of clusters that are resampled; None where rows are independent."""
        if self.clusters is None:
            return None
        count = len(np.unique(self.clusters))
        return count if count < len(self.clusters) else None

    def _interval(self) -> Interval | None:
        """The 95 % interval of the score, within the metric's range."""
        part, metric = self.part, self.metric
        if metric.pulled:
            bounds = interval_of(replicates(part.resampled, part.score, seed=self.seed)) if len(part.resampled) > 1 else None
            return reflected(bounds, self.value, (metric.low, metric.high)) if bounds and bounds.low < bounds.high else bounds
        bounds = interval(part.statistics, part.score, clusters=part.clusters, bounds=self._range, seed=self.seed)
        return bounds and Interval(max(bounds.low, metric.low), min(bounds.high, metric.high), bounds.method)

    def record(self) -> MetricRecord:
        """The score as `results.json` records it."""
        if refused := self.refused:
            record = metric_record(self.metric, float("nan"), None, len(self.statistics), self.signature, refused)
        else:
            reason, bounds = self.no_interval, None
            if reason is None:
                reason, bounds = self._certainty()
            record = metric_record(self.metric, self.value, bounds, len(self.statistics), self.signature, reason, self._spread_record())
        beside = dict(self.metric.beside(self.statistics)) if self.template_variants == 1 else {}
        return record.model_copy(update={"family": self.family or record.family, "beside": beside, "clusters": self.clustered})

    @property
    def too_few(self) -> str | None:
        """Why a single cluster gives no interval; None where there are several clusters, or a single item."""
        alone = len(self.statistics) > 1 and self.clusters is not None and len(np.unique(self.clusters)) == 1
        return ONE_CLUSTER if alone else None

    def _certainty(self) -> tuple[str | None, Interval | None]:
        """The reason why there is no interval, and the interval."""
        if reason := self.too_few:
            return reason, None
        bounds = self._interval()
        if bounds and bounds.low == bounds.high:
            return NO_VARIATION, None
        return None, bounds

    def _spread_record(self) -> SpreadRecord | None:
        each = self._each(self.statistics.sum(axis=0))
        if self.template_variants == 1 or not np.isfinite(each).all():
            return None
        rows = ScoreStatistics(self.statistics, self._spread, self.clusters).resampled
        bounds = None if self.no_interval or self.too_few else interval_of(replicates(rows, self._spread, seed=self.seed))
        ci = (bounds.low, bounds.high) if bounds else None
        return SpreadRecord(
            template_variants=self.template_variants, lowest=float(each.min()), highest=float(each.max()), spread=float(np.ptp(each)), ci=ci
        )


def blend(scores: Sequence[MetricScore]) -> MetricScore:
    """The mean score over several template variants of the same items; items are resampled together."""
    first = scores[0]
    if len(scores) == 1:
        return first
    pooled = first.metric.pool([score.statistics for score in scores])
    parts = np.split(pooled, len(scores))
    return MetricScore(first.metric, np.concatenate(parts, axis=1), first.signature, first.seed, len(scores), first.family, first.clusters)


@dataclass(frozen=True)
class Member:
    """A task in a group.

    Attributes:
        scores: its scores by metric.
        headlines: the metrics whose mean is the task's score.
        weight: its weight in the average over the group's direct members.
    """

    scores: Mapping[str, MetricScore]
    headlines: tuple[str, ...]
    weight: float


def score_group(group: Group, members: Mapping[str, Member], signatures: Mapping[str, Signature]) -> GroupRecord:
    """Aggregate the scores of a group's tasks; intervals come from resampling items within the tasks.

    Args:
        group: the group.
        members: its tasks by name.
        signatures: those of its tasks.
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
    """Measures beside the tasks' own metrics that every task has, with how to average them: calibration over all items pooled."""
    first, *others = members.values()
    for name, score in first.scores.items():
        if all(name in member.scores for member in others) and name not in first.headlines:
            family = score.family or score.metric.family
            if family != "accuracy":
                yield name, "micro" if family == "calibration" else "macro"


def _measure(
    scores: Mapping[str, MetricScore], name: str, average: Literal["macro", "micro"], signatures: Mapping[str, Signature]
) -> MetricRecord:
    from harness.tasks.schema import Aggregate

    first = next(iter(scores.values()))
    refused = next((reason for score in scores.values() if (reason := score.refused)), None)
    if average == "macro" and refused:
        each_signature = [(task, score.signature) for task, score in scores.items()]
        record = metric_record(first.metric, math.nan, None, 0, average_signature(each_signature, signatures, average, name), refused)
    else:
        each = {task: [score] for task, score in scores.items()}
        record = _aggregate(Aggregate(metric=name, average=average), each, [1.0] * len(scores), signatures)
    return record.model_copy(update={"family": first.family or first.metric.family})


def _aggregate(
    aggregate: Aggregate, by_task: Mapping[str, Sequence[MetricScore]], weights: Sequence[float], signatures: Mapping[str, Signature]
) -> MetricRecord:
    each_signature = [(task, score.signature) for task, scores in by_task.items() for score in scores]
    signature = average_signature(each_signature, signatures, aggregate.average, aggregate.metric)
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
            reason = "all rows of one of its tasks are equal, so the variation is unknown"
    widest = min((score.metric for score in every), key=lambda metric: metric.low)
    bounds = bounds and Interval(max(bounds.low, widest.low), min(bounds.high, widest.high), bounds.method)
    record = metric_record(widest, value, bounds, count, signature, reason)
    return record.model_copy(update={"clusters": _clustered([scores[0] for scores in tasks])})


def _clustered(scores: Sequence[MetricScore]) -> int | None:
    """Number of clusters that are resampled in all, an independent row counting as one; None where no task has clusters."""
    counts = [score.clustered for score in scores]
    if all(count is None for count in counts):
        return None
    return sum(len(score.statistics) if count is None else count for score, count in zip(scores, counts, strict=True))


def _scale(metric: Metric[Any]) -> tuple[float | str, bool]:
    """What scores must share to be averaged: the best value, such as 1 of shares and correlations (GLUE averages both), or the unit."""
    return metric.high if math.isfinite(metric.high) else metric.unit, metric.higher_is_better


def _pooled(scores: Sequence[MetricScore], signature: Signature) -> MetricScore:
    """All items of several tasks pooled into one score."""
    metric, template_variants = scores[0].metric, scores[0].template_variants
    columns = [metric.gather([score.parts[number] for score in scores]) for number in range(template_variants)]
    table = np.concatenate(columns, axis=1)
    clusters = all_clusters([(score.clusters, len(score.statistics)) for score in scores])
    known = clusters if clusters is not None and len(clusters) == len(table) else None
    return MetricScore(metric, table, signature, scores[0].seed, template_variants, scores[0].family, known)


def metric_record(
    metric: Metric[Any],
    value: float,
    bounds: Interval | None,
    count: int,
    signature: Signature,
    reason: str | None = None,
    spread: SpreadRecord | None = None,
) -> MetricRecord:
    """A score as `results.json` records it; `reason` is why there is no interval, or no value."""
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
