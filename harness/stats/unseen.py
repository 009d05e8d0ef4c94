"""Room for kinds of rows (items or clusters) of which none was drawn, where rows have unequal weight or influence."""

from __future__ import annotations

import math

import numpy as np

from harness.stats.bca import influence
from harness.stats.bootstrap import LEVEL, FloatArray, Score, is_ratio
from harness.stats.discordant import unseen_share

SEEN = 5
"""Resampling covers a value that this many rows reach; how many rows lie beyond it cannot be estimated from fewer.

With fewer than 16 rows it is 1 plus a quarter of their number, rounded down."""


def unseen_weight(weights: FloatArray, level: float = LEVEL) -> float:
    """Upper bound of the share of all weight that a kind of row has, given that none of it was drawn.

    Among rows as heavy as the m heaviest, a share of `unseen_share(m)` may be of an unseen kind; the largest result over all m is taken.
    For rows of equal weight it is `unseen_share` of their number.

    Args:
        weights: of the rows [rows], each more than 0.
        level: nominal coverage, between 0 and 1.
    """
    heaviest = np.sort(weights)[::-1]
    shares = 1.0 - ((1 - level) / 2) ** (1.0 / np.arange(1, len(heaviest) + 1))
    return float((shares * np.cumsum(heaviest)).max() / heaviest.sum())


def unseen_row_weight(weights: FloatArray, level: float = LEVEL) -> float:
    """Weight of an unseen row, with the mean weight as the unit, such that a share of `unseen_share` of these rows has `unseen_weight`."""
    return unseen_weight(weights, level) / unseen_share(len(weights), level)


def largest_influence(statistics: FloatArray, score: Score) -> float:
    """How much a score would change if all rows went from the kind that lowers it most to the kind that raises it most.

    For a share it is 1. In corpus scores a row may count for more, such as one of a rare class, or a long one. 0 where the score is not
    defined without some row.

    Args:
        statistics: array [rows, statistics], at least two rows.
        score: from totals [..., statistics] to scores [...].
    """
    moves = influence(statistics, score)
    return 0.0 if moves is None else float(np.ptp(moves)) * len(statistics)


def row_weights(statistics: FloatArray, score: Score) -> FloatArray | None:
    """The weight of each row in a ratio of sums [rows]; None for other scores, and where a row has no weight."""
    if statistics.shape[1] != 2 or not (statistics[:, 1] > 0).all() or not is_ratio(score):
        return None
    return statistics[:, 1]


def score_room(
    statistics: FloatArray, score: Score, value: float, bounds: tuple[float, float], level: float = LEVEL
) -> tuple[float, float]:
    """How far an unseen kind of row may move a score down and up; 0 on a side without a bound.

    A kind of row of which none was drawn may make up `unseen_weight` of all, and have a value at either bound. Resampling covers the
    observed values, so the room begins at the value that `SEEN` rows reach on that side. In a corpus score a row's value is its
    pseudo-value (Efron and Tibshirani, 1993, section 11.5). Where no row moves a corpus score, such as a correlation of constant
    predictions, it may still grow with the root of the share of other rows.

    Args:
        statistics: array [rows, statistics].
        score: from totals [..., statistics] to scores [...].
        value: the score over all rows.
        bounds: the lowest and the highest possible score; infinite where there is no bound.
        level: nominal coverage, between 0 and 1.
    """
    rows = len(statistics)
    if rows < 2 or not np.isfinite(bounds).any():
        return 0.0, 0.0
    if (weights := row_weights(statistics, score)) is not None:
        share = unseen_weight(weights, level)
        values = value + weights / weights.mean() * (statistics[:, 0] / weights - value)
    else:
        share, moves = unseen_share(rows, level), influence(statistics, score)
        values = value + (np.zeros(rows) if moves is None else (rows - 1) * moves)
        share = math.sqrt(share) if moves is not None and not np.ptp(moves) else share
    place = min(SEEN, 1 + rows // 4) - 1
    low, high = float(np.partition(values, place)[place]), -float(np.partition(-values, place)[place])
    below, above = min(low, value) - bounds[0], bounds[1] - max(high, value)
    return (share * max(0.0, below) if math.isfinite(below) else 0.0), (share * max(0.0, above) if math.isfinite(above) else 0.0)
