"""The tasks taken together: how much was forgotten on the whole, and what the tuning brought."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.report.scored import Measured, Plan
from harness.stats import mover
from harness.stats.bootstrap import FloatArray, Interval, interval_of, joint_replicates
from harness.stats.contrast import FEW
from harness.stats.intervals import Part, mean_interval
from harness.stats.paired import Difference
from harness.stats.pairs import MacroPairs, Pairs
from harness.stats.verdict import VERDICTS, Verdict, scale_end, worst
from harness.store.runs import MetricRecord


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number over several tasks with its 95 % interval.

    Attributes:
        tasks: how many tasks it is over.
    """

    value: float
    low: float | None
    high: float | None
    tasks: int = 0


@dataclass(frozen=True)
class Placed:
    """A task's headlines on the scale from 0 to 1 with more as better, averaged where there are several.

    Attributes:
        before, after: the scores.
        replicates: both of each resample, array [2, resamples].
        interval: 95 % of after less before, (low, high); None where there is none.
        chance: what guessing scores.
        above_chance: whether the base is surely better than that.
    """

    before: float
    after: float
    replicates: FloatArray
    interval: tuple[float, float] | None
    chance: float
    above_chance: bool

    @property
    def change(self) -> float:
        """After less before."""
        return self.after - self.before

    @property
    def retention(self) -> float | None:
        """(after - chance) / (before - chance); None where the base is not surely above chance."""
        return (self.after - self.chance) / (self.before - self.chance) if self.above_chance else None


@dataclass(frozen=True)
class Unit:
    """One task, or a group that stands as one; `placed` is None where a headline has no bounded scale or cannot be compared."""

    name: str
    target: bool
    verdict: Verdict
    placed: Placed | None


@dataclass(frozen=True)
class Overall:
    """The whole comparison in a few numbers. Scores are put on a scale from 0 to 1 with more as better.

    Attributes:
        verdict: the worst over the tasks that were not tuned for; None where all were.
        verdicts: how many of these tasks have each verdict.
        share_forgotten: share of these tasks whose verdict is forgot.
        mean_change: mean over these tasks of after less before.
        mean_loss: mean over these tasks of what was lost, gains counting 0 (Chaudhry et al., 2018, forgetting, after one step).
        worst: the task with the largest loss; None where none can be put on the scale.
        retention: what is left of the sum of scores above chance, over the tasks on which the base is surely above chance.
        plasticity: mean over the targets of after less before.
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
        """Backward transfer (Lopez-Paz and Ranzato, 2017): with a single step of tuning it is the mean change."""
        return self.mean_change


def on_scale(headlines: Sequence[Measured], chance: float, plan: Plan, seed: Sequence[int]) -> Placed | None:
    """Put a task's headlines on the scale; None where one of them has no bounded scale or cannot be compared."""
    parts = []
    for one in headlines:
        scale = scale_end(one.record.high, one.record.unit)
        if scale is None or one.pairs is None or one.difference is None:
            return None
        parts.append((one.sign / scale, one.pairs, one.difference))
    before = float(np.mean([factor * found.before for factor, _, found in parts]))
    after = float(np.mean([factor * found.after for factor, _, found in parts]))
    replicates = _replicates(parts, plan, seed)
    above = all(one.sign > 0 for one in headlines) and _surely_above(headlines, chance, plan)
    return Placed(before, after, replicates, _interval(parts, replicates), chance, above)


def _surely_above(headlines: Sequence[Measured], chance: float, plan: Plan) -> bool:
    """Whether the interval of the mean of the scores before, as a single run has it, lies above what guessing scores."""
    tasks: list[list[Part]] = [[_before(one.pairs, one.record) for one in headlines if one.pairs is not None]]
    weights: tuple[float, ...] = (1.0,)
    first = headlines[0].pairs
    if isinstance(first, MacroPairs):
        tasks, weights = [[_before(part, headlines[0].record)] for part in first.parts], first.weights
    found = mean_interval(tasks, weights, seed=plan.seed, resamples=plan.resamples, threads=plan.threads)
    return found is not None and found.low > chance


def _before(pairs: Pairs, record: MetricRecord) -> Part:
    """The scores before, on the scale from 0 to 1."""
    scale = scale_end(record.high, record.unit) or 1.0
    low, high = (-math.inf if record.low is None else record.low), (math.inf if record.high is None else record.high)
    score = pairs.score if scale == 1.0 else lambda totals: pairs.score(totals) / scale
    return Part(pairs.before, score, None, (low / scale, high / scale))


