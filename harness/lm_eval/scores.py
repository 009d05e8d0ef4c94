"""lm-eval's metrics with the harness's intervals.

The value is always what lm-eval's own aggregation says. For the interval the items are resampled: through sufficient statistics where
the aggregation has them (they are used only if they give lm-eval's value), otherwise by calling the aggregation on each resample.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from harness.contract import TextOutcome
from harness.errors import TaskError
from harness.metrics.base import FloatArray, per_item
from harness.stats.bootstrap import Interval, interval_of, replicates
from harness.stats.intervals import NO_VARIATION, ScoreStatistics, interval, mean_interval
from harness.store.records import MetricRecord
from harness.store.signature import Signature

Aggregation: TypeAlias = Callable[[Sequence[Any]], Any]
ScoreOfTotals: TypeAlias = Callable[[FloatArray], FloatArray]

RESAMPLES = 200
"""Resamples where lm-eval's aggregation has to be called on each."""

MOST_ITEMS = 5_000
"""More items than this are not resampled by calling an aggregation, which would take minutes."""

_TOLERANCE = 1e-9
_BYPASS = "bypass_agg"
_UNDEFINED = (ArithmeticError, IndexError, KeyError, TypeError, ValueError)
_RANGES: dict[str, tuple[float | None, float | None, str]] = {
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "acc_all", "exact_match", "em", "f1"), (0.0, 1.0, "share")),
    "mcc": (-1.0, 1.0, "correlation"),
    **dict.fromkeys(("bleu", "chrf", "chrf++"), (0.0, 100.0, "points")),
    "ter": (0.0, None, "points"),
    "perplexity": (0.0, None, "perplexity"),
    "word_perplexity": (1.0, None, "perplexity per word"),
    "byte_perplexity": (1.0, None, "perplexity per byte"),
    "bits_per_byte": (0.0, None, "bits per byte"),
}


@dataclass(frozen=True)
class Totals:
    """An aggregation as a function of summed statistics: array [items, statistics], and totals [..., statistics] to scores [...]."""

    statistics: FloatArray
    score: ScoreOfTotals


@dataclass(frozen=True)
class LmEvalScore:
    """One metric of lm-eval, after one filter, over one task's items.

    Attributes:
        metric: lm-eval's name of it.
        aggregation: lm-eval's function from items to the score.
        items: what `process_results` gave for each item that has the metric.
        higher_is_better: as the task says; lm-eval leaves it open for some.
        signature: what decides the number.
        seed: of the resampling.
    """

    metric: str
    aggregation: Aggregation
    items: Sequence[Any]
    higher_is_better: bool
    signature: Signature
    seed: int

    @cached_property
    def value(self) -> float:
        """What lm-eval's aggregation says; NaN where it is no number. Raises TaskError where it fails."""
        try:
            return _number(self._aggregated(self.items))
        except Exception as error:
            raise TaskError(
                f"lm-eval cannot aggregate {self.metric!r}: {type(error).__name__}: {error}.",
                "It may need a package that is not installed.",
            ) from error

    @cached_property
    def totals(self) -> Totals | None:
        """Sufficient statistics that give lm-eval's value, where there are such."""
        make = _FAMILIES.get(getattr(self.aggregation, "__name__", ""))
        if make is None:
            return None
        try:
            totals = make(self.items)
        except _UNDEFINED:
            return None
        value = float(totals.score(totals.statistics.sum(axis=0)))
        return totals if abs(value - self.value) <= _TOLERANCE * max(1.0, abs(self.value)) else None

    @property
    def no_interval(self) -> str | None:
        """Why the items are not resampled; None where they are."""
        name = getattr(self.aggregation, "__name__", "")
        if name == _BYPASS:
            return "nothing is measured"
        if self.totals is None and len(self.items) > MOST_ITEMS:
            return f"lm-eval's aggregation {name} is too slow to resample {len(self.items):,} items"
        return None

    @property
    def item_scores(self) -> list[float | None]:
        """Each item's own value, where it is a number."""
        return [float(item) if isinstance(item, (int, float, np.number)) else None for item in self.items]

    def record(self) -> MetricRecord:
        """The score as results keep it."""
        reason = self.no_interval
        bounds = None if reason else self._interval()
        if bounds and bounds.low == bounds.high:
            reason, bounds = NO_VARIATION, None
        return metric_record(self, self.value, bounds, len(self.items), self.signature, reason)

    def resampled(self, seed: tuple[int, int]) -> FloatArray:
        """The score of resamples [resamples] of this task's items, for a group's interval."""
        if self.totals is not None:
            return replicates(self.totals.statistics, self.totals.score, seed=seed)
        return self._called(np.random.default_rng(seed), RESAMPLES)

    def _interval(self) -> Interval | None:
        if len(self.items) < 2 or not math.isfinite(self.value):
            return None
        if self.totals is not None:
            return interval(self.totals.statistics, self.totals.score, bounds=_bounds(self.metric), seed=self.seed)
        return interval_of(self._called(np.random.default_rng(self.seed), RESAMPLES))

    def _called(self, generator: np.random.Generator, resamples: int) -> FloatArray:
        drawn = generator.integers(0, len(self.items), size=(resamples, len(self.items)))
        return np.array([self._or_nan([self.items[i] for i in row]) for row in drawn])

    def _or_nan(self, items: Sequence[Any]) -> float:
        """The score of a resample; NaN where it has none, for one of a single class, say."""
        try:
            return _number(self._aggregated(items))
        except _UNDEFINED:
            return math.nan

    def _aggregated(self, items: Sequence[Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.aggregation(list(items))


def metric_record(
    score: LmEvalScore, value: float, bounds: Interval | None, count: int, signature: Signature, reason: str | None
) -> MetricRecord:
    """A score as results keep it; `reason` says why there is no interval."""
    known = math.isfinite(value)
    low, high, unit = _RANGES.get(score.metric, (None, None, "as computed"))
    if known and not (-math.inf if low is None else low) <= value <= (math.inf if high is None else high):
        low, high, unit = None, None, "as computed"  # another metric by a known name
    return MetricRecord(
        value=value if known else None,
        ci=(bounds.low, bounds.high) if known and bounds else None,
        ci_method=bounds.method if known and bounds else None,
        reason=reason if known else reason or "undefined on these items",
        n=count,
        higher_is_better=score.higher_is_better,
        low=low,
        high=high,
        unit=unit,
        signature=signature,
    )


def group_record(scores: Sequence[LmEvalScore], value: float, *, by_size: bool, signature: Signature) -> MetricRecord:
    """lm-eval's average of one metric over a group's tasks, with an interval from resampling the items within the tasks.

    Args:
        scores: of the tasks that have the metric.
        value: lm-eval's average.
        by_size: weighted by the tasks' numbers of items, or every task alike.
        signature: what decides the number.
    """
    count = sum(len(score.items) for score in scores)
    reason = next((reason for score in scores if (reason := score.no_interval)), None)
    if reason or count == len(scores):
        return metric_record(scores[0], value, None, count, signature, reason)
    weights = [float(len(score.items)) if by_size else 1.0 for score in scores]
    totals = [score.totals for score in scores]
    ends = _bounds(scores[0].metric)
    known = [[ScoreStatistics(part.statistics, part.score, None, ends)] for part in totals if part is not None]
    if len(known) == len(scores):
        bounds = mean_interval(known, weights, seed=scores[0].seed)
        alike = None if bounds else "all items of one of its tasks have the same score, which says nothing about other items"
        return metric_record(scores[0], value, bounds, count, signature, alike)
    columns = [score.resampled((scores[0].seed, number)) for number, score in enumerate(scores)]
    shortest = min(map(len, columns))
    drawn = np.average([column[:shortest] for column in columns], axis=0, weights=weights)
    return metric_record(scores[0], value, interval_of(drawn), count, signature, None)


def _bounds(metric: str) -> tuple[float, float]:
    """The lowest and the highest possible score of a metric; infinite where there is no bound."""
    low, high, _ = _RANGES.get(metric, (None, None, ""))
    return -math.inf if low is None else low, math.inf if high is None else high


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float, np.number)) else math.nan


