"""Paired statistics: two systems on the same items, of one task or of several that are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.stats.bca import Jackknife, jackknife
from harness.stats.bootstrap import RESAMPLES, FloatArray, Score, Seed, is_mean, joint_replicates
from harness.stats.discordant import Flips


@dataclass(frozen=True)
class Pairs:
    """Two systems' statistics on the same rows.

    Attributes:
        before, after: arrays [rows, statistics].
        score: from totals [..., statistics] to scores [...].
        span: from the worst to the best score; infinite where there is no bound.
    """

    before: FloatArray
    after: FloatArray
    score: Score
    span: float = math.inf

    @property
    def rows(self) -> int:
        """Number of pairs."""
        return len(self.before)

    @cached_property
    def scores(self) -> tuple[float, float]:
        """The scores before and after."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(self.score(self.before.sum(axis=0))), float(self.score(self.after.sum(axis=0)))

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.scores[1] - self.scores[0]

    @cached_property
    def changed(self) -> int:
        """Number of rows whose statistics differ."""
        return int((self.before != self.after).any(axis=1).sum())

    @cached_property
    def mean(self) -> bool:
        """Whether the score is the mean of one value per row."""
        return is_mean(self.before, self.score) and is_mean(self.after, self.score)

    @cached_property
    def flips(self) -> Flips | None:
        """Rows lost and gained, where each is correct or incorrect; None for other scores."""
        if not self.mean or not np.isin(np.concatenate([self.before[:, 0], self.after[:, 0]]), (0.0, 1.0)).all():
            return None
        before, after = self.before[:, 0] == 1.0, self.after[:, 0] == 1.0
        return Flips(int((before & ~after).sum()), int((~before & after).sum()), self.rows)

    def jackknife(self, factor: float = 1.0) -> Jackknife | None:
        """Jackknife of after minus `factor` times before; None where it is undefined without some row, or with fewer than two rows."""
        if self.rows < 2:
            return None

        def contrast(totals: FloatArray) -> FloatArray:
            before, after = np.split(totals, 2, axis=-1)
            result: FloatArray = self.score(after) - factor * self.score(before)
            return result

        return jackknife(np.concatenate([self.before, self.after], axis=1), contrast)

    def replicates(self, *, seed: Seed = 0, resamples: int = RESAMPLES, threads: int | None = None) -> FloatArray:
        """Both scores of resampled pairs: array [2, resamples], before and after."""
        both = [(self.before, self.score), (self.after, self.score)]
        return joint_replicates(both, seed=seed, resamples=resamples, threads=threads)


@dataclass(frozen=True)
class MacroPairs(Pairs):
    """Two systems on several tasks whose scores are averaged.

    Attributes:
        before, after: rows of all tasks, each task's statistics in separate columns; or a row for each task, with its score, or with its
            sums for a score over all items.
        parts: the tasks; for a score over all items, a single part with all their items.
        weights: of the tasks, with the sum 1.
        whole: whether rows are tasks.
    """

    parts: tuple[Pairs, ...] = ()
    weights: tuple[float, ...] = ()
    whole: bool = False

    def replicates_of(self, place: int, *, seed: Seed = 0, resamples: int = RESAMPLES, threads: int | None = None) -> FloatArray:
        """Both scores of resamples of one task's rows, array [2, resamples]; each task draws from a separate stream."""
        stream = tuple(seed) if isinstance(seed, Sequence) else (seed,)
        return self.parts[place].replicates(seed=(*stream, place), resamples=resamples, threads=threads)
