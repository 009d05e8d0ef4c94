"""The 95 % interval of one system's score, or of an average of scores over tasks.

Two rules; `docs/design/statistics.md` gives their measured coverage:

* A share of correct answers has Wilson's score interval, in clusters with the effective number of items; at 0 and 1 the exact
  Clopper-Pearson interval.
* Every other score, a mean of values as well as BLEU or a correlation, has the BCa interval at a level that is widened as Student's t
  is wider than the normal.

Rows are resampled: items, groups of items that a metric scores as one, or clusters of either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from harness.stats.bca import bca_interval, influence
from harness.stats.bootstrap import (
    LEVEL,
    RESAMPLES,
    FloatArray,
    Interval,
    Score,
    Seed,
    clopper_pearson_at_bound,
    interval_of,
    is_ratio,
    joint_replicates,
)
from harness.stats.share import wilson_bounds
from harness.stats.student import t_quantile
from harness.stats.unseen import row_weights, score_room

Codes = NDArray[np.intp]
"""Number of each row's cluster [rows]; equal numbers are resampled together."""

FEW = 10
"""With fewer rows no resample reaches as far as Student's quantile; the interval is then at least as wide as Student's."""

UNSEEN = "unseen"
"""Method of an interval that consists only of room for unseen rows."""

ONE_CLUSTER = "all items are of one cluster, so the variation between clusters is unknown"
"""Why items of a single cluster give no interval."""

NO_VARIATION = "every resample of these items has the same score, so the variation is unknown"
"""Why a score has no interval where its width would be 0."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class ScoreStatistics:
    """One score of a task.

    Attributes:
        statistics: array [rows, statistics].
        score: from totals [..., statistics] to scores [...].
        clusters: of the rows; None where they are independent. Numbers mean the same in all parts of a task.
        bounds: the lowest and the highest possible score.
    """

    statistics: FloatArray
    score: Score
    clusters: Codes | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @cached_property
    def value(self) -> float:
        """The score over all rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(self.score(self.statistics.sum(axis=0)))

    @cached_property
    def resampled(self) -> FloatArray:
        """The rows that are resampled, or their sums over each cluster."""
        return self.statistics if self.clusters is None else _summed([self])[0]

    @cached_property
    def share(self) -> bool:
        """Whether the score is a mean, weighted or not, of correct (the whole weight) and incorrect (0) rows."""
        if self.statistics.shape[1] != 2 or not self.statistics[:, 1].any() or not is_ratio(self.score):
            return False
        values, weights = self.statistics.T
        return bool(((values == 0) | (values == weights)).all())


Task = Sequence[ScoreStatistics]
"""Scores of the same items, whose mean is the task's score."""


def interval(
    statistics: FloatArray,
    score: Score,
    *,
    clusters: Codes | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    seed: Seed = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    proportion: bool = True,
    threads: int | None = None,
) -> Interval | None:
    """Interval of one score over its rows.

    Where every row has the same statistics, or every resample the same score, the interval is a point, unless the score is a bounded
    mean. Resamples in which the score is not a number are ignored.

    Args:
        statistics: array [rows, statistics].
        score: from totals [..., statistics] to scores [...].
        clusters: of the rows [rows].
        bounds: the lowest and the highest possible score; without them nothing is known about unseen rows.
        seed: of the resampling.
        resamples: number of replicates.
        level: nominal coverage, between 0 and 1.
        proportion: False for differences and other scores that may be a mean of zeros and ones without being a share.
        threads: maximum number; the result does not depend on it.

    Returns:
        The interval, or None for fewer than 2 rows or clusters, or where no resample has a score.
    """
    part = ScoreStatistics(statistics, score, clusters, bounds)
    if len(part.resampled) < 2:
        return None
    if proportion and part.share:
        return _share_interval([part], [1.0], level)
    bca = _bca([[part]], [1.0], [seed], level, resamples, threads)
    if bca is None or (bca.low == bca.high and row_weights(part.resampled, score) is None):
        return bca
    return _with_room(bca, [[part]], [1.0], level)


