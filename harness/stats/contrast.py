"""Interval of one system's score minus a multiple of another's on the same items; with the multiple 1, of their difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from harness.stats import mover
from harness.stats.bca import bca_interval
from harness.stats.bootstrap import LEVEL, RESAMPLES, FloatArray, Interval, Seed
from harness.stats.bounded import mean_interval
from harness.stats.discordant import unseen_share
from harness.stats.pairs import MacroPairs, Pairs

FEW = 20
"""With fewer changed rows, resampling underestimates the variation; measured in tests/stats/test_coverage.py."""


def contrast(
    pairs: Pairs,
    *,
    factor: float = 1.0,
    seed: Seed = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    threads: int | None = None,
) -> tuple[FloatArray, Interval | None]:
    """Both scores of each resample, array [2, resamples], and the interval of after minus `factor` times before.

    Args:
        pairs: the two systems, on one task or on several that are averaged.
        factor: of the score before.
        seed: of the resampling.
        resamples: number of bootstrap replicates.
        level: coverage of the interval.
        threads: maximum number; the result does not depend on it.
    """
    if not isinstance(pairs, MacroPairs):
        drawn = pairs.replicates(seed=seed, resamples=resamples, threads=threads)
        return drawn, difference_interval(pairs, drawn[1] - factor * drawn[0], level, factor)

    @cache
    def draw(place: int) -> FloatArray:
        return pairs.replicates_of(place, seed=seed, resamples=resamples, threads=threads)

    over_items = macro_interval(pairs, draw, level, factor)
    if not pairs.whole:
        return np.average([draw(place) for place in range(len(pairs.parts))], axis=0, weights=pairs.weights), over_items
    drawn = pairs.replicates(seed=seed, resamples=resamples, threads=threads)
    return drawn, _wider(difference_interval(pairs, drawn[1] - factor * drawn[0], level, factor), over_items)


def difference_interval(pairs: Pairs, differences: FloatArray, level: float = LEVEL, factor: float = 1.0) -> Interval | None:
    """Interval of after minus `factor` times before, of one task.

    * BCa from the paired bootstrap, if at least `FEW` rows change and the jackknife is defined (else percentile). For bounded means it
      is at least wide enough for changes that may be unobserved: see `unseen_room`.
    * Bounded means with fewer changes: the score interval, whose hypotheses allow items that lost or gained everything. For correct and
      incorrect items and the factor 1 it is Tango's (1998).
    * Other bounded scores with fewer changes: at least wide enough, on both sides, for changes that may be unobserved among this many
      rows (a kind of item of which none was drawn may make up `unseen_share` of all, and change by the whole span).
    * Unbounded scores with fewer changes: none. An unobserved change may be of any size.

    Args:
        pairs: the two systems.
        differences: replicates of after minus `factor` times before [resamples].
        level: nominal coverage.
        factor: of the score before, more than 0.
    """
    if pairs.rows < 2 or (pairs.changed < FEW and math.isinf(pairs.span)):
        return None
    few = pairs.changed < FEW
    if few and pairs.mean:
        values = pairs.after[:, 0] - factor * pairs.before[:, 0]
        return mean_interval(values, _range(values, pairs.span, factor), level)
    value = pairs.scores[1] - factor * pairs.scores[0]
    influence = pairs.jackknife(factor)
    bca = bca_interval(differences, value, influence.acceleration if influence else 0.0, level)
    if bca is None:
        return None
    if not few:
        room = unseen_room(pairs, level, factor)
        return Interval(value - math.hypot(value - bca.low, room), value + math.hypot(bca.high - value, room), bca.method)
    room = unseen_share(pairs.rows, level) * pairs.span * max(1.0, factor)
    return Interval(min(bca.low, value - room), max(bca.high, value + room), "unseen")


def unseen_room(pairs: Pairs, level: float = LEVEL, factor: float = 1.0) -> float:
    """How far unobserved kinds of items may move a bounded mean of single items; 0 for other scores, and where rows are tasks.

    Resampling covers changes of the observed sizes. A kind of item of which none was drawn may make up `unseen_share` of all, and each
    such item may change by up to the whole span, which exceeds the change that `FEW` rows reached. Where items are correct or incorrect
    and at least `FEW` flip, no larger change exists.

    Args:
        pairs: the two systems; at least `FEW` rows change.
        level: nominal coverage.
        factor: of the score before.
    """
    if math.isinf(pairs.span) or isinstance(pairs, MacroPairs) or not pairs.mean or pairs.changed < FEW:
        return 0.0
    seen = float(np.partition(np.abs(pairs.after[:, 0] - pairs.before[:, 0]), -FEW)[-FEW])
    return unseen_share(pairs.rows, level) * max(0.0, pairs.span * max(1.0, factor) - seen)


def macro_interval(pairs: MacroPairs, draw: Callable[[int], FloatArray], level: float = LEVEL, factor: float = 1.0) -> Interval | None:
    """Interval of a mean over tasks of after minus `factor` times before, with items as the random part.

    Tasks with fewer than `FEW` changed rows are pooled where they are bounded means: each of their rows counts by its task's weight
    over its task's rows, so an unobserved item may belong to the task in which it weighs most. Every other task has a separate
    interval. These are combined by MOVER.

    Args:
        pairs: the tasks and their weights.
        draw: from a task's place to both scores of each of its resamples, array [2, resamples].
        level: nominal coverage.
        factor: of the score before, more than 0.

    Returns:
        None where a task has no interval.
    """
    values, intervals, weights = [], [], []
    pooled = []
    for place, (part, weight) in enumerate(zip(pairs.parts, pairs.weights, strict=True)):
        if part.mean and part.changed < FEW and math.isfinite(part.span):
            pooled.append((part, weight))
            continue
        drawn = draw(place)
        of_part = difference_interval(part, drawn[1] - factor * drawn[0], level, factor)
        if of_part is None:
            return None
        values.append(part.scores[1] - factor * part.scores[0])
        intervals.append(of_part)
        weights.append(weight)
    if pooled:
        of_pooled = _pooled_interval(pooled, level, factor)
        values.append(sum(weight * (part.scores[1] - factor * part.scores[0]) for part, weight in pooled))
        intervals.append(of_pooled)
        weights.append(1.0)
    return intervals[0] if len(pooled) == len(pairs.parts) else mover.weighted_sum(values, intervals, weights)


def _pooled_interval(parts: list[tuple[Pairs, float]], level: float, factor: float) -> Interval:
    """Interval of a weighted sum of bounded means: that of one mean over all their rows, each times its weight."""
    rows = sum(part.rows for part, _ in parts)
    values, lowest, highest = [], [], []
    for part, weight in parts:
        changes = part.after[:, 0] - factor * part.before[:, 0]
        low, high = _range(changes, part.span, factor)
        times = rows * weight / part.rows
        values.append(times * changes)
        lowest.append(times * low)
        highest.append(times * high)
    return mean_interval(np.concatenate(values), (min(lowest), max(highest)), level)


def _range(values: FloatArray, span: float, factor: float) -> tuple[float, float]:
    """Bounds of after minus `factor` times before, for scores from 0 to `span`, extended to the observed values."""
    return min(-factor * span, float(values.min())), max(span, float(values.max()))


def _wider(first: Interval | None, second: Interval | None) -> Interval | None:
    """The smallest interval that contains both."""
    if first is None or second is None:
        return first or second
    return Interval(min(first.low, second.low), max(first.high, second.high), first.method)
