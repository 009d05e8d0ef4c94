"""Two systems on the same items: the difference of any score with its interval, its test, its size, and what could have been found.

Everything is a function of the two systems' per-item statistics and of the score of their totals, so accuracy, ROUGE, BLEU and
the Matthews correlation go one way. Differences are after less before, in the score's unit, whatever its direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from harness.stats import effects, power
from harness.stats.bca import Jackknife, bca_interval, jackknife
from harness.stats.bootstrap import LEVEL, RESAMPLES, FloatArray, Interval, Score, Seed, is_mean, joint_replicates
from harness.stats.discordant import Flips, mcnemar, score_interval, unseen_share
from harness.stats.permutation import Permuted, p_value, permuted

FEW = 20
"""With fewer rows changed, resampling those few shows too little of what may happen; measured in tests/stats/test_coverage.py."""

Test = Literal["mcnemar", "permutation"]


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
        """How many pairs."""
        return len(self.before)

    @cached_property
    def scores(self) -> tuple[float, float]:
        """The scores before and after."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(self.score(self.before.sum(axis=0))), float(self.score(self.after.sum(axis=0)))

    @property
    def difference(self) -> float:
        """After less before."""
        return self.scores[1] - self.scores[0]

    @cached_property
    def changed(self) -> int:
        """Rows whose statistics differ."""
        return int((self.before != self.after).any(axis=1).sum())

    @cached_property
    def mean(self) -> bool:
        """Whether the score is the mean of one value a row."""
        return is_mean(self.before, self.score) and is_mean(self.after, self.score)

    @cached_property
    def flips(self) -> Flips | None:
        """Rows lost and gained, where each is right or wrong; None for other scores."""
        if not self.mean or not np.isin(np.concatenate([self.before[:, 0], self.after[:, 0]]), (0.0, 1.0)).all():
            return None
        right, still = self.before[:, 0] == 1.0, self.after[:, 0] == 1.0
        return Flips(int((right & ~still).sum()), int((~right & still).sum()), self.rows)

    @cached_property
    def jackknife(self) -> Jackknife | None:
        """Of the difference; None where it is undefined without some row, or there are fewer than two rows."""
        if self.rows < 2:
            return None
        return jackknife(np.concatenate([self.before, self.after], axis=1), self._difference)

    def _difference(self, totals: FloatArray) -> FloatArray:
        before, after = np.split(totals, 2, axis=-1)
        result: FloatArray = self.score(after) - self.score(before)
        return result

    def replicates(self, *, seed: Seed = 0, resamples: int = RESAMPLES, threads: int | None = None) -> FloatArray:
        """Both scores of resamples of the rows, pairs kept together: array [2, resamples], before and after."""
        both = [(self.before, self.score), (self.after, self.score)]
        return joint_replicates(both, seed=seed, resamples=resamples, threads=threads)


@dataclass(frozen=True)
class Difference:
    """What two systems' difference in one score amounts to.

    Attributes:
        before, after: the scores.
        interval: 95 % interval of after less before; None where there are fewer than two rows, or no resample has a score.
        p: two-sided, of no difference; exact McNemar for right and wrong, a paired permutation test for the rest.
        p_bootstrap: the paired bootstrap test of machine translation; None for right and wrong.
        error: standard error of the difference.
        effect: Cohen's h for right and wrong, d_z for the rest; None where nothing scatters.
        flips: rows lost and gained; None where rows are not right or wrong.
        detectable: the least true difference that so many rows find in 80 % of cases.
        replicates: both scores of each resample, array [2, resamples].
        null: differences under exchange of the systems, for tests over several scores; None for right and wrong.
    """

    before: float
    after: float
    interval: Interval | None
    test: Test
    p: float
    p_bootstrap: float | None
    error: float
    effect: float | None
    flips: Flips | None
    detectable: float
    rows: int
    replicates: FloatArray
    null: Permuted | None

    @property
    def value(self) -> float:
        """After less before."""
        return self.after - self.before


