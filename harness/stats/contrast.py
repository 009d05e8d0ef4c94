"""The interval of one system's score less a multiple of another's, on the same items; with the multiple 1, of their difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from harness.stats import mover
from harness.stats.bca import bca_interval, influence
from harness.stats.bootstrap import LEVEL, RESAMPLES, FloatArray, Interval, Seed
from harness.stats.bounded import mean_interval
from harness.stats.discordant import unseen_share
from harness.stats.pairs import MacroPairs, Pairs
from harness.stats.student import widened
from harness.stats.unseen import heaviness, largest_influence, row_weights

FEW = 20
"""With fewer rows changed, resampling those few shows too little of what may happen; measured in tests/stats/test_coverage.py."""

HANDFUL = 20
"""Of fewer rows that all change alike the score interval ends too early: of four that all gain, the other kind may be 0.60 of all."""


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

    * BCa from the paired bootstrap (percentile where the jackknife is not defined), its level widened as that of single runs. Of bounded
      scores what may have stayed unseen is added in quadrature: see `unseen_room`.
    * Bounded means with fewer than `FEW` changed rows: the score interval, whose hypotheses allow rows that lost or gained everything,
      clusters by their weight. Of right and wrong single items, and with the factor 1, it is Tango's (1998).
    * Unbounded scores with fewer changes: none. A change that stayed unseen may be of any size.

    Args:
        pairs: the two systems.
        differences: replicates of after less `factor` times before [resamples].
        level: coverage aimed at.
        factor: of the score before, more than 0.
    """
    if pairs.rows < 2 or (pairs.changed < FEW and math.isinf(pairs.span)):
        return None
    few, value = pairs.changed < FEW, pairs.scores[1] - factor * pairs.scores[0]
    if few and (rows := _weighed_rows(pairs, level, factor)) is not None:
        return _within(_few_interval(*rows, level), pairs, factor)
    influences = pairs.jackknife(factor)
    acceleration = influences.acceleration if influences else 0.0
    found = bca_interval(differences, value, acceleration, widened(level, pairs.rows))
    if found is None:
        return None
    room = unseen_room(pairs, level, factor)
    low, high = value - math.hypot(value - found.low, room), value + math.hypot(found.high - value, room)
    return _within(Interval(low, high, "unseen" if few and room else found.method), pairs, factor)


def unseen_room(pairs: Pairs, level: float = LEVEL, factor: float = 1.0) -> float:
    """How far rows of a kind that stayed unseen may move a bounded score; 0 for scores without bounds, and where rows are tasks.

    Resampling knows changes of the sizes that it has seen. A kind of row of which none was drawn may make up `unseen_share` of all. Each
    row of it may move the score by as much as one row can, more than the change that was reached `FEW` times: in a mean by the whole span
    times what a row weighs, see `unseen_weight`; in other scores by what the rows seen can, see `largest_influence`, and at least by the
    span. Where items are right or wrong and at least `FEW` flip, nothing larger can be unseen.

    Args:
        pairs: the two systems.
        level: coverage aimed at.
        factor: of the score before.
    """
    if math.isinf(pairs.span) or isinstance(pairs, MacroPairs) or pairs.rows < 2:
        return 0.0
    most = pairs.span * max(1.0, factor)
    if (weights := _weights(pairs)) is not None:
        moved = (pairs.after[:, 0] - pairs.before[:, 0]) / weights.mean()
        most *= heaviness(weights, level)
    else:
        before, after = (influence(side, pairs.score) for side in (pairs.before, pairs.after))
        moved = np.zeros(pairs.rows) if before is None or after is None else pairs.rows * (after - factor * before)
        most = max(most, factor * largest_influence(pairs.before, pairs.score), largest_influence(pairs.after, pairs.score))
    seen = float(np.partition(np.abs(moved), -FEW)[-FEW]) if pairs.changed >= FEW else 0.0
    return unseen_share(pairs.rows, level) * max(0.0, most - seen)


def _weights(pairs: Pairs) -> FloatArray | None:
    """What each row weighs in a mean, such as a cluster by its items; None for other scores, and where rows are tasks."""
    if isinstance(pairs, MacroPairs) or not np.array_equal(pairs.before[:, 1:], pairs.after[:, 1:]):
        return None
    return row_weights(pairs.before, pairs.score)


def _weighed_rows(pairs: Pairs, level: float, factor: float) -> tuple[FloatArray, tuple[float, float]] | None:
    """What each row brings to a mean of after less `factor` times before, and between what a row that was not drawn does so.

    Rows of unequal weight bring the mean, and beyond it their distance from it times their weight, as the mean of one weight is the ratio
    of sums linearized (Cochran, 1977, section 6.3). None for other scores.
    """
    if (weights := _weights(pairs)) is None:
        return None
    own = (pairs.after[:, 0] - factor * pairs.before[:, 0]) / weights
    low, high = _range(own, pairs.span, factor)
    if (weights == weights[0]).all():
        return own, (low, high)
    mean, heavy = pairs.scores[1] - factor * pairs.scores[0], heaviness(weights, level)
    values = mean + weights / weights.mean() * (own - mean)
    return values, (min(float(values.min()), mean + heavy * (low - mean)), max(float(values.max()), mean + heavy * (high - mean)))


def _few_interval(values: FloatArray, bounds: tuple[float, float], level: float) -> Interval:
    """The score interval; of a handful of rows at least what a kind of row that was not drawn may change, which is exact."""
    found, mean, unseen = mean_interval(values, bounds, level), float(values.mean()), unseen_share(len(values), level)
    if len(values) >= HANDFUL:
        return found
    low, high = mean - unseen * (mean - bounds[0]), mean + unseen * (bounds[1] - mean)
    return Interval(min(found.low, low), max(found.high, high), found.method)


def _within(found: Interval, pairs: Pairs, factor: float) -> Interval:
    """Cut at what after less `factor` times before can be, whatever the lowest score is that a span about both scores can begin at."""
    before, after = pairs.scores
    least, most = max(before, after) - pairs.span, min(before, after)
    if math.isinf(pairs.span):
        return found
    lowest = min((1 - factor) * least, (1 - factor) * most) - factor * pairs.span
    highest = max((1 - factor) * least, (1 - factor) * most) + pairs.span
    return Interval(max(found.low, lowest), min(found.high, highest), found.method)


def macro_interval(pairs: MacroPairs, draw: Callable[[int], FloatArray], level: float = LEVEL, factor: float = 1.0) -> Interval | None:
    """Interval of a mean over tasks of after less `factor` times before, the items being what varies.

    Tasks with fewer than `FEW` changed rows are taken together where they are bounded means: each of their rows counts by its
    task's weight over its task's rows, a cluster by its own weight too. An item that stayed unseen may be one of the task in which it
    weighs most. Every other task has its own interval. These are put together by MOVER.

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
        if part.changed < FEW and math.isfinite(part.span) and _weights(part) is not None:
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
        if (weighed := _weighed_rows(part, level, factor)) is None:
            raise ValueError("a part that is not a mean")
        own, (low, high) = weighed
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
