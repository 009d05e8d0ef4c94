"""One score before and after, as the comparison shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.report import same
from harness.stats import power
from harness.stats.bootstrap import RESAMPLES, Interval
from harness.stats.multiplicity import adjusted
from harness.stats.paired import Difference, Test, compare
from harness.stats.pairs import Pairs
from harness.stats.power import Forgetting
from harness.stats.verdict import Verdict, change, default_margin, verdict
from harness.store.runs import MetricRecord


@dataclass(frozen=True)
class Plan:
    """How to compare.

    Attributes:
        tasks: names of tasks and groups to compare; None for all that both results have.
        targets: names of tasks and groups that were tuned for; nothing can be forgotten there.
        margins: the largest loss that does not matter, in the metric's unit, by `task.metric`, `task` or `metric`, the first of
            these that is named; else `verdict.default_margin`.
        clusters: by task, the label that says which items belong together.
        groups: whether a group that averages one metric stands as one, its tasks being its parts.
        seed: of all resampling.
        resamples: bootstrap replicates.
        threads: at most this many; the numbers do not depend on it.
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

    Differences are after less before, in the score's unit, whatever its direction.

    Attributes:
        metric: its name in the results.
        headline: whether it is the task's headline, or one of them.
        items: shared items.
        rows: what was resampled, so many.
        resampled: "items", "clusters" of items, "groups" that the metric judges as one, or "tasks" of a group.
        before, after: scores over the shared items; None where undefined.
        low, high, method: 95 % interval of the difference, and how it was made.
        margin: the largest loss that does not matter.
        verdict: see `stats.verdict`.
        test, p: two-sided p of no difference, and from which test.
        p_holm, p_bh: p adjusted for all scores that are judged together.
        p_bootstrap: the paired bootstrap test's p; None for right and wrong.
        effect, effect_size: "h" or "d_z", and its value.
        lost, gained: items right before and wrong after, and the reverse; None where items are not right or wrong.
        odds_ratio: gained over lost; None without flips or where none was lost.
        detectable: the least true difference whose interval excludes 0 in 80 % of cases, with these items.
        items_needed: how many items would show in as many cases that nothing beyond the margin was lost, if nothing was.
        detectable_loss: the smallest true loss that is called forgot in 80 % of cases, with these items and as many scores judged
            together; None where none is.
        items_for_loss: how many items would call a loss of twice the margin forgot in as many cases.
        items_for_change: how many would so call the loss that was seen; None where it is within the margin.
        scatter: standard error of the difference, by the changes that were seen.
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
    scatter: float | None = None
    reason: str | None = None

    @property
    def difference(self) -> float | None:
        """After less before, in the score's unit."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def change(self) -> float | None:
        """The difference, turned so that more is better."""
        return self.difference if self.difference is None or self.higher_is_better else -self.difference

    def items_for_kept(self, margin: float) -> int | None:
        """How many items would show with 80 % power that no more than a margin was lost, if nothing was; None where none can."""
        found = self._reach(-math.inf)
        return found.needed(margin, power.POWER) if found else None

    def items_to_tell(self, margin: float) -> int | None:
        """The same; if these are as many, how many would put the interval on one side of the margin, the change staying as it is."""
        needed = self.items_needed if margin == self.margin else self.items_for_kept(margin)
        return needed if needed is not None and needed > self.items else self.items_beyond(-margin)

    def items_beyond(self, limit: float) -> int | None:
        """How many items would put the interval of the change on one side of a limit, if the change stays; None where it is the limit."""
        found = self._reach(limit)
        needed = found.needed(abs((self.change or 0.0) - limit)) if found else None
        return None if needed is None else max(self.items + 1, needed)

    def _reach(self, limit: float) -> power.Reach | None:
        """From the change to the end of its interval on the side of a limit; None where there is no interval, or it cannot shrink."""
        if self.low is None or self.high is None or self.scatter is None or self.change is None or not math.isfinite(self.scatter):
            return None
        low, high = change(Interval(self.low, self.high, ""), self.higher_is_better)
        distance = self.change - low if self.change > limit else high - self.change
        return power.Reach.of(distance, self.scatter, self.items, self.items if self.resampled == "tasks" else self.rows)


@dataclass(frozen=True)
class Measured:
    """One score's comparison before it is known what else is judged with it.

    Attributes:
        key: the metric.
        record: as the results before keep it; its range and direction hold for both.
        values: before and after as the results give them, for a score that cannot be compared by items.
        items: shared items.
        flips: items lost and gained, where items are right or wrong.
        resampled: see `MetricComparison`.
        pairs, difference: None where `reason` says why.
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
    difference: Difference | None
    reason: str | None
    steady: bool = False

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.record.higher_is_better else -1


