"""Rank several systems on the same items: mean win rates with intervals, and ranks that allow ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from harness.stats.bootstrap import LEVEL, FloatArray, Score, Seed, resampled_totals

RESAMPLES = 1_000
"""Fewer than for intervals of single scores: there are many systems, and ranks are coarse."""


class Meeting(Protocol):
    """One task on which several systems were evaluated."""

    @property
    def systems(self) -> int:
        """Number of systems, including those that were not evaluated."""
        ...

    @property
    def present(self) -> Sequence[int]:
        """Indices of the systems that were evaluated."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """The score's direction."""
        ...

    def observed(self) -> FloatArray:
        """Scores of the present systems: array [present]."""
        ...

    def replicates(self, *, seed: Seed, resamples: int) -> FloatArray:
        """Their scores on resampled items: array [present, resamples]."""
        ...


@dataclass(frozen=True)
class Contest:
    """One task on which several systems were evaluated, with the statistics of its items.

    Attributes:
        statistics: for each system, array [rows, statistics] over the same rows and of equal width; None for a system that was not
            evaluated.
        score: from totals [..., statistics] to scores [...].
        higher_is_better: the score's direction.
    """

    statistics: Sequence[FloatArray | None]
    score: Score
    higher_is_better: bool = True

    @property
    def systems(self) -> int:
        """Number of systems."""
        return len(self.statistics)

    @property
    def present(self) -> list[int]:
        """Indices of the systems that were evaluated."""
        return [place for place, table in enumerate(self.statistics) if table is not None]

    @property
    def _tables(self) -> list[FloatArray]:
        return [table for table in self.statistics if table is not None]

    def observed(self) -> FloatArray:
        """Scores over all rows: array [present]."""
        return self.score(np.stack([table.sum(axis=0) for table in self._tables]))

    def replicates(self, *, seed: Seed, resamples: int) -> FloatArray:
        """Scores of resampled rows, the same for all systems: array [present, resamples]."""
        tables = self._tables
        totals = resampled_totals(np.concatenate(tables, axis=1), seed=seed, resamples=resamples)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.score(totals.reshape(resamples, len(tables), -1)).T


@dataclass(frozen=True)
class Estimates:
    """One task of which only scores and standard errors are known: an independent normal distribution for each system.

    Scores of systems on the same items are in fact correlated, so these rank intervals are wider than those of a `Contest`.

    Attributes:
        scores: for each system; None for one that was not evaluated.
        errors: their standard errors.
        higher_is_better: the score's direction.
    """

    scores: Sequence[float | None]
    errors: Sequence[float]
    higher_is_better: bool = True

    @property
    def systems(self) -> int:
        """Number of systems."""
        return len(self.scores)

    @property
    def present(self) -> list[int]:
        """Indices of the systems that were evaluated."""
        return [place for place, score in enumerate(self.scores) if score is not None]

    def observed(self) -> FloatArray:
        """The scores: array [present]."""
        return np.array([score for score in self.scores if score is not None], dtype=np.float64)

    def replicates(self, *, seed: Seed, resamples: int) -> FloatArray:
        """Draws from the distributions: array [present, resamples]."""
        scores = self.observed()[:, None]
        errors = np.array([self.errors[place] for place in self.present])[:, None]
        return scores + errors * np.random.default_rng(seed).standard_normal((len(scores), resamples))


@dataclass(frozen=True, slots=True)
class RankedSystem:
    """One system's win rate and rank.

    Attributes:
        win_rate: mean over the tasks of the share of other systems that score worse, ties counting half; None where no other was
            evaluated on the same tasks.
        low, high: interval of the win rate, resampling items and tasks.
        rank: 1 + the number of systems that are significantly better; equal ranks are ties.
        best, worst: interval of the rank, resampling items of the same tasks.
    """

    win_rate: float | None
    low: float | None
    high: float | None
    rank: int | None
    best: int | None
    worst: int | None


