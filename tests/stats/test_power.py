from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from benchmarks.verdicts import answers, ratio
from harness.stats.contrast import difference_interval
from harness.stats.discordant import Flips, unseen_share
from harness.stats.effects import cohen_h, standardized
from harness.stats.paired import compare, standard_error
from harness.stats.pairs import Pairs
from harness.stats.power import ForgettingPower, detectable, items_without_change
from harness.stats.verdict import verdict
from tests.stats.populations import Population, accuracy, bounded_means, classified, translations


def power(difference: float, error: float) -> float:
    """Probability that the 95 % interval of a true difference excludes 0."""
    normal = NormalDist()
    limit, distance = normal.inv_cdf(0.975), abs(difference) / error
    return normal.cdf(distance - limit) + normal.cdf(-distance - limit)


@pytest.mark.parametrize("effect", [0.0, 0.1, 0.25])
def test_power_equals_statsmodels(effect: float) -> None:
    theirs = NormalIndPower(ddof=0).power(effect_size=effect, nobs1=150, alpha=0.05, ratio=0)
    assert power(effect, 1 / math.sqrt(150)) == pytest.approx(theirs)


def test_the_least_difference_has_the_power_it_is_named_for() -> None:
    assert power(detectable(0.013), 0.013) == pytest.approx(0.8, abs=1e-5)
    assert power(-detectable(2.0, target=0.95), 2.0) == pytest.approx(0.95, abs=1e-5)
    assert detectable(1.0) == pytest.approx(1.959964 + 0.841621)


def test_items_that_must_stay_unchanged() -> None:
    assert items_without_change(0.01, 1.0) == 368
    assert unseen_share(368) <= 0.01 < unseen_share(367)
    assert items_without_change(1.0, 100.0) == 368


CASES = {
    "accuracy": (accuracy(0.12, 0.06), 600),
    "bounded means": (bounded_means(-0.05), 200),
    "BLEU": (translations(0.03), 150),
    "MCC": (classified(0.15), 300),
}
DRAWS = 2_000


@pytest.mark.parametrize("name", ["accuracy", "bounded means"])
def test_stated_power_is_met(name: str) -> None:
    """In so many of 2,000 runs the interval excludes 0 as the power for the true difference says, within two points."""
    population, items = CASES[name]
    generator = np.random.default_rng(1)
    found, errors = 0, []
    for seed in range(DRAWS):
        pairs = replace(population.draw(items, generator), span=math.inf)
        replicates = pairs.replicates(seed=seed, resamples=200, threads=1)
        differences = replicates[1] - replicates[0]
        interval = difference_interval(pairs, differences)
        assert interval is not None
        found += not interval.low <= 0 <= interval.high
        errors.append(standard_error(pairs, differences))
    stated = power(population.truth, float(np.mean(errors)))
    assert 0.6 < stated < 0.95
    assert found / DRAWS == pytest.approx(stated, abs=0.02)


@pytest.mark.parametrize("name", list(CASES))
def test_standard_errors_are_the_scatter_of_the_difference(name: str) -> None:
    """The error that power rests on, of corpus scores too: its mean over runs is the scatter over runs."""
    population, items = CASES[name]
    generator = np.random.default_rng(2)
    drawn, errors = [], []
    for seed in range(300):
        pairs = population.draw(items, generator)
        drawn.append(pairs.difference)
        replicates = pairs.replicates(seed=seed, resamples=200, threads=1)
        errors.append(standard_error(pairs, replicates[1] - replicates[0]))
    assert float(np.mean(errors)) == pytest.approx(float(np.std(drawn)), rel=0.08)


def test_unchanged_items_do_not_promise_to_find_everything() -> None:
    right = accuracy().before[:100]
    flat = compare(Population(right, right, accuracy().score).draw(100, np.random.default_rng(0)), resamples=100)
    assert flat.error > 0
    assert flat.detectable == pytest.approx(detectable(1 / 101), rel=0.01)
    values = bounded_means().before[:100]
    flat = compare(Population(values, values, bounded_means().score).draw(100, np.random.default_rng(0)), resamples=100)
    assert flat.detectable == pytest.approx(unseen_share(100))