def compare(
    pairs: Pairs,
    *,
    seed: Seed = 0,
    resamples: int = RESAMPLES,
    permutations: int = RESAMPLES,
    level: float = LEVEL,
    threads: int | None = None,
) -> Difference:
    """Everything about the difference of two systems in one score.

    Args:
        pairs: their statistics.
        seed: of resampling and permuting.
        resamples: bootstrap replicates.
        permutations: exchanges drawn for the permutation test.
        level: coverage of the interval.
        threads: at most this many; the result does not depend on it.
    """
    replicates = pairs.replicates(seed=seed, resamples=resamples, threads=threads)
    differences = replicates[1] - replicates[0]
    flips, value = pairs.flips, pairs.difference
    null = None
    p_bootstrap = None
    if flips is None:
        null = permuted(pairs.before, pairs.after, pairs.score, seed=seed, permutations=permutations)
        p_bootstrap = bootstrap_p(replicates, value)
    error = standard_error(pairs, differences)
    return Difference(
        before=pairs.scores[0],
        after=pairs.scores[1],
        interval=difference_interval(pairs, differences, level),
        test="mcnemar" if flips else "permutation",
        p=mcnemar(flips) if flips else p_value(null, value) if null else 1.0,
        p_bootstrap=p_bootstrap,
        error=error,
        effect=effects.cohen_h(*pairs.scores) if flips else effects.standardized(value, error, pairs.rows),
        flips=flips,
        detectable=_detectable(pairs, error, level),
        rows=pairs.rows,
        replicates=replicates,
        null=null,
    )


def difference_interval(pairs: Pairs, differences: FloatArray, level: float = LEVEL) -> Interval | None:
    """Interval of the difference.

    * BCa from the paired bootstrap, as long as at least `FEW` rows change and the jackknife is defined (else percentile).
    * Right and wrong with fewer flips: Tango's score interval.
    * Other bounded scores with fewer changes: at least as wide, to both sides, as what may have stayed unseen among so many rows
      (a kind of item of which none was drawn may make up `unseen_share` of all, and move by the whole span).
    * Unbounded scores in which no row changes: a point. They are continuous, and equal to the last bit only where nothing differs.

    Args:
        pairs: the two systems.
        differences: replicates of the difference [resamples].
        level: coverage aimed at.
    """
    if pairs.rows < 2:
        return None
    if pairs.flips is not None and pairs.changed < FEW:
        return score_interval(pairs.flips, level)
    found = bca_interval(differences, pairs.difference, pairs.jackknife.acceleration if pairs.jackknife else 0.0, level)
    if found is None or pairs.changed >= FEW or math.isinf(pairs.span):
        return found
    room = unseen_share(pairs.rows, level) * pairs.span
    return Interval(min(found.low, pairs.difference - room), max(found.high, pairs.difference + room), "unseen")


def standard_error(pairs: Pairs, differences: FloatArray) -> float:
    """Standard error of the difference: of a mean by its formula, of other scores the scatter of the replicates.

    Flips are counted with half a pair more of each kind, so that a few items without flips do not promise certainty.
    """
    if flips := pairs.flips:
        rows = pairs.rows + 1
        return math.sqrt((flips.changed + 1) / rows - ((flips.gained - flips.lost) / rows) ** 2) / math.sqrt(rows)
    if pairs.mean and pairs.jackknife:
        return pairs.jackknife.error
    defined = differences[~np.isnan(differences)]
    return float(defined.std()) if len(defined) else math.nan


def _detectable(pairs: Pairs, error: float, level: float) -> float:
    least = power.detectable(error, level)
    if pairs.flips is None and pairs.changed < FEW and math.isfinite(pairs.span):
        return max(least, unseen_share(pairs.rows, level) * pairs.span)
    return least


def bootstrap_p(replicates: FloatArray, observed: float) -> float | None:
    """The p-value of the paired bootstrap test as sacrebleu's `--paired-bs` computes it.

    The replicates' absolute differences, centred on their mean, against the observed one (after Moses'
    `bootstrap-hypothesis-difference-significance.pl`; Koehn, 2004, resamples alike). Being one-tailed about an absolute value it
    is rougher than the permutation test, and given beside it for comparison with published tables.

    Args:
        replicates: both scores [2, resamples].
        observed: the difference of the scores.
    """
    distances = np.abs(replicates[1] - replicates[0])
    distances = distances[~np.isnan(distances)]
    if not len(distances):
        return None
    return (int((distances - distances.mean() > abs(observed)).sum()) + 1) / (len(distances) + 1)