def _interval(parts: Sequence[tuple[float, Pairs, Difference]], replicates: FloatArray) -> tuple[float, float] | None:
    """Of several headlines that of their mean's resamples; of one, or where few rows changed, the headlines' own, averaged."""
    bounds = interval_of(replicates[1] - replicates[0])
    if len(parts) > 1 and bounds is not None and all(pairs.changed >= FEW for _, pairs, _ in parts):
        return bounds.low, bounds.high
    ends = [sorted((factor * found.interval.low, factor * found.interval.high)) for factor, _, found in parts if found.interval]
    if len(ends) < len(parts):
        return None
    low, high = np.mean(ends, axis=0)
    return float(low), float(high)


def _replicates(parts: Sequence[tuple[float, Pairs, Difference]], plan: Plan, seed: Sequence[int]) -> FloatArray:
    """Both mean scores of each resample [2, resamples]; several scores of the same rows are resampled together."""
    drawn = [found.replicates for _, _, found in parts]
    if len(parts) > 1 and len({pairs.rows for _, pairs, _ in parts}) == 1:
        tables = [(table, pairs.score) for _, pairs, _ in parts for table in (pairs.before, pairs.after)]
        joint = joint_replicates(tables, seed=(plan.seed, *seed), resamples=plan.resamples, threads=plan.threads)
        drawn = [joint[2 * number : 2 * number + 2] for number in range(len(parts))]
    result: FloatArray = np.mean([factor * scores for (factor, _, _), scores in zip(parts, drawn, strict=True)], axis=0)
    return result


def overall(units: Sequence[Unit]) -> Overall:
    """Sum the units up."""
    rest = [unit for unit in units if not unit.target]
    counts = Counter(unit.verdict for unit in rest)
    placed = {unit.name: unit.placed for unit in rest if unit.placed}
    changes = {name: one.change for name, one in placed.items()}
    return Overall(
        verdict=worst([unit.verdict for unit in rest]) if rest else None,
        verdicts={name: counts[name] for name in VERDICTS},
        share_forgotten=counts["forgot"] / len(rest) if rest else None,
        mean_change=_mean_change(list(placed.values())),
        mean_loss=float(np.mean([max(0.0, -change) for change in changes.values()])) if changes else None,
        worst=min(changes, key=lambda name: changes[name], default=None),
        retention=_retention([one for one in placed.values() if one.above_chance]),
        plasticity=_mean_change([unit.placed for unit in units if unit.target and unit.placed]),
        left_out=tuple(unit.name for unit in units if unit.placed is None),
    )


def _mean_change(placed: Sequence[Placed]) -> Estimate | None:
    """The mean of the changes, its interval recovered from theirs: tasks have no items in common."""
    if not placed:
        return None
    changes = [one.change for one in placed]
    share = 1.0 / len(placed)
    bounds = _sum_of(changes, [one.interval for one in placed], share)
    return Estimate(float(np.mean(changes)), bounds.low if bounds else None, bounds.high if bounds else None, len(placed))


def _retention(placed: Sequence[Placed]) -> Estimate | None:
    """What is left of the sum of scores above chance: 1 + the sum of changes / the sum before.

    The changes have the intervals of their tasks, which allow for what may have stayed unseen where few items changed; those of the
    scores before are percentiles. Both sums are put together by MOVER, and their ratio by MOVER-R with the correlation of the resamples.
    """
    if not placed:
        return None
    changes, befores = [one.change for one in placed], [one.before - one.chance for one in placed]
    change, before = math.fsum(changes), math.fsum(befores)
    ends = [interval_of(one.replicates[0] - one.chance) for one in placed]
    over = _sum_of(changes, [one.interval for one in placed])
    under = _sum_of(befores, [(end.low, end.high) if end else None for end in ends])
    value = 1.0 + change / before
    if over is None or under is None:
        return Estimate(value, None, None, len(placed))
    drawn: FloatArray = np.sum([one.replicates for one in placed], axis=0)
    bounds = mover.ratio(change, over, before, under, _correlation(drawn[1] - drawn[0], drawn[0]))
    low, high = (1.0 + bounds.low, 1.0 + bounds.high) if bounds else (None, None)
    return Estimate(value, low, high, len(placed))


def _sum_of(values: Sequence[float], ends: Sequence[tuple[float, float] | None], weight: float = 1.0) -> Interval | None:
    """Interval of a sum over tasks, each times the weight; None where a task has none."""
    intervals = [Interval(*end, "") for end in ends if end is not None]
    return mover.weighted_sum(values, intervals, [weight] * len(values)) if len(intervals) == len(values) else None


def _correlation(one: FloatArray, other: FloatArray) -> float:
    """Of two sets of replicates, those left out that are no number; 0 where either does not vary."""
    both = np.stack([one, other])[:, np.isfinite(one) & np.isfinite(other)]
    if both.shape[1] < 2 or not (both.std(axis=1) > 0).all():
        return 0.0
    centred = both - both.mean(axis=1, keepdims=True)
    return float((centred[0] * centred[1]).mean() / (both[0].std() * both[1].std()))