def difference_of(pairs: Pairs, plan: Plan, seed: Sequence[int], tests: int) -> Difference:
    """Compare; with many tests, so many exchanges that the least possible p is small beside 0.01 / tests."""
    permutations = max(RESAMPLES, 200 * tests)
    return compare(pairs, seed=(plan.seed, *seed), resamples=plan.resamples, permutations=permutations, threads=plan.threads)


def judged(family: Sequence[Measured]) -> list[MetricComparison]:
    """The comparisons of scores that are judged together: p adjusted over all of them, and the verdicts."""
    p_values = [one.difference.p if one.difference else None for one in family]
    holm, bh = adjusted(p_values, "holm"), adjusted(p_values, "fdr_bh")
    tests = sum(p is not None for p in p_values)
    return [_comparison(one, holm[place], bh[place], tests) for place, one in enumerate(family)]


def _comparison(one: Measured, p_holm: float | None, p_bh: float | None, tests: int) -> MetricComparison:
    before, after = one.values
    lost, gained = one.flips or (None, None)
    found, record = one.difference, one.record
    if found is None or one.pairs is None:
        return MetricComparison(
            metric=one.key,
            unit=record.unit,
            higher_is_better=record.higher_is_better,
            headline=one.headline,
            items=one.items,
            rows=0,
            resampled=one.resampled,
            before=before,
            after=after,
            margin=one.margin,
            verdict="kept" if one.steady else "cannot tell",
            low=same.NO_CHANGE.low if one.steady else None,
            high=same.NO_CHANGE.high if one.steady else None,
            method=same.METHOD if one.steady else None,
            lost=lost,
            gained=gained,
            reason=None if one.steady else one.reason,
        )
    bounds, power_of = found.interval, _forgetting(one, found, tests)
    steady = bounds is not None and bounds.method == same.METHOD
    odds = _odds(found, record.higher_is_better)
    told = MetricComparison(
        metric=one.key,
        unit=record.unit,
        higher_is_better=record.higher_is_better,
        headline=one.headline,
        items=one.items,
        rows=found.rows,
        resampled=one.resampled,
        before=found.before,
        after=found.after,
        margin=one.margin,
        verdict="kept" if steady else verdict(bounds, p_holm, one.margin, record.higher_is_better),
        low=bounds.low if bounds else None,
        high=bounds.high if bounds else None,
        method=bounds.method if bounds else None,
        test=found.test,
        p=found.p,
        p_holm=p_holm,
        p_bh=p_bh,
        p_bootstrap=found.p_bootstrap,
        effect="h" if found.flips else "d_z",
        effect_size=found.effect,
        lost=lost,
        gained=gained,
        odds_ratio=odds,
        detectable=None if steady else found.detectable,
        detectable_loss=power_of.least(one.items, one.pairs.span) if power_of else None,
        items_for_loss=power_of.items(2 * one.margin) if power_of else None,
        items_for_change=power_of.items(-one.sign * found.value) if power_of and one.margin > 0 else None,
        scatter=None if steady else found.scatter,
    )
    return replace(told, items_needed=told.items_for_kept(one.margin))


def _odds(found: Difference, higher_is_better: bool) -> float | None:
    """Rows that became better over those that became worse; None without flips or where none became worse."""
    ratio = found.flips.odds_ratio if found.flips else None
    if ratio is not None and not higher_is_better:
        ratio = 1 / ratio if ratio else math.inf
    return ratio if ratio is not None and math.isfinite(ratio) else None


def _forgetting(one: Measured, found: Difference, tests: int) -> Forgetting | None:
    """The power to call a loss forgot; None where the difference has no scatter to go by, or cannot have any."""
    if found.interval is not None and found.interval.method == same.METHOD:
        return None
    if found.flips is not None:
        return Forgetting.of_flips(found.flips, one.margin, tests)
    if not math.isfinite(found.error) or found.error <= 0:
        return None
    return Forgetting(one.margin, tests, found.error**2 * one.items, False, _room(one, found), one.items)


def _room(one: Measured, found: Difference) -> float:
    """By what the interval's better end is further from the change than the scatter says, added in quadrature."""
    if found.interval is None:
        return 0.0
    reach = found.interval.high - found.value if one.sign > 0 else found.value - found.interval.low
    return math.sqrt(max(0.0, reach**2 - (power.QUANTILE * found.error) ** 2))