def mean_interval(
    tasks: Sequence[Task],
    weights: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    threads: int | None = None,
) -> Interval | None:
    """Interval of the weighted mean of several tasks' scores; each task's rows are resampled separately.

    A task of several scores has their mean, and its scores are resampled together: they are of the same items.

    Args:
        tasks: the scores of each.
        weights: of the tasks; their sum does not matter.
        seed: of the resampling; task i draws from the stream (seed, i).
        resamples: number of replicates.
        level: nominal coverage, between 0 and 1.
        threads: maximum number; the result does not depend on it.

    Returns:
        None where no task has two rows or clusters, or no resample has a score.
    """
    shares = [weight / sum(weights) for weight in weights]
    if all(len(part.resampled) < 2 for task in tasks for part in task):
        return None
    if all(len(task) == 1 and task[0].share for task in tasks):
        return _share_interval([task[0] for task in tasks], shares, level)
    if any(_uninformative(part) for task, share in zip(tasks, shares, strict=True) for part in task if share):
        return None
    bca = _bca(tasks, shares, [(seed, number) for number in range(len(tasks))], level, resamples, threads)
    return bca and _with_room(bca, tasks, shares, level)


def _uninformative(part: ScoreStatistics) -> bool:
    """Whether the rows say nothing about unseen rows: all are equal, and no bounds limit what others may be."""
    return not np.isfinite(part.bounds).all() and bool((part.resampled == part.resampled[:1]).all())


def _with_room(bca: Interval, tasks: Sequence[Task], weights: Sequence[float], level: float) -> Interval:
    """The interval of a mean, widened on each side in quadrature by the room for unseen kinds of rows; see `score_room`.

    The scores of one task are of the same rows and may all be lower together.
    """
    below, above, estimate = 0.0, 0.0, 0.0
    for task, weight in zip(tasks, weights, strict=True):
        estimate += weight * float(np.mean([part.value for part in task]))
        rooms = [score_room(part.resampled, part.score, part.value, part.bounds, level) for part in task] if weight else [(0.0, 0.0)]
        below = math.hypot(below, weight * sum(low for low, _ in rooms) / len(rooms))
        above = math.hypot(above, weight * sum(high for _, high in rooms) / len(rooms))
    if not below and not above:
        return bca
    low, high = estimate - math.hypot(estimate - bca.low, below), estimate + math.hypot(bca.high - estimate, above)
    return Interval(low, high, UNSEEN if bca.low == bca.high else bca.method)


def all_clusters(tasks: Sequence[tuple[Codes | None, int]]) -> Codes | None:
    """Concatenated clusters of several tasks' rows, numbered so that no two tasks share a cluster; None where no task has any.

    Args:
        tasks: clusters of each task's rows, and the number of rows.
    """
    if all(codes is None for codes, _ in tasks):
        return None
    every: list[Codes] = []
    begin = 0
    for codes, rows in tasks:
        numbers = np.arange(rows) if codes is None else codes
        every.append(numbers + begin)
        begin += int(numbers.max(initial=-1)) + 1
    return np.concatenate(every)


def _share_interval(parts: Sequence[ScoreStatistics], weights: Sequence[float], level: float) -> Interval:
    """Wilson's score interval (1927) of a mean of shares, for the number of independent items that gives its variance.

    The variance is that of a ratio of sums over clusters. A task never counts more items than it has: clusters that seem to be more
    informative than their items are so by chance (Korn and Graubard, 1998). In clusters the quantile is Student's (Dean and Pagano,
    2015). Tasks are strata: their mean may be more precise than that of as many items drawn from all of them together.
    """
    bounds = _score_interval(parts, weights, level)
    share = math.fsum(weight * part.value for part, weight in zip(parts, weights, strict=True))
    rooms = [
        [weight * room for room in score_room(part.resampled, part.score, part.value, (0.0, 1.0), level)]
        for part, weight in zip(parts, weights, strict=True)
        if len(part.resampled) < len(part.statistics)
    ]
    if not rooms:
        return bounds
    below, above = (math.hypot(*side) for side in zip(*rooms, strict=True))
    if bounds.method == "clopper-pearson":  # allows for unseen clusters itself
        return Interval(min(bounds.low, max(0.0, share - below)), max(bounds.high, min(1.0, share + above)), bounds.method)
    low, high = share - math.hypot(share - bounds.low, below), share + math.hypot(bounds.high - share, above)
    return Interval(max(0.0, low), min(1.0, high), bounds.method)


