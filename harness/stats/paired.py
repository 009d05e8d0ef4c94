"""Compare two systems on the same items: the difference of any score with its interval, test, effect size and detectable difference.

Everything is a function of the two systems' per-item statistics and of the score of their totals, so accuracy, ROUGE, BLEU and
the Matthews correlation share one code path. Differences are after minus before, in the score's unit, whatever its direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.stats import effects, power
from harness.stats.bootstrap import LEVEL, RESAMPLES, FloatArray, Interval, Seed
from harness.stats.contrast import FEW, contrast, unseen_room
from harness.stats.discordant import Flips, mcnemar
from harness.stats.pairs import MacroPairs, Pairs
from harness.stats.permutation import p_value, permuted

Test = Literal["mcnemar", "permutation"]


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two systems in one score.

    Attributes:
        before, after: the scores.
        interval: 95 % interval of after minus before; None where there are fewer than two rows, or no resample has a score.
        test: which test `p` is from.
        p: two-sided, of no difference; exact McNemar for correct and incorrect rows, a paired permutation test for the rest.
        p_bootstrap: the paired bootstrap test of machine translation; None for correct and incorrect rows.
        error: standard error of the difference.
        observed_error: the same from the observed changes alone, without what is added for unseen rows; for correct and incorrect rows,
            that of no true difference.
        effect: Cohen's h for correct and incorrect rows, d_z for the rest; None where rows do not vary.
        flips: rows lost and gained; None where rows are not correct or incorrect.
        detectable: the smallest true difference that this many rows detect with 80 % power.
        rows: number of pairs.
        replicates: both scores of each resample, array [2, resamples].
    """

    before: float
    after: float
    interval: Interval | None
    test: Test
    p: float
    p_bootstrap: float | None
    error: float
    observed_error: float
    effect: float | None
    flips: Flips | None
    detectable: float
    rows: int
    replicates: FloatArray

    @property
    def value(self) -> float:
        """After minus before."""
        return self.after - self.before


def compare(
    pairs: Pairs,
    *,
    seed: Seed = 0,
    resamples: int = RESAMPLES,
    permutations: int = RESAMPLES,
    level: float = LEVEL,
    threads: int | None = None,
) -> PairedDifference:
    """Compare two systems in one score.

    Args:
        pairs: their statistics.
        seed: of resampling and permuting.
        resamples: number of bootstrap replicates.
        permutations: number of exchanges drawn for the permutation test.
        level: coverage of the interval.
        threads: maximum number of threads; the result does not depend on it.
    """
    replicates, interval = contrast(pairs, seed=seed, resamples=resamples, level=level, threads=threads)
    differences = replicates[1] - replicates[0]
    flips, value = pairs.flips, pairs.difference
    null = None
    p_bootstrap = None
    if flips is None:
        null = permuted(pairs.before, pairs.after, pairs.score, seed=seed, permutations=permutations)
        p_bootstrap = bootstrap_p(replicates, value)
    error = standard_error(pairs, differences)
    return PairedDifference(
        before=pairs.scores[0],
        after=pairs.scores[1],
        interval=interval,
        test="mcnemar" if flips else "permutation",
        p=mcnemar(flips) if flips else p_value(null, value) if null else 1.0,
        p_bootstrap=p_bootstrap,
        error=error,
        observed_error=_observed_error(pairs, error),
        effect=effects.cohen_h(*pairs.scores) if flips else effects.standardized(value, error, pairs.rows),
        flips=flips,
        detectable=_detectable(pairs, error, level),
        rows=pairs.rows,
        replicates=replicates,
    )


def standard_error(pairs: Pairs, differences: FloatArray) -> float:
    """Standard error of the difference: of a mean by its formula, of other scores the standard deviation of the replicates.

    Half a pair is added to each kind of flip, so that a few items without flips do not suggest certainty. In a mean over tasks one row
    is added for the tasks in which few rows changed; it counts as in the task in which it weighs most.
    """
    if isinstance(pairs, MacroPairs) and not pairs.whole:
        parts = list(zip(pairs.parts, pairs.weights, strict=True))
        if all(part.mean for part, _ in parts):
            unseen = [weight / part.rows * part.span for part, weight in parts if part.changed < FEW and math.isfinite(part.span)]
            return math.hypot(*(weight * _scatter(part) for part, weight in parts), max(unseen, default=0.0))
    if flips := pairs.flips:
        rows = pairs.rows + 1
        return math.sqrt((flips.changed + 1) / rows - ((flips.gained - flips.lost) / rows) ** 2) / math.sqrt(rows)
    if pairs.mean:
        return _scatter(pairs)
    defined = differences[~np.isnan(differences)]
    return float(defined.std()) if len(defined) else math.nan


def _scatter(pairs: Pairs) -> float:
    """Standard error of the difference of two means."""
    values = pairs.after[:, 0] - pairs.before[:, 0]
    return float(values.std(ddof=1)) / math.sqrt(pairs.rows) if pairs.rows > 1 else 0.0


def _observed_error(pairs: Pairs, error: float) -> float:
    """Standard error of the difference from the observed changes alone."""
    if isinstance(pairs, MacroPairs) and not pairs.whole and all(part.mean for part in pairs.parts):
        return math.hypot(*(weight * _scatter(part) for part, weight in zip(pairs.parts, pairs.weights, strict=True)))
    return math.sqrt(flips.changed) / flips.rows if (flips := pairs.flips) else error


def _detectable(pairs: Pairs, error: float, level: float) -> float:
    least = power.detectable(error, level)
    if pairs.flips is None and (room := unseen_room(pairs, level)):
        scatter = power.QUANTILE * error
        return least - scatter + math.hypot(scatter, room)
    return least


def bootstrap_p(replicates: FloatArray, observed: float) -> float | None:
    """The p-value of the paired bootstrap test, as sacrebleu's `--paired-bs` computes it.

    The replicates' absolute differences, centred on their mean, against the observed one (after Moses'
    `bootstrap-hypothesis-difference-significance.pl`; Koehn, 2004, resamples alike). Being one-tailed about an absolute value it
    is less accurate than the permutation test, and reported for comparison with published tables.

    Args:
        replicates: both scores [2, resamples].
        observed: the difference of the scores.
    """
    distances = np.abs(replicates[1] - replicates[0])
    distances = distances[~np.isnan(distances)]
    if not len(distances):
        return None
    return (int((distances - distances.mean() > abs(observed)).sum()) + 1) / (len(distances) + 1)
