"""Percentile bootstrap of any score that is a function of summed per-item statistics (Efron and Tibshirani, 1993, chapter 13).

Items are resampled with replacement; a replicate is the score of one resample's totals. Totals are drawn in blocks, each
from a separate stream spawned from the seed, and neither threads nor BLAS change a digit: fractions are summed by numpy in a
fixed order, and whole numbers, which float64 adds exactly in any order, by a matrix product.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Score: TypeAlias = Callable[[FloatArray], FloatArray]
Seed: TypeAlias = int | Sequence[int]

RESAMPLES = 10_000
LEVEL = 0.95

_BLOCK_DRAWS = 1 << 18  # indices held at once by a thread: 2 MB, about what stays in the cache
_MULTINOMIAL_BLOCK = 1_000
_DRAWS_PER_COUNT = 32  # drawing how often a distinct row occurs costs about as much as drawing this many items one by one
_EXACT = 2.0**53  # float64 adds whole numbers up to here exactly, in any order
_WORTH_COUNTING = 4  # from this many columns of whole numbers on, counting the draws costs less than gathering each column


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval, in the score's unit.

    Attributes:
        low, high: its ends.
        method: how it was computed: "wilson", "clopper-pearson", "bca", "percentile", "reflected percentile", "score" or "unseen".
    """

    low: float
    high: float
    method: str


def reflected(percentile: Interval, value: float, bounds: tuple[float, float]) -> Interval:
    """A percentile interval reflected at the score (the basic bootstrap; Davison and Hinkley, 1997, section 5.2.1).

    For scores that noise biases away from their bound, such as sums of absolute differences: resampling adds the bias once more.

    Args:
        percentile: the percentile interval.
        value: the score.
        bounds: the range of the score, to which the ends are clipped.
    """
    low, high = np.clip(np.round([2 * value - percentile.high, 2 * value - percentile.low], 12), *bounds)
    return Interval(float(low), float(high), "reflected percentile")


def interval_of(scores: FloatArray, level: float = LEVEL) -> Interval | None:
    """The central `level` of replicates [resamples]; NaN replicates, whose resample has no score, are ignored.

    Returns:
        The interval, or None where no replicate is a number.
    """
    defined = scores[~np.isnan(scores)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), "percentile")


def clopper_pearson_at_bound(share: float, items: float, level: float = LEVEL) -> Interval:
    """Exact interval of a share that was observed to be 0 or 1 (Clopper and Pearson, 1934, in closed form)."""
    margin = ((1 - level) / 2) ** (1 / items)
    low, high = (margin, 1.0) if share == 1.0 else (0.0, 1.0 - margin)
    return Interval(low, high, "clopper-pearson")