def _score_interval(parts: Sequence[ScoreStatistics], weights: Sequence[float], level: float) -> Interval:
    """The same without room for unseen kinds of clusters, such as clusters in which every answer is incorrect."""
    known = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight]
    share = math.fsum(weight * part.value for part, weight in known)
    sizes = [_independent(part.resampled[:, 1]) for part, _ in known]
    if share in (0.0, 1.0) or all(part.value in (0.0, 1.0) for part, _ in known):
        items = 1.0 / math.fsum(weight**2 / size for (_, weight), size in zip(known, sizes, strict=True))
        if share in (0.0, 1.0):
            return clopper_pearson_at_bound(share, items, level)
        return _wilson(share, items, _NORMAL.inv_cdf((1 + level) / 2))
    variances = [weight**2 * _share_variance(part, smoothed=len(known) > 1) for part, weight in known]
    items = share * (1 - share) / math.fsum(variances) + 1  # for one task of independent items exactly their number
    clustered = any(part.clusters is not None for part, _ in known)
    freedom = _freedom(variances, [len(part.resampled) for part, _ in known])
    quantile = t_quantile((1 + level) / 2, freedom) if clustered else _NORMAL.inv_cdf((1 + level) / 2)
    return _wilson(share, items, quantile)


def _wilson(share: float, items: float, quantile: float) -> Interval:
    low, high = wilson_bounds(np.asarray(share), np.asarray(items), quantile)
    return Interval(float(low), float(high), "wilson")


def _share_variance(part: ScoreStatistics, *, smoothed: bool) -> float:
    """Variance of a share p: p (1 - p) / (n - 1) for n independent items of equal weight, times the effect of clusters, at least 1.

    Among other shares, p is (hits + 1/2) / (n + 1), as with Jeffreys' prior: a task of ten correct answers still has variance.
    """
    count = _independent(part.statistics[:, 1])
    share = (part.value * count + 0.5) / (count + 1) if smoothed else part.value
    alone = share * (1 - share) / max(count - 1, 1.0)
    if part.clusters is None:
        return alone
    scatter = _ratio_variance(part.statistics, part.value)
    ratio = _ratio_variance(part.resampled, part.value) / scatter if scatter > 0 else 1.0
    return alone * max(ratio, 1.0)


def _ratio_variance(table: FloatArray, ratio: float) -> float:
    """Linearized variance of a ratio of sums over rows [rows, 2] (Cochran, 1977, section 6.4); infinite for one row."""
    count = len(table)
    residuals = table[:, 0] - ratio * table[:, 1]
    return float(count / (count - 1) * (residuals**2).sum() / table[:, 1].sum() ** 2) if count > 1 else math.inf


