"""Interval of one system's score minus a multiple of another's on the same items; with the multiple 1, of their difference."""

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
from harness.stats.student import bootstrap_level
from harness.stats.unseen import largest_influence, row_weights, unseen_row_weight

FEW = 20
"""With fewer changed rows, resampling underestimates the variation; measured in tests/stats/test_coverage.py."""

FEW_ROWS = 20
"""With fewer rows that all change alike, the score interval is too narrow: where all of 4 rows gain, up to 0.60 of all may not."""


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

    * BCa from the paired bootstrap (percentile where the jackknife is not defined), its level widened as that of single runs. For bounded
      scores the room for unseen changes is added in quadrature: see `unseen_room`.
    * Bounded means with fewer than `FEW` changed rows: the score interval, whose hypotheses allow rows that lost or gained everything, with
      clusters counted by their weight. For correct and incorrect single items and the factor 1 it is Tango's (1998).
    * Unbounded scores with fewer changes: none. An unobserved change may be of any size.

    Args:
        pairs: the two systems.
        differences: replicates of after minus `factor` times before [resamples].
        level: nominal coverage.
        factor: of the score before, more than 0.
    """
    if pairs.rows < 2 or (pairs.changed < FEW and math.isinf(pairs.span)):
        return None
    few, value = pairs.changed < FEW, pairs.scores[1] - factor * pairs.scores[0]
    if few and (weighted := _weighted_rows(pairs, level, factor)) is not None:
        return _within_bounds(_few_interval(*weighted, level), pairs, factor)
    jackknife = pairs.jackknife(factor)
    acceleration = jackknife.acceleration if jackknife else 0.0
    bca = bca_interval(differences, value, acceleration, bootstrap_level(level, pairs.rows))
    if bca is None:
        return None
    room = unseen_room(pairs, level, factor)
    low, high = value - math.hypot(value - bca.low, room), value + math.hypot(bca.high - value, room)
    return _within_bounds(Interval(low, high, "unseen" if few and room else bca.method), pairs, factor)


def unseen_room(pairs: Pairs, level: float = LEVEL, factor: float = 1.0) -> float:
    """How far unseen kinds of rows may move a bounded score; 0 for scores without bounds, and where rows are tasks.

    Resampling covers changes of the observed sizes. A kind of row of which none was drawn may make up `unseen_share` of all. Each row of
    it may move the score by as much as one row can, less the change that `FEW` rows reached. In a mean, one row can move the score by the
    whole span times its weight, see `unseen_weight`; in other scores by as much as the observed rows can, see `largest_influence`, and at
    least by the span. Where items are correct or incorrect and at least `FEW` flip, no larger change exists.

    Args:
        pairs: the two systems.
        level: nominal coverage.
        factor: of the score before.
    """
    if math.isinf(pairs.span) or isinstance(pairs, MacroPairs) or pairs.rows < 2:
        return 0.0
    most = pairs.span * max(1.0, factor)
    if (weights := _weights(pairs)) is not None:
        moves = (pairs.after[:, 0] - pairs.before[:, 0]) / weights.mean()
        most *= unseen_row_weight(weights, level)
    else:
        before, after = (influence(side, pairs.score) for side in (pairs.before, pairs.after))
        moves = np.zeros(pairs.rows) if before is None or after is None else pairs.rows * (after - factor * before)
        most = max(most, factor * largest_influence(pairs.before, pairs.score), largest_influence(pairs.after, pairs.score))
    seen = float(np.partition(np.abs(moves), -FEW)[-FEW]) if pairs.changed >= FEW else 0.0
    return unseen_share(pairs.rows, level) * max(0.0, most - seen)


def _weights(pairs: Pairs) -> FloatArray | None:
    """The weight of each row in a mean, such as a cluster's number of items; None for other scores, and where rows are tasks."""
    if isinstance(pairs, MacroPairs) or not np.array_equal(pairs.before[:, 1:], pairs.after[:, 1:]):
        return None
    return row_weights(pairs.before, pairs.score)


def _weighted_rows(pairs: Pairs, level: float, factor: float) -> tuple[FloatArray, tuple[float, float]] | None:
    """Each row's value in a mean of after minus `factor` times before [rows], and the bounds of an unseen row's value.

    None for other scores. The mean of these values is the difference of the scores. Rows of unequal weight have the value
    mean + weight x (change - mean), with weights of mean 1: the linearization of a ratio of sums (Cochran, 1977, section 6.3).
    """
    weights = _weights(pairs)
    if weights is None:
        return None
    changes = (pairs.after[:, 0] - factor * pairs.before[:, 0]) / weights
    low, high = _range(changes, pairs.span, factor)
    if (weights == weights[0]).all():
        return changes, (low, high)
    mean, heavy = pairs.scores[1] - factor * pairs.scores[0], unseen_row_weight(weights, level)
    values = mean + weights / weights.mean() * (changes - mean)
    return values, (min(float(values.min()), mean + heavy * (low - mean)), max(float(values.max()), mean + heavy * (high - mean)))


def _few_interval(values: FloatArray, bounds: tuple[float, float], level: float) -> Interval:
    """The score interval; with fewer than `FEW_ROWS` rows at least as wide as an unseen kind of row requires, which is exact."""
    bounds_of_score, mean, unseen = mean_interval(values, bounds, level), float(values.mean()), unseen_share(len(values), level)
    if len(values) >= FEW_ROWS:
        return bounds_of_score
    low, high = mean - unseen * (mean - bounds[0]), mean + unseen * (bounds[1] - mean)
    return Interval(min(bounds_of_score.low, low), max(bounds_of_score.high, high), bounds_of_score.method)


def _within_bounds(bounds: Interval, pairs: Pairs, factor: float) -> Interval:
    """Clip an interval to the possible values of after minus `factor` times before.

    Only the span of the scores is known. Their lowest value may lie anywhere that leaves both scores within the span.
    """
    if math.isinf(pairs.span):
        return bounds
    before, after = pairs.scores
    least, most = max(before, after) - pairs.span, min(before, after)
    lowest = min((1 - factor) * least, (1 - factor) * most) - factor * pairs.span
    highest = max((1 - factor) * least, (1 - factor) * most) + pairs.span
    return Interval(max(bounds.low, lowest), min(bounds.high, highest), bounds.method)


def macro_interval(pairs: MacroPairs, draw: Callable[[int], FloatArray], level: float = LEVEL, factor: float = 1.0) -> Interval | None:
    """Interval of a mean over tasks of after minus `factor` times before, with items as the random part.

    Tasks with fewer than `FEW` changed rows are pooled where they are bounded means: each of their rows counts by its task's weight
    over its task's rows, and a cluster by its weight too, so an unobserved item may belong to the task in which it weighs most. Every
    other task has a separate interval. These are combined by MOVER.

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
        if part.changed < FEW and math.isfinite(part.span) and _weights(part) is not None:
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
        weighted = _weighted_rows(part, level, factor)
        if weighted is None:
            raise ValueError("only means can be pooled")
        changes, (low, high) = weighted
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