def _ratio(totals: FloatArray) -> FloatArray:
    result: FloatArray = totals[..., 0] / totals[..., 1]
    return result


def _mean(items: Sequence[Any]) -> Totals:
    return Totals(per_item([float(item) for item in items]), _ratio)


def _perplexity(items: Sequence[Any]) -> Totals:
    return Totals(per_item([float(item) for item in items]), lambda totals: np.exp(-_ratio(totals)))


def _weighted_perplexity(items: Sequence[Any]) -> Totals:
    return Totals(np.array(items, dtype=np.float64), lambda totals: np.exp(-_ratio(totals)))


def _bits_per_byte(items: Sequence[Any]) -> Totals:
    return Totals(np.array(items, dtype=np.float64), lambda totals: -_ratio(totals) / math.log(2))


def _confusion(items: Sequence[Any]) -> FloatArray:
    """One-hot cells (true, false positive, false negative, true negative) of binary (gold, prediction): array [items, 4]."""
    pairs = np.array([(int(gold), int(prediction)) for gold, prediction in items])
    if not np.isin(pairs, (0, 1)).all():
        raise ValueError("not binary")
    gold, prediction = pairs.T.astype(np.float64)
    return np.stack([gold * prediction, (1 - gold) * prediction, gold * (1 - prediction), (1 - gold) * (1 - prediction)], axis=1)


def _matthews(totals: FloatArray) -> FloatArray:
    hit, false_positive, false_negative, rejected = np.moveaxis(totals, -1, 0)
    margins = (hit + false_positive) * (hit + false_negative) * (rejected + false_positive) * (rejected + false_negative)
    product = hit * rejected - false_positive * false_negative
    return np.where(margins > 0, product / np.sqrt(np.where(margins > 0, margins, 1.0)), 0.0)


def _f1(totals: FloatArray) -> FloatArray:
    hit, false_positive, false_negative, _ = np.moveaxis(totals, -1, 0)
    size = 2 * hit + false_positive + false_negative
    return np.where(size > 0, 2 * hit / np.where(size > 0, size, 1.0), 0.0)


def _text(name: str) -> Callable[[Sequence[Any]], Totals]:
    def make(items: Sequence[Any]) -> Totals:
        from harness import metrics

        if not all(isinstance(text, str) for pair in items for text in pair):
            raise TypeError("several references")
        metric = metrics.load(name)
        outcomes = [TextOutcome(prediction, (reference,)) for reference, prediction in items]
        return Totals(metric.statistics(outcomes), metric.score)

    return make


_FAMILIES: dict[str, Callable[[Sequence[Any]], Totals]] = {
    "mean": _mean,
    "nanmean": _mean,
    "perplexity": _perplexity,
    "weighted_perplexity": _weighted_perplexity,
    "bits_per_byte": _bits_per_byte,
    "matthews_corrcoef": lambda items: Totals(_confusion(items), _matthews),
    "f1_score": lambda items: Totals(_confusion(items), _f1),
    "bleu": _text("bleu"),
    "chrf": _text("chrf"),
    "chrfpp": _text("chrf++"),
    "ter": _text("ter"),
}
"""By the name of lm-eval's function; what it gives is checked against that function's own value."""