def test_cohen_h_of_a_published_example() -> None:
    """Cohen (1988), section 6.2: 0.65 and 0.50 differ by h = 0.30 (arcsine values 1.875 and 1.571)."""
    assert cohen_h(0.50, 0.65) == pytest.approx(1.875 - 1.571, abs=1e-3)
    assert cohen_h(0.65, 0.50) == -cohen_h(0.50, 0.65)


def test_standardized_mean_of_paired_differences() -> None:
    pairs = bounded_means().draw(200, np.random.default_rng(5))
    shifts = (pairs.after - pairs.before)[:, 0]
    assert compare(pairs, resamples=50).effect == pytest.approx(shifts.mean() / shifts.std(ddof=1))
    assert standardized(0.1, 0.0, 20) is None


def called_forgot(found: ForgettingPower, loss: float, items: int, draws: int = 500) -> float:
    """Share of samples with this true loss and the verdict forgot, their p being the smallest of those tested together."""
    generator, count = np.random.default_rng(items), 0
    for seed in range(draws):
        if found.binary:
            pairs = answers(items, found.variance / 2 + loss, found.variance / 2, generator)
        else:
            before = generator.uniform(0.4, 0.6, size=items)
            moved = before + generator.normal(-loss, math.sqrt(found.variance), size=items)
            ones = np.ones(items)
            pairs = Pairs(np.stack([before, ones], axis=1), np.stack([moved, ones], axis=1), ratio, math.inf)
        said = compare(pairs, seed=seed, resamples=200, permutations=1_000 * found.tests, threads=1)
        count += verdict(said.interval, min(1.0, found.tests * said.p), found.margin, True) == "forgot"
    return count / draws


@pytest.mark.parametrize(
    ("found", "items"),
    [
        (ForgettingPower(0.01, 1, 0.05, True), 300),
        (ForgettingPower(0.01, 7, 0.05, True), 300),
        (ForgettingPower(0.02, 3, 0.2, True), 300),
        (ForgettingPower(0.01, 1, 0.01, False), 200),
        (ForgettingPower(0.01, 5, 0.01, False), 100),
    ],
    ids=["flips", "flips, 7 tests", "many flips, 3 tests", "graded", "graded, 5 tests"],
)
def test_the_power_of_the_verdict_is_met(found: ForgettingPower, items: int) -> None:
    least = found.least(items, 1.0)
    assert least is not None
    assert found.power(least, items) == pytest.approx(0.8, abs=1e-3)
    assert 0.74 <= called_forgot(found, least, items) <= 0.88
    assert called_forgot(found, detectable(math.sqrt(found.variance / items)), items, 200) < 0.75


@pytest.mark.parametrize("found", [ForgettingPower(0.02, 3, 0.02, True), ForgettingPower(0.02, 3, 0.01, False)], ids=["flips", "graded"])
def test_the_items_for_a_loss_are_as_many_as_its_power_needs(found: ForgettingPower) -> None:
    items = found.items(0.05)
    assert items is not None
    assert found.power(0.05, items) == pytest.approx(0.8, abs=5e-3)
    assert found.power(0.05, items - 1) < 0.8 + 1e-3
    assert 0.75 <= called_forgot(found, 0.05, items) <= 0.88


def test_a_loss_within_the_margin_is_never_called_forgot() -> None:
    found = ForgettingPower(0.05, 1, 0.1, True)
    assert found.items(0.05) is None
    assert found.power(0.05, 100_000) < 0.03


def test_a_handful_of_items_calls_nothing_forgot() -> None:
    """Of 5 items that all flip the exact test has p = 2 / 2^5 = 0.06."""
    assert ForgettingPower.of_flips(Flips(0, 0, 5), 0.01, 1).least(5, 1.0) is None
    assert ForgettingPower(0.01, 1, 2.0, False).least(6) is None


def test_flips_that_cancel_are_the_scatter() -> None:
    assert ForgettingPower.of_flips(Flips(8, 8, 400), 0.01, 1).variance == pytest.approx(17 / 401)
    assert ForgettingPower.of_flips(Flips(40, 0, 400), 0.01, 1).variance == pytest.approx(41 / 401 - 0.1)