def replicates(
    statistics: FloatArray, score: Score, *, seed: Seed = 0, resamples: int = RESAMPLES, threads: int | None = None
) -> FloatArray:
    """Scores of resamples [resamples]; NaN where a resample has no score.

    For a difference of two systems on the same items, put their statistics side by side [items, 2 x statistics] and let
    `score` take the difference: the pairs then stay together. For a micro average, resample the pooled items of all tasks.

    Args:
        statistics: per item, array [items, statistics], at least one item.
        score: from totals [..., statistics] to scores [...].
        seed: of the resampling.
        resamples: number of replicates.
        threads: maximum number; by default one per core. The result does not depend on it.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return score(resampled_totals(statistics, seed=seed, resamples=resamples, threads=threads))


def joint_replicates(
    parts: Sequence[tuple[FloatArray, Score]], *, seed: Seed = 0, resamples: int = RESAMPLES, threads: int | None = None
) -> FloatArray:
    """Replicates [parts, resamples] of several scores of the same rows, all from the same resamples.

    Equal seeds alone do not pair two calls of `replicates`: how rows are drawn depends on how many of them are distinct.

    Args:
        parts: statistics [rows, statistics] and score of each: other metrics, or other systems on the same items.
        seed: of the resampling.
        resamples: number of replicates.
        threads: maximum number; by default one per core. The result does not depend on it.
    """
    table = np.concatenate([statistics for statistics, _ in parts], axis=1)
    totals = resampled_totals(table, seed=seed, resamples=resamples, threads=threads)
    ends = np.cumsum([statistics.shape[1] for statistics, _ in parts])[:-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([score(part) for part, (_, score) in zip(np.split(totals, ends, axis=1), parts, strict=True)])


def by_cluster(statistics: FloatArray, clusters: Sequence[object]) -> FloatArray:
    """Statistics summed over the items of each cluster: array [clusters, statistics].

    Resampling these rows is the cluster bootstrap (Davison and Hinkley, 1997, section 3.8): items of one text, question or
    subject are resampled together. Clusters are in order of first appearance.

    Args:
        statistics: per item, array [items, statistics].
        clusters: hashable label of each item's cluster.
    """
    places: dict[object, int] = {}
    rows = np.array([places.setdefault(cluster, len(places)) for cluster in clusters], dtype=np.intp)
    table = np.zeros((len(places), statistics.shape[1]))
    np.add.at(table, rows, statistics)
    return table


def resampled_totals(statistics: FloatArray, *, seed: Seed = 0, resamples: int = RESAMPLES, threads: int | None = None) -> FloatArray:
    """Summed statistics of each resample: array [resamples, statistics].

    Constant columns are not resampled. Few distinct rows (0/1 scores, cells of a confusion matrix) are drawn as multinomial
    counts, which have the same distribution; other items one by one.
    """
    table = np.asarray(statistics, dtype=np.float64)
    items = len(table)
    totals = np.empty((resamples, table.shape[1]))
    varying = (table != table[:1]).any(axis=0)
    totals[:, ~varying] = items * table[0, ~varying]
    if not varying.any():
        return totals
    rows, counts = np.unique(table[:, varying], axis=0, return_counts=True)
    if len(rows) * _DRAWS_PER_COUNT <= items or len(rows) == 2:
        size, draw = _MULTINOMIAL_BLOCK, _multinomial_drawer(rows, counts)
    else:
        size, draw = max(1, _BLOCK_DRAWS // items), _item_drawer(table[:, varying])
    totals[:, varying] = np.concatenate(list(_in_blocks(draw, resamples, size, seed, threads)))
    return totals


_Drawer: TypeAlias = Callable[[np.random.Generator, int], FloatArray]


def _multinomial_drawer(rows: FloatArray, counts: NDArray[np.int64]) -> _Drawer:
    items = int(counts.sum())

    def draw(generator: np.random.Generator, size: int) -> FloatArray:
        drawn = generator.multinomial(items, counts / items, size=size)
        return np.stack([(drawn * column).sum(axis=1) for column in rows.T], axis=1)

    return draw


def _item_drawer(table: FloatArray) -> _Drawer:
    items, width = table.shape
    whole = np.flatnonzero(_exactly_summable(table))
    counted = whole if len(whole) >= _WORTH_COUNTING else whole[:0]
    gathered = np.setdiff1d(np.arange(width), counted)
    columns = [np.ascontiguousarray(table[:, column]) for column in gathered]
    block = np.ascontiguousarray(table[:, counted])

    def draw(generator: np.random.Generator, size: int) -> FloatArray:
        indices = generator.integers(0, items, size=(size, items))
        totals = np.empty((size, width))
        for number, column in zip(gathered, columns, strict=True):
            totals[:, number] = column.take(indices).sum(axis=1)
        if len(counted):
            indices += np.arange(size)[:, None] * items
            times = np.bincount(indices.ravel(), minlength=size * items).reshape(size, items)
            totals[:, counted] = times.astype(np.float64) @ block
        return totals

    return draw


def _exactly_summable(table: FloatArray) -> NDArray[np.bool_]:
    """Which columns [columns] hold whole numbers small enough that sums over any resample are exact."""
    with np.errstate(invalid="ignore"):
        whole = (table == np.rint(table)).all(axis=0)
        small = np.abs(table).max(axis=0) * len(table) < _EXACT
    result: NDArray[np.bool_] = whole & small
    return result


def _in_blocks(draw: _Drawer, resamples: int, size: int, seed: Seed, threads: int | None) -> Iterable[FloatArray]:
    """Totals of all resamples, block by block in a fixed order, each block from a separate stream."""
    sizes = [min(size, resamples - start) for start in range(0, resamples, size)]
    streams = np.random.SeedSequence(seed).spawn(len(sizes))
    workers = min(threads or os.cpu_count() or 1, len(sizes))
    if workers == 1:
        yield from (draw(np.random.default_rng(stream), count) for stream, count in zip(streams, sizes, strict=True))
        return
    with ThreadPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(lambda stream, count: draw(np.random.default_rng(stream), count), streams, sizes)


def is_mean(statistics: FloatArray, score: Score) -> bool:
    """Whether the score is the mean of one value per row: statistics (value, 1), and their ratio."""
    return statistics.shape[1] == 2 and bool((statistics[:, 1] == 1.0).all()) and is_ratio(score)


def is_ratio(score: Score) -> bool:
    """Whether a score of two statistics is the ratio of the first to the second; perplexity has two statistics and is not."""
    probe = np.array([[0.25, 1.0], [1.0, 2.0], [1.0, 4.0]])
    return bool(np.array_equal(score(probe), [0.25, 0.5, 0.25]))
