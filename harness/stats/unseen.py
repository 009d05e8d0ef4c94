"""Room for rows of a kind of which none was drawn, where rows weigh or matter unequally: items, or clusters of them."""

from __future__ import annotations

import numpy as np

from harness.stats.bca import influence
from harness.stats.bootstrap import LEVEL, FloatArray, Score, is_ratio
from harness.stats.discordant import unseen_share


def unseen_weight(weights: FloatArray, level: float = LEVEL) -> float:
    """The largest share of all weight that rows of some kind may have although none of them was drawn.

    Of the m heaviest rows, `unseen_share(m)` may be of a kind that is heavy and stayed unseen; the m that leaves most counts. Of rows of
    equal weight it is `unseen_share` of all.

    Args:
        weights: of the rows [rows], each more than 0.
        level: coverage aimed at, between 0 and 1.
    """
    heaviest = np.sort(weights)[::-1]
    shares = 1.0 - ((1 - level) / 2) ** (1.0 / np.arange(1, len(heaviest) + 1))
    return float((shares * np.cumsum(heaviest)).max() / heaviest.sum())


def heaviness(weights: FloatArray, level: float = LEVEL) -> float:
    """How many times the mean an unseen row weighs, so that `unseen_share` of such rows have `unseen_weight`."""
    return unseen_weight(weights, level) / unseen_share(len(weights), level)


def largest_influence(statistics: FloatArray, score: Score) -> float:
    """By how much a score would change if all rows went from the kind that lowers it most to the kind that raises it most.

    Of a share it is 1. Of corpus scores a row counts for more than its part of the scale: one of a rare class, or a long one. 0 where it
    is not defined without some row.

    Args:
        statistics: array [rows, statistics], at least two rows.
        score: from totals [..., statistics] to scores [...].
    """
    moved = influence(statistics, score)
    return 0.0 if moved is None else float(np.ptp(moved)) * len(statistics)


def row_weights(statistics: FloatArray, score: Score) -> FloatArray | None:
    """What each row weighs in a ratio of sums [rows]; None for other scores, and where a row weighs nothing."""
    if statistics.shape[1] != 2 or not (statistics[:, 1] > 0).all() or not is_ratio(score):
        return None
    return statistics[:, 1]
