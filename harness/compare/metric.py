"""Compare one score before and after: options, the comparison with its verdict, and p-values adjusted over several scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.compare import same_system
from harness.stats import power
from harness.stats.bootstrap import RESAMPLES, Interval
from harness.stats.multiplicity import adjusted
from harness.stats.paired import PairedDifference, Test, compare
from harness.stats.pairs import Pairs
from harness.stats.power import ForgettingPower, IntervalReach
from harness.stats.verdict import Verdict, change, default_margin, verdict
from harness.store.records import MetricRecord


@dataclass(frozen=True)
class ComparisonOptions:
    """How to compare.

    Attributes:
        tasks: names of tasks and groups to compare; None for all that both results have.
        targets: names of tasks and groups that the model was fine-tuned on; excluded from the forgetting verdict.
        margins: the largest loss that does not matter, in the metric's unit, by `task.metric`, `task` or `metric`, the first of
            these that is named; else `verdict.default_margin`.
        clusters: by task, the label whose equal values mark items that belong together.
        groups: whether a group that averages one metric is compared as one, with its tasks as parts.
        seed: of all resampling.
        resamples: number of bootstrap replicates.
        threads: maximum number of threads; the numbers do not depend on it.
    """

    tasks: tuple[str, ...] | None = None
    targets: tuple[str, ...] = ()
    margins: Mapping[str, float] = field(default_factory=dict)
    clusters: Mapping[str, str] = field(default_factory=dict)
    groups: bool = True
    seed: int = 0
    resamples: int = RESAMPLES
    threads: int | None = None

    def margin(self, task: str, key: str, record: MetricRecord, before: float) -> float:
        """The margin of one score, in its unit."""
        named = next((self.margins[name] for name in (f"{task}.{key}", task, key) if name in self.margins), None)
        return default_margin(record.high, record.unit, before) if named is None else named


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One score of two systems on the same items.

    Differences are after minus before, in the score's unit, whatever its direction.

    Attributes:
        metric: its name in the results.
        unit: of the score.
        higher_is_better: the score's direction.
        headline: whether it is a headline of the task.
        items: number of shared items.
        rows: number of rows that were resampled.
        resampled: what a row is: "items", "clusters" of items, "groups" that the metric scores as one, or "tasks" of a group.
        before, after: scores over the shared items; None where undefined.
        low, high, method: 95 % interval of the difference, and how it was computed.
        margin: the largest loss that does not matter.
        verdict: see `stats.verdict`.
        test, p: two-sided p of no difference, and the test it comes from.
        p_holm, p_bh: p adjusted for all scores that are tested together (Holm, 1979; Benjamini and Hochberg, 1995).
        p_bootstrap: the paired bootstrap test's p; None where items are correct or incorrect.
        effect, effect_size: "h" or "d_z", and its value.
        lost, gained: numbers of items correct before and incorrect after, and the reverse; None where items are not correct or incorrect.
        odds_ratio: gained over lost; None without flips or where none was lost.
        detectable: the smallest true difference whose interval excludes 0 with 80 % power, with these items.
        items_needed: number of items that would show, with the same power, that no more than the margin was lost, if nothing was.
        detectable_loss: the smallest true loss that gets the verdict forgot with 80 % power, with these items and this many scores
            tested together; None where no loss does.
        items_for_loss: number of items with which a loss of twice the margin gets the verdict forgot with the same power.
        items_for_change: the same for the observed loss; None where it is within the margin.
        observed_error: standard error of the difference, from the observed changes alone.
        reason: why there is no test and no verdict.
    """

    metric: str
    unit: str
    higher_is_better: bool
    headline: bool
    items: int
    rows: int
    resampled: str
    before: float | None
    after: float | None
    margin: float
    verdict: Verdict
    low: float | None = None
    high: float | None = None
    method: str | None = None
    test: Test | None = None
    p: float | None = None
    p_holm: float | None = None
    p_bh: float | None = None
    p_bootstrap: float | None = None
    effect: str | None = None
    effect_size: float | None = None
    lost: int | None = None
    gained: int | None = None
    odds_ratio: float | None = None
    detectable: float | None = None
    items_needed: int | None = None
    detectable_loss: float | None = None
    items_for_loss: int | None = None
    items_for_change: int | None = None
    observed_error: float | None = None
    reason: str | None = None

    @property
    def difference(self) -> float | None:
        """After minus before, in the score's unit."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def change(self) -> float | None:
        """The difference, with its sign changed where lower is better: positive is better."""
        return self.difference if self.difference is None or self.higher_is_better else -self.difference

    def items_for_retained(self, margin: float) -> int | None:
        """Number of items that would show with 80 % power that no more than a margin was lost, if nothing was; None if no number does."""
        reach = self._reach(-math.inf)
        return reach.items_needed(margin, power.POWER) if reach else None

    def items_to_resolve(self, margin: float) -> int | None:
        """The same; where the present items suffice, the number that puts the interval on one side of the margin if the change stays."""
        needed = self.items_needed if margin == self.margin else self.items_for_retained(margin)
        return needed if needed is not None and needed > self.items else self.items_beyond(-margin)

    def items_beyond(self, limit: float) -> int | None:
        """Number of items that puts the interval of the change on one side of a limit, if the change stays; None where it is the limit."""
        reach = self._reach(limit)
        needed = reach.items_needed(abs((self.change or 0.0) - limit)) if reach else None
        return None if needed is None else max(self.items + 1, needed)

    def _reach(self, limit: float) -> IntervalReach | None:
        """From the change to the end of its interval on the side of a limit; None without an interval, or where it cannot shrink."""
        error = self.observed_error
        if self.low is None or self.high is None or self.change is None or error is None or not math.isfinite(error):
            return None
        low, high = change(Interval(self.low, self.high, ""), self.higher_is_better)
        distance = self.change - low if self.change > limit else high - self.change
        return IntervalReach.of(distance, error, self.items, self.items if self.resampled == "tasks" else self.rows)


@dataclass(frozen=True)
class Measured:
    """One score's difference before p-values are adjusted and verdicts are drawn.

    Attributes:
        key: the metric.
        record: from the results before; its range and direction hold for both.
        values: before and after as the results give them, for a score that cannot be compared item by item.
        headline: whether it is a headline of the task.
        items: number of shared items.
        margin: the largest loss that does not matter.
        flips: numbers of items lost and gained, where items are correct or incorrect.
        resampled: see `MetricComparison`.
        pairs, difference: None where `reason` says why.
        reason: why the score cannot be compared item by item.
        steady: whether one system gave the same responses twice, so that nothing can have changed even where nothing can be resampled.
    """

    key: str
    record: MetricRecord
    values: tuple[float | None, float | None]
    headline: bool
    items: int
    margin: float
    flips: tuple[int, int] | None
    resampled: str
    pairs: Pairs | None
    difference: PairedDifference | None
    reason: str | None
    steady: bool = False

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.record.higher_is_better else -1


def difference_of(pairs: Pairs, options: ComparisonOptions, seed: Sequence[int], tests: int) -> PairedDifference:
    """Compare a score. More tests mean more permutations, so that the least possible p stays well below 0.01 / tests."""
    permutations = max(RESAMPLES, 200 * tests)
    return compare(pairs, seed=(options.seed, *seed), resamples=options.resamples, permutations=permutations, threads=options.threads)


def with_verdicts(scores: Sequence[Measured]) -> list[MetricComparison]:
    """Compare scores that are tested together: p-values adjusted over all of them, and verdicts."""
    p_values = [score.difference.p if score.difference else None for score in scores]
    holm, bh = adjusted(p_values, "holm"), adjusted(p_values, "fdr_bh")
    tests = sum(p is not None for p in p_values)
    return [_comparison(score, holm[place], bh[place], tests) for place, score in enumerate(scores)]


def _comparison(score: Measured, p_holm: float | None, p_bh: float | None, tests: int) -> MetricComparison:
    before, after = score.values
    lost, gained = score.flips or (None, None)
    difference, record = score.difference, score.record
    if difference is None or score.pairs is None:
        return MetricComparison(
            metric=score.key,
            unit=record.unit,
            higher_is_better=record.higher_is_better,
            headline=score.headline,
            items=score.items,
            rows=0,
            resampled=score.resampled,
            before=before,
            after=after,
            margin=score.margin,
            verdict="retained" if score.steady else "inconclusive",
            low=same_system.NO_CHANGE.low if score.steady else None,
            high=same_system.NO_CHANGE.high if score.steady else None,
            method=same_system.METHOD if score.steady else None,
            lost=lost,
            gained=gained,
            reason=None if score.steady else score.reason,
        )
    bounds, power_to_detect = difference.interval, _forgetting_power(score, difference, tests)
    steady = bounds is not None and bounds.method == same_system.METHOD
    odds = _odds(difference, record.higher_is_better)
    comparison = MetricComparison(
        metric=score.key,
        unit=record.unit,
        higher_is_better=record.higher_is_better,
        headline=score.headline,
        items=score.items,
        rows=difference.rows,
        resampled=score.resampled,
        before=difference.before,
        after=difference.after,
        margin=score.margin,
        verdict="retained" if steady else verdict(bounds, p_holm, score.margin, record.higher_is_better),
        low=bounds.low if bounds else None,
        high=bounds.high if bounds else None,
        method=bounds.method if bounds else None,
        test=difference.test,
        p=difference.p,
        p_holm=p_holm,
        p_bh=p_bh,
        p_bootstrap=difference.p_bootstrap,
        effect="h" if difference.flips else "d_z",
        effect_size=difference.effect,
        lost=lost,
        gained=gained,
        odds_ratio=odds,
        detectable=None if steady else difference.detectable,
        detectable_loss=power_to_detect.least(score.items, score.pairs.span) if power_to_detect else None,
        items_for_loss=power_to_detect.items(2 * score.margin) if power_to_detect else None,
        items_for_change=power_to_detect.items(-score.sign * difference.value) if power_to_detect and score.margin > 0 else None,
        observed_error=None if steady else difference.observed_error,
    )
    return replace(comparison, items_needed=comparison.items_for_retained(score.margin))


def _odds(difference: PairedDifference, higher_is_better: bool) -> float | None:
    """Rows that became better over those that became worse; None without flips or where none became worse."""
    ratio = difference.flips.odds_ratio if difference.flips else None
    if ratio is not None and not higher_is_better:
        ratio = 1 / ratio if ratio else math.inf
    return ratio if ratio is not None and math.isfinite(ratio) else None


def _forgetting_power(score: Measured, difference: PairedDifference, tests: int) -> ForgettingPower | None:
    """The power of the verdict forgot; None where the difference has no scatter to estimate it from, or cannot vary."""
    if difference.interval is not None and difference.interval.method == same_system.METHOD:
        return None
    if difference.flips is not None:
        return ForgettingPower.of_flips(difference.flips, score.margin, tests)
    if not math.isfinite(difference.error) or difference.error <= 0:
        return None
    return ForgettingPower(score.margin, tests, difference.error**2 * score.items, False, _room(score, difference), score.items)


def _room(score: Measured, difference: PairedDifference) -> float:
    """How much further the interval's better end lies from the change than scatter alone explains, in quadrature."""
    if difference.interval is None:
        return 0.0
    reach = difference.interval.high - difference.value if score.sign > 0 else difference.value - difference.interval.low
    return math.sqrt(max(0.0, reach**2 - (power.QUANTILE * difference.error) ** 2))