def standings_within(
    contests: Sequence[Meeting], subsets: Sequence[Sequence[int]], *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> list[list[RankedSystem]]:
    """Win rates and ranks for each of several subsets of the tasks, one per system in the order of each contest's statistics.

    The win rate is HELM's (Liang et al., 2022). Its interval resamples items within tasks, and tasks. Ranks resample items only, all
    systems on the same resample: system a is significantly better than b where it has the higher win rate in at least
    1 - (1 - level) / 2 of the resamples. Items are resampled once for all subsets.

    Args:
        contests: one for each task; all have the same number of systems.
        subsets: indices into `contests`.
        seed: of the resampling; contest i draws from the stream (seed, i).
        resamples: number of replicates.
        level: coverage of the intervals.
    """
    systems = contests[0].systems if contests else 0
    fields = [_Field(systems, resamples, subset, seed) for subset in subsets]
    for number, contest in enumerate(contests):
        present = contest.present
        if len(present) < 2:
            continue
        observed = _wins(contest.observed()[:, None], contest.higher_is_better)
        wins = _wins(contest.replicates(seed=(seed, number), resamples=resamples), contest.higher_is_better)
        for field in fields:
            field.add(number, present, observed, wins)
    return [_standings(field.observed.mean[:, 0], field.fixed.mean, field.varied.mean, level) for field in fields]


class _Field:
    """The contests of one subset, and the systems' wins in them: observed, with resampled items, and with resampled items and tasks."""

    def __init__(self, systems: int, resamples: int, subset: Sequence[int], seed: int) -> None:
        self.observed, self.fixed, self.varied = (_Rates(systems, columns) for columns in (1, resamples, resamples))
        self._columns = {number: column for column, number in enumerate(subset)}
        self._draws = np.random.default_rng((seed, len(subset))).multinomial(len(subset), _even(len(subset)), size=resamples)

    def add(self, number: int, present: Sequence[int], observed: FloatArray, wins: FloatArray) -> None:
        """Add a contest, if it belongs to the subset: win shares [present systems, 1] and [present systems, resamples]."""
        if number in self._columns:
            self.observed.add(present, observed, np.ones(1))
            self.fixed.add(present, wins, np.ones(wins.shape[1]))
            self.varied.add(present, wins, self._draws[:, self._columns[number]].astype(np.float64))


class _Rates:
    """Weighted means over contests of each system's win share [systems, resamples]."""

    def __init__(self, systems: int, resamples: int) -> None:
        self._sums = np.zeros((systems, resamples))
        self._weights = np.zeros((systems, resamples))

    def add(self, present: Sequence[int], wins: FloatArray, weights: FloatArray) -> None:
        """Add one contest: win shares [present systems, resamples], and its weight in each resample."""
        where = slice(None) if len(present) == len(self._sums) else present  # a list of places would copy the sums
        self._sums[where] += wins * weights
        self._weights[where] += weights

    @property
    def mean(self) -> FloatArray:
        """NaN where a system took part in no contest of a resample."""
        with np.errstate(invalid="ignore"):
            result: FloatArray = self._sums / self._weights
        return result


def _even(count: int) -> FloatArray:
    return np.full(count, 1.0 / count) if count else np.ones(1)


def _wins(scores: FloatArray, higher_is_better: bool) -> FloatArray:
    """Share of the other systems that each beats, ties counting half: scores [systems, resamples] to shares of the same shape."""
    worth = np.nan_to_num(scores if higher_is_better else -scores, nan=-np.inf)
    return _mean_places(np.ascontiguousarray(worth.T)).T / (len(scores) - 1)


def _mean_places(values: FloatArray) -> FloatArray:
    """Rank of each value in its row from the lowest, starting at 0; equal values share their mean rank (SciPy's rankdata)."""
    count = values.shape[1]
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    steps = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones((len(values), 1), dtype=bool)
    numbers = np.arange(count)
    first = np.maximum.accumulate(np.where(np.hstack([ends, steps]), numbers, 0), axis=1)
    last = np.minimum.accumulate(np.where(np.hstack([steps, ends]), numbers, count)[:, ::-1], axis=1)[:, ::-1]
    places = np.empty_like(values)
    np.put_along_axis(places, order, (first + last) / 2, axis=1)
    return places


def _standings(observed: FloatArray, fixed: FloatArray, varied: FloatArray, level: float) -> list[RankedSystem]:
    tail = (1 - level) / 2
    here = np.flatnonzero(~np.isnan(observed))
    result = [RankedSystem(None, None, None, None, None, None)] * len(observed)
    if not len(here):
        return result
    lows, highs = np.nanquantile(varied[here], [tail, 1 - tail], axis=1)
    rates = fixed[here]
    for number, place in enumerate(here):
        above = rates > rates[number]
        best, worst = np.quantile(1 + above.sum(axis=0), [tail, 1 - tail], method="nearest")
        result[place] = RankedSystem(
            win_rate=float(observed[place]),
            low=float(lows[number]),
            high=float(highs[number]),
            rank=1 + int((above.mean(axis=1) >= 1 - tail).sum()),
            best=int(best),
            worst=int(worst),
        )
    return result
