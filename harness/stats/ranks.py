"""Who leads among several systems on the same items: mean win rates with intervals, and ranks that admit ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.stats.bootstrap import LEVEL, FloatArray, Score, joint_replicates

RESAMPLES = 1_000
"""Fewer than for intervals of single scores: there are many systems, and ranks are coarse."""


@dataclass(frozen=True)
class Contest:
    """One task's items, answered by several systems.

    Attributes:
        statistics: for each system, array [rows, statistics] over the same rows; None for a system that did not take part.
        score: from totals [..., statistics] to scores [...].
        higher_is_better: the score's direction.
    """

    statistics: Sequence[FloatArray | None]
    score: Score
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """One system among the others.

    Attributes:
        win_rate: mean over the tasks of the share of other systems that score worse, ties counting half; None where it met none.
        low, high: interval of the win rate over other items and other tasks.
        rank: 1 + the number of systems that are surely better; equal ranks are ties.
        best, worst: interval of the rank over other items of the same tasks.
    """

    win_rate: float | None
    low: float | None
    high: float | None
    rank: int | None
    best: int | None
    worst: int | None


def standings(contests: Sequence[Contest], *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> list[Standing]:
    """Win rates and ranks, one per system in the order of each contest's statistics.

    The win rate is HELM's (Liang et al., 2022). Its interval resamples items within tasks, and tasks. Ranks resample items only, all
    systems on the same resample: system a is surely better than b where it has the higher win rate in at least
    1 - (1 - level) / 2 of the resamples.

    Args:
        contests: one a task; each names as many systems.
        seed: of the resampling; contest i draws from the stream (seed, i).
        resamples: number of replicates.
        level: coverage of the intervals.
    """
    systems = len(contests[0].statistics) if contests else 0
    observed, fixed, varied = _Rates(systems, 1), _Rates(systems, resamples), _Rates(systems, resamples)
    draws = np.random.default_rng((seed, len(contests))).multinomial(len(contests), _even(len(contests)), size=resamples)
    for number, contest in enumerate(contests):
        present = [place for place, table in enumerate(contest.statistics) if table is not None]
        tables = [(table, contest.score) for table in contest.statistics if table is not None]
        if len(tables) < 2:
            continue
        totals = np.stack([contest.score(table.sum(axis=0)) for table, _ in tables])
        observed.add(present, _wins(totals[:, None], contest.higher_is_better), np.ones(1))
        wins = _wins(joint_replicates(tables, seed=(seed, number), resamples=resamples), contest.higher_is_better)
        fixed.add(present, wins, np.ones(resamples))
        varied.add(present, wins, draws[:, number].astype(np.float64))
    return _standings(observed.mean[:, 0], fixed.mean, varied.mean, level)


class _Rates:
    """Weighted means over contests of each system's win share [systems, resamples]."""

    def __init__(self, systems: int, resamples: int) -> None:
        self._sums = np.zeros((systems, resamples))
        self._weights = np.zeros((systems, resamples))

    def add(self, present: Sequence[int], wins: FloatArray, weights: FloatArray) -> None:
        """Count one contest: shares [present systems, resamples], and its weight in each resample."""
        self._sums[present] += wins * weights
        self._weights[present] += weights

    @property
    def mean(self) -> FloatArray:
        """NaN where a system took part in no contest of a resample."""
        with np.errstate(invalid="ignore"):
            result: FloatArray = self._sums / self._weights
        return result


def _even(count: int) -> FloatArray:
    return np.full(count, 1.0 / count) if count else np.ones(1)


def _wins(scores: FloatArray, higher_is_better: bool) -> FloatArray:
    """Share of the other systems that each beats, ties half: scores [systems, resamples] to shares of the same shape."""
    from scipy.stats import rankdata

    worth = np.nan_to_num(scores if higher_is_better else -scores, nan=-np.inf)
    ranks: FloatArray = rankdata(worth, axis=0)
    return (ranks - 1.0) / (len(scores) - 1)


def _standings(observed: FloatArray, fixed: FloatArray, varied: FloatArray, level: float) -> list[Standing]:
    tail = (1 - level) / 2
    here = np.flatnonzero(~np.isnan(observed))
    result = [Standing(None, None, None, None, None, None)] * len(observed)
    if not len(here):
        return result
    lows, highs = np.nanquantile(varied[here], [tail, 1 - tail], axis=1)
    for number, place in enumerate(here):
        above = fixed[here] > fixed[place]
        best, worst = np.quantile(1 + above.sum(axis=0), [tail, 1 - tail], method="nearest")
        result[place] = Standing(
            win_rate=float(observed[place]),
            low=float(lows[number]),
            high=float(highs[number]),
            rank=1 + int((above.mean(axis=1) >= 1 - tail).sum()),
            best=int(best),
            worst=int(worst),
        )
    return result
