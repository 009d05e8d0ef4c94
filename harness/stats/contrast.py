"""The interval of one system's score less a multiple of another's, on the same items; with the multiple 1, of their difference."""

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
"""With fewer rows changed, resampling those few shows too little of what may happen; measured in tests/stats/test_coverage.py."""


def contrast(
    pairs: Pairs,
    *,
    factor: float = 1.0,
    seed: Seed = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    threads: int | None = None,
) -> tuple[FloatArray, Interval | None]:
    """Both scores of each resample, array [2, resamples], and the interval of after less `factor` times before.

    Args:
        pairs: the two systems, on one task or on several that are averaged.
        factor: of the score before.
        seed: of the resampling.
        resamples: bootstrap replicates.
        level: coverage of the interval.
        threads: at most this many; the result does not depend on it.
    """
    if not isinstance(pairs, MacroPairs):
        drawn = pairs.replicates(seed=seed, resamples=resamples, threads=threads)
        return drawn, difference_interval(pairs, drawn[1] - factor * drawn[0], level, factor)

    @cache
    def draw(place: int) -> FloatArray:
        return pairs.replicates_of(place, seed=seed, resamples=resamples, threads=threads)

    found = macro_interval(pairs, draw, level, factor)
    if not pairs.whole:
        return np.average([draw(place) for place in range(len(pairs.parts))], axis=0, weights=pairs.weights), found
    drawn = pairs.replicates(seed=seed, resamples=resamples, threads=threads)
    return drawn, _wider(difference_interval(pairs, drawn[1] - factor * drawn[0], level, factor), found)


def difference_interval(pairs: Pairs, differences: FloatArray, level: float = LEVEL, factor: float = 1.0) -> Interval | None:
    """Interval of after less `factor` times before, of one task.

    * BCa from the paired bootstrap, as long as at least `FEW` rows change and the jackknife is defined (else percentile). Of bounded
      means it is at least as wide as what may have stayed unseen: see `unseen_room`.
    * Bounded means with fewer changes: the score interval, whose hypotheses allow items that lost or gained everything. Of right and
      wrong, and with the factor 1, it is Tango's (1998).
    * Other bounded scores with fewer changes: at least as wide, to both sides, as what may have stayed unseen among so many rows
      (a kind of item of which none was drawn may make up `unseen_share` of all, and move by the whole span).
    * Unbounded scores with fewer changes: none. A change that stayed unseen may be of any size.

    Args:
        pairs: the two systems.
        differences: replicates of after less `factor` times before [resamples].
        level: coverage aimed at.
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
    found = bca_interval(differences, value, influence.acceleration if influence else 0.0, level)
    if found is None:
        return None
    if not few:
        room = unseen_room(pairs, level, factor)
        return Interval(value - math.hypot(value - found.low, room), value + math.hypot(found.high - value, room), found.method)
    room = unseen_share(pairs.rows, level) * pairs.span * max(1.0, factor)
    return Interval(min(found.low, value - room), max(found.high, value + room), "unseen")


def unseen_room(pairs: Pairs, level: float = LEVEL, factor: float = 1.0) -> float:
    """How far items of a kind that stayed unseen may move a bounded mean of single items; 0 for other scores, and where rows are tasks.

    Resampling knows changes of the sizes that it has seen. A kind of item of which none was drawn may make up `unseen_share` of all,
    and each such item may change by up to the whole span: by that much more than the change that was reached `FEW` times. Where items are
    right or wrong and at least `FEW` flip, nothing larger can be unseen.

    Args:
        pairs: the two systems, of which at least `FEW` rows change.
        level: coverage aimed at.
        factor: of the score before.
    """
    if math.isinf(pairs.span) or isinstance(pairs, MacroPairs) or not pairs.mean or pairs.changed < FEW:
        return 0.0
    seen = float(np.partition(np.abs(pairs.after[:, 0] - pairs.before[:, 0]), -FEW)[-FEW])
    return unseen_share(pairs.rows, level) * max(0.0, pairs.span * max(1.0, factor) - seen)


def macro_interval(pairs: MacroPairs, draw: Callable[[int], FloatArray], level: float = LEVEL, factor: float = 1.0) -> Interval | None:
    """Interval of a mean over tasks of after less `factor` times before, the items being what varies.

    Tasks with fewer than `FEW` changed rows are taken together where they are bounded means: each of their rows counts by its
    task's weight over its task's rows, so an item that stayed unseen may be one of the task in which it weighs most. Every other
    task has its own interval. These are put together by MOVER.

    Args:
        pairs: the tasks and their weights.
        draw: from a task's place to both scores of each of its resamples, array [2, resamples].
        level: coverage aimed at.
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
        found = difference_interval(part, drawn[1] - factor * drawn[0], level, factor)
        if found is None:
            return None
        values.append(part.scores[1] - factor * part.scores[0])
        intervals.append(found)
        weights.append(weight)
    if pooled:
        found = _pooled_interval(pooled, level, factor)
        values.append(sum(weight * (part.scores[1] - factor * part.scores[0]) for part, weight in pooled))
        intervals.append(found)
        weights.append(1.0)
    return intervals[0] if len(pooled) == len(pairs.parts) else mover.weighted_sum(values, intervals, weights)


def _pooled_interval(parts: list[tuple[Pairs, float]], level: float, factor: float) -> Interval:
    """Of the weighted sum of bounded means: that of one mean over all their rows, each times what it weighs."""
    rows = sum(part.rows for part, _ in parts)
    values, lowest, highest = [], [], []
    for part, weight in parts:
        own = part.after[:, 0] - factor * part.before[:, 0]
        low, high = _range(own, part.span, factor)
        times = rows * weight / part.rows
        values.append(times * own)
        lowest.append(times * low)
        highest.append(times * high)
    return mean_interval(np.concatenate(values), (min(lowest), max(highest)), level)


def _range(values: FloatArray, span: float, factor: float) -> tuple[float, float]:
    """Between what bounds after less `factor` times before lies, of scores from 0 to `span`, or from elsewhere as was seen."""
    return min(-factor * span, float(values.min())), max(span, float(values.max()))


def _wider(one: Interval | None, other: Interval | None) -> Interval | None:
    """From the lower of both low ends to the higher of both high ends."""
    if one is None or other is None:
        return one or other
    return Interval(min(one.low, other.low), max(one.high, other.high), one.method)