def _independent(weights: FloatArray) -> float:
    """Effective number of rows of equal weight: Kish, "Survey Sampling" (1965), section 11.7."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _bca(
    tasks: Sequence[Task], weights: Sequence[float], seeds: Sequence[Seed], level: float, resamples: int, threads: int | None
) -> Interval | None:
    """BCa interval of a mean over tasks (Davison and Hinkley, 1997, section 5.3.2, for several samples), its level widened.

    The bootstrap's variance of m rows is (m - 1) / m of the unbiased one, and its quantiles are those of a known variance; Student's
    quantile times sqrt(m / (m - 1)) corrects both (Hesterberg, 2015, section 4.5, "expanded percentile"). Of several tasks the degrees
    of freedom are Satterthwaite's (1946).
    """
    estimate, drawn = 0.0, np.zeros(resamples)
    variances, rows, cubes = [], [], 0.0
    for task, weight, seed in zip(tasks, weights, seeds, strict=True):
        resampled = _Resampled.of(task, seed, resamples, threads)
        estimate += weight * resampled.value
        drawn += weight * resampled.replicates
        variances.append(weight**2 * resampled.variance)
        cubes += weight**3 * resampled.cubes
        rows.append(resampled.rows)
    if not math.isfinite(estimate):
        return None
    total = math.fsum(variances)
    if not total > 0:
        return interval_of(drawn, level)
    squares = math.fsum(variance * max(count, 2) / (max(count, 2) - 1) for variance, count in zip(variances, rows, strict=True))
    student = t_quantile((1 + level) / 2, _freedom(variances, rows))
    widened = 2 * _NORMAL.cdf(math.sqrt(squares / total) * student) - 1
    bca = bca_interval(drawn, estimate, cubes / (6.0 * squares**1.5), widened)
    if bca is None or max(rows) >= FEW:
        return bca
    reach = student * math.sqrt(total)
    return Interval(min(bca.low, estimate - reach), max(bca.high, estimate + reach), "bca or t")


@dataclass(frozen=True)
class _Resampled:
    """A task's mean score over its parts: replicates [resamples], jackknife variance, sum of cubed influences, rows."""

    value: float
    replicates: FloatArray
    variance: float
    cubes: float
    rows: int

    @classmethod
    def of(cls, task: Task, seed: Seed, resamples: int, threads: int | None) -> _Resampled:
        value = float(np.mean([part.value for part in task]))
        tables = _aligned(task)
        if tables is None:
            return cls._apart(task, value, seed, resamples, threads)
        scored = [(table, part.score) for table, part in zip(tables, task, strict=True)]
        drawn = joint_replicates(scored, seed=seed, resamples=resamples, threads=threads).mean(axis=0)
        rows = len(tables[0])
        each = [influence(table, score) for table, score in scored] if rows > 1 else [np.zeros(rows)]
        known = [influences for influences in each if influences is not None]
        if len(known) < len(each):
            return cls(value, drawn, float(np.nanvar(drawn)) if np.isfinite(drawn).any() else 0.0, 0.0, rows)
        moved = np.mean(known, axis=0)
        return cls(value, drawn, (rows - 1) / rows * float((moved**2).sum()), float((moved**3).sum()), rows)

    @classmethod
    def _apart(cls, task: Task, value: float, seed: Seed, resamples: int, threads: int | None) -> _Resampled:
        """Scores whose rows cannot be matched are treated as fully correlated, which gives the widest interval."""
        each = [joint_replicates([(part.resampled, part.score)], seed=seed, resamples=resamples, threads=threads)[0] for part in task]
        drawn = np.mean([np.sort(replicates) for replicates in each], axis=0)
        np.random.default_rng(seed).shuffle(drawn)
        variance = float(np.nanvar(drawn)) if np.isfinite(drawn).any() else 0.0
        return cls(value, drawn, variance, 0.0, min(len(part.resampled) for part in task))


def _aligned(task: Task) -> list[FloatArray] | None:
    """Tables of the same rows, one for each part; None where the parts' rows cannot be matched."""
    if all(part.clusters is not None for part in task):
        return _summed(task)
    if any(part.clusters is not None for part in task) or len({len(part.statistics) for part in task}) > 1:
        return None
    return [part.statistics for part in task]


def _summed(task: Task) -> list[FloatArray]:
    """Sums over each cluster that any of the parts has: arrays [clusters, statistics]."""
    codes = [part.clusters for part in task if part.clusters is not None]
    known, places = np.unique(np.concatenate(codes), return_inverse=True)
    tables = []
    ends = np.cumsum([len(numbers) for numbers in codes])[:-1]
    for part, of_part in zip(task, np.split(places, ends), strict=True):
        table = np.zeros((len(known), part.statistics.shape[1]))
        np.add.at(table, of_part, part.statistics)
        tables.append(table)
    return tables


def _freedom(variances: Sequence[float], rows: Sequence[int]) -> float:
    """Degrees of freedom of a sum of variances, each estimated from `rows` rows (Satterthwaite, 1946)."""
    parts = [variance**2 / max(count - 1, 1) for variance, count in zip(variances, rows, strict=True)]
    return math.fsum(variances) ** 2 / math.fsum(parts) if math.fsum(parts) > 0 else 1.0
