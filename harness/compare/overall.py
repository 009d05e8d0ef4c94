"""Summarize a comparison over all tasks: how much was forgotten, and what fine-tuning gained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.compare.metric import ComparisonOptions, Measured
from harness.stats import mover
from harness.stats.bootstrap import FloatArray, Interval, interval_of, joint_replicates
from harness.stats.contrast import FEW
from harness.stats.intervals import ScoreStatistics, mean_interval
from harness.stats.paired import PairedDifference
from harness.stats.pairs import MacroPairs, Pairs
from harness.stats.verdict import VERDICTS, Verdict, scale_end, worst
from harness.store.records import MetricRecord


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number over several tasks with its 95 % interval.

    Attributes:
        value: the number.
        low, high: its interval; None where there is none.
        tasks: number of tasks.
    """

    value: float
    low: float | None
    high: float | None
    tasks: int = 0


@dataclass(frozen=True)
class ScaledScore:
    """A task's headlines on a scale from 0 to 1 where higher is better, averaged where there are several.

    Attributes:
        before, after: the scores.
        replicates: both scores of each resample, array [2, resamples].
        interval: 95 % interval of after minus before, (low, high); None where there is none.
        chance: expected score of guessing.
        above_chance: whether the base is significantly better than guessing.
    """

    before: float
    after: float
    replicates: FloatArray
    interval: tuple[float, float] | None
    chance: float
    above_chance: bool

    @property
    def change(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def retention(self) -> float | None:
        """(after - chance) / (before - chance); None where the base is not significantly above chance."""
        return (self.after - self.chance) / (self.before - self.chance) if self.above_chance else None


@dataclass(frozen=True)
class ScaledTask:
    """One task, or a group compared as one; `scaled` is None where a headline has no bounded scale or cannot be compared."""

    name: str
    target: bool
    verdict: Verdict
    scaled: ScaledScore | None


@dataclass(frozen=True)
class Overall:
    """The whole comparison in a few numbers. Scores are mapped to a scale from 0 to 1 where higher is better.

    Attributes:
        verdict: the worst over the tasks that are not targets; None where all are.
        verdicts: how many of these tasks have each verdict.
        share_forgotten: share of these tasks whose verdict is forgot.
        mean_change: mean over these tasks of after minus before.
        mean_loss: mean loss over these tasks, gains counting 0 (Chaudhry et al., 2018, forgetting, after one step).
        worst: the task with the largest loss; None where no task has a bounded scale.
        retention: share of the sum of scores above chance that is left, over the tasks on which the base is significantly above chance.
        plasticity: mean over the targets of after minus before.
        left_out: tasks without a bounded scale, which have a verdict but are in no mean.
    """

    verdict: Verdict | None
    verdicts: Mapping[Verdict, int]
    share_forgotten: float | None
    mean_change: Estimate | None
    mean_loss: float | None
    worst: str | None
    retention: Estimate | None
    plasticity: Estimate | None
    left_out: tuple[str, ...]

    @property
    def backward_transfer(self) -> Estimate | None:
        """Backward transfer (Lopez-Paz and Ranzato, 2017): after a single step of fine-tuning it is the mean change."""
        return self.mean_change


def on_common_scale(headlines: Sequence[Measured], chance: float, options: ComparisonOptions, seed: Sequence[int]) -> ScaledScore | None:
    """Map a task's headlines to the scale from 0 to 1; None where one of them has no bounded scale or cannot be compared."""
    parts = []
    for score in headlines:
        scale = scale_end(score.record.high, score.record.unit)
        if scale is None or score.pairs is None or score.difference is None:
            return None
        parts.append((score.sign / scale, score.pairs, score.difference))
    before = float(np.mean([factor * difference.before for factor, _, difference in parts]))
    after = float(np.mean([factor * difference.after for factor, _, difference in parts]))
    replicates = _replicates(parts, options, seed)
    above = all(score.sign > 0 for score in headlines) and _above_chance(headlines, chance, options)
    return ScaledScore(before, after, replicates, _interval(parts, replicates), chance, above)


def _above_chance(headlines: Sequence[Measured], chance: float, options: ComparisonOptions) -> bool:
    """Whether the interval of the mean of the scores before, computed as that of a single run, lies above the score of guessing."""
    tasks: list[list[ScoreStatistics]] = [[_scaled_before(score.pairs, score.record) for score in headlines if score.pairs is not None]]
    weights: tuple[float, ...] = (1.0,)
    first = headlines[0].pairs
    if isinstance(first, MacroPairs):
        tasks, weights = [[_scaled_before(part, headlines[0].record)] for part in first.parts], first.weights
    bounds = mean_interval(tasks, weights, seed=options.seed, resamples=options.resamples, threads=options.threads)
    return bounds is not None and bounds.low > chance


def _scaled_before(pairs: Pairs, record: MetricRecord) -> ScoreStatistics:
    """The score before, on the scale from 0 to 1."""
    scale = scale_end(record.high, record.unit) or 1.0
    low, high = (-math.inf if record.low is None else record.low), (math.inf if record.high is None else record.high)
    score = pairs.score if scale == 1.0 else lambda totals: pairs.score(totals) / scale
    return ScoreStatistics(pairs.before, score, None, (low / scale, high / scale))


def _interval(parts: Sequence[tuple[float, Pairs, PairedDifference]], replicates: FloatArray) -> tuple[float, float] | None:
    """Interval of the change: for several headlines from their mean's resamples; for one, or with few changed rows, the mean of theirs."""
    bounds = interval_of(replicates[1] - replicates[0])
    if len(parts) > 1 and bounds is not None and all(pairs.changed >= FEW for _, pairs, _ in parts):
        return bounds.low, bounds.high
    intervals = [(factor, difference.interval) for factor, _, difference in parts if difference.interval]
    ends = [sorted((factor * interval.low, factor * interval.high)) for factor, interval in intervals]
    if len(ends) < len(parts):
        return None
    low, high = np.mean(ends, axis=0)
    return float(low), float(high)


def _replicates(parts: Sequence[tuple[float, Pairs, PairedDifference]], options: ComparisonOptions, seed: Sequence[int]) -> FloatArray:
    """Both mean scores of each resample [2, resamples]; several scores of the same rows are resampled together."""
    drawn = [difference.replicates for _, _, difference in parts]
    if len(parts) > 1 and len({pairs.rows for _, pairs, _ in parts}) == 1:
        tables = [(table, pairs.score) for _, pairs, _ in parts for table in (pairs.before, pairs.after)]
        joint = joint_replicates(tables, seed=(options.seed, *seed), resamples=options.resamples, threads=options.threads)
        drawn = [joint[2 * number : 2 * number + 2] for number in range(len(parts))]
    result: FloatArray = np.mean([factor * scores for (factor, _, _), scores in zip(parts, drawn, strict=True)], axis=0)
    return result


def overall(tasks: Sequence[ScaledTask]) -> Overall:
    """Summarize all tasks."""
    rest = [task for task in tasks if not task.target]
    counts = Counter(task.verdict for task in rest)
    scaled = {task.name: task.scaled for task in rest if task.scaled}
    changes = {name: score.change for name, score in scaled.items()}
    return Overall(
        verdict=worst([task.verdict for task in rest]) if rest else None,
        verdicts={name: counts[name] for name in VERDICTS},
        share_forgotten=counts["forgot"] / len(rest) if rest else None,
        mean_change=_mean_change(list(scaled.values())),
        mean_loss=float(np.mean([max(0.0, -change) for change in changes.values()])) if changes else None,
        worst=min(changes, key=lambda name: changes[name], default=None),
        retention=_retention([score for score in scaled.values() if score.above_chance]),
        plasticity=_mean_change([task.scaled for task in tasks if task.target and task.scaled]),
        left_out=tuple(task.name for task in tasks if task.scaled is None),
    )


def _mean_change(scores: Sequence[ScaledScore]) -> Estimate | None:
    """The mean of the changes, its interval computed from theirs: tasks have no items in common."""
    if not scores:
        return None
    changes = [score.change for score in scores]
    share = 1.0 / len(scores)
    bounds = _sum_of(changes, [score.interval for score in scores], share)
    return Estimate(float(np.mean(changes)), bounds.low if bounds else None, bounds.high if bounds else None, len(scores))


def _retention(scores: Sequence[ScaledScore]) -> Estimate | None:
    """The share of the sum of scores above chance that is left: 1 + the sum of changes / the sum before.

    The changes have the intervals of their tasks, which allow for unseen changes where few items changed; those of the scores before
    are percentiles. Both sums are combined by MOVER, and their ratio by MOVER-R with the correlation of the resamples.
    """
    if not scores:
        return None
    changes, befores = [score.change for score in scores], [score.before - score.chance for score in scores]
    change, before = math.fsum(changes), math.fsum(befores)
    ends = [interval_of(score.replicates[0] - score.chance) for score in scores]
    over = _sum_of(changes, [score.interval for score in scores])
    under = _sum_of(befores, [(end.low, end.high) if end else None for end in ends])
    value = 1.0 + change / before
    if over is None or under is None:
        return Estimate(value, None, None, len(scores))
    drawn: FloatArray = np.sum([score.replicates for score in scores], axis=0)
    bounds = mover.ratio(change, over, before, under, _correlation(drawn[1] - drawn[0], drawn[0]))
    low, high = (1.0 + bounds.low, 1.0 + bounds.high) if bounds else (None, None)
    return Estimate(value, low, high, len(scores))


def _sum_of(values: Sequence[float], ends: Sequence[tuple[float, float] | None], weight: float = 1.0) -> Interval | None:
    """Interval of a sum over tasks, each times the weight; None where a task has no interval."""
    intervals = [Interval(*end, "") for end in ends if end is not None]
    return mover.weighted_sum(values, intervals, [weight] * len(values)) if len(intervals) == len(values) else None


def _correlation(first: FloatArray, second: FloatArray) -> float:
    """Correlation of two sets of replicates, without those that are not numbers; 0 where either does not vary."""
    both = np.stack([first, second])[:, np.isfinite(first) & np.isfinite(second)]
    if both.shape[1] < 2 or not (both.std(axis=1) > 0).all():
        return 0.0
    centred = both - both.mean(axis=1, keepdims=True)
    return float((centred[0] * centred[1]).mean() / (both[0].std() * both[1].std()))
