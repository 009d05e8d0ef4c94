from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.metrics import load
from harness.metrics.base import per_item
from harness.stats.bootstrap import Score
from harness.stats.permutation import Permuted, p_value, permuted
from tests.stats.populations import Population, accuracy, bounded_means, classified, simulation_error, translations

MEAN: Score = load("accuracy").score


def scipy_p(before: np.ndarray, after: np.ndarray, permutations: int = 10_000) -> float:
    found = stats.permutation_test(
        (after, before),
        lambda one, other, axis: (one - other).mean(axis=axis),
        permutation_type="samples",
        n_resamples=permutations,
        vectorized=True,
        rng=np.random.default_rng(5),
    )
    return float(found.pvalue)


@pytest.mark.parametrize("items", [2, 7, 12])
def test_few_items_are_gone_through_exactly_as_scipy_does(items: int) -> None:
    generator = np.random.default_rng(items)
    before, after = generator.random(items), generator.random(items) + 0.2
    null = permuted(per_item(before), per_item(after), MEAN)
    assert null.exact
    assert len(null.differences) == 2**items
    assert p_value(null, float((after - before).mean())) == pytest.approx(scipy_p(before, after))


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.04])
def test_many_items_agree_with_scipy(shift: float) -> None:
    generator = np.random.default_rng(4)
    before = generator.random(200)
    after = before + generator.normal(shift, 0.2, size=200)
    null = permuted(per_item(before), per_item(after), MEAN, seed=1)
    ours, theirs = p_value(null, float((after - before).mean())), scipy_p(before, after)
    assert not null.exact
    assert ours == pytest.approx(theirs, abs=4 * np.sqrt(2) * simulation_error(max(theirs, 0.01), 10_000))


def test_right_and_wrong_agree_with_the_exact_sign_test() -> None:
    """400 items that change in only two ways are exchanged by binomial draws."""
    pairs = accuracy(0.1, 0.06).draw(400, np.random.default_rng(3))
    null = permuted(pairs.before, pairs.after, pairs.score, permutations=20_000)
    flips = pairs.flips
    assert flips is not None
    expected = stats.binomtest(flips.lost, flips.changed).pvalue
    assert p_value(null, pairs.difference) == pytest.approx(expected, abs=4 * simulation_error(expected, 20_000))


@pytest.mark.parametrize("population", [translations(), classified()], ids=["BLEU", "MCC"])
def test_exchanging_through_totals_is_exchanging_items(population: Population) -> None:
    """The distribution equals that of a loop over items, for scores that are no means."""
    pairs = population.draw(80, np.random.default_rng(2))
    ours = permuted(pairs.before, pairs.after, pairs.score, seed=1, permutations=4_000).differences
    generator = np.random.default_rng(6)
    theirs = []
    for _ in range(4_000):
        swap = generator.random(80)[:, None] < 0.5
        one, other = np.where(swap, pairs.after, pairs.before), np.where(swap, pairs.before, pairs.after)
        theirs.append(float(pairs.score(other.sum(axis=0)) - pairs.score(one.sum(axis=0))))
    assert stats.ks_2samp(ours, theirs).pvalue > 0.01
    assert ours.std() == pytest.approx(np.std(theirs), rel=0.06)


def test_drawn_p_counts_the_observation_itself() -> None:
    assert p_value(Permuted(np.array([0.1, -0.2, 0.3, 0.0]), exact=False), 0.2) == 3 / 5
    assert p_value(Permuted(np.array([0.1, -0.2, 0.3, 0.0]), exact=True), 0.2) == 2 / 4
    assert p_value(Permuted(np.zeros(9), exact=False), 0.5) == 1 / 10


def test_an_exchange_without_a_score_counts_against_significance() -> None:
    assert p_value(Permuted(np.array([np.nan, 0.0, 0.0, 0.0]), exact=True), 1.0) == 1 / 4


def test_equal_systems_have_p_one() -> None:
    table = bounded_means().before[:50]
    null = permuted(table, table, MEAN)
    assert p_value(null, 0.0) == 1.0


def test_ties_by_rounding_count() -> None:
    before = per_item([0.1, 0.2, 0.3])
    after = per_item([0.4, 0.5, 0.6])
    null = permuted(before, after, MEAN)
    assert p_value(null, float((after - before)[:, 0].mean())) == 2 / 8


def test_equal_seeds_give_equal_exchanges() -> None:
    pairs = bounded_means().draw(100, np.random.default_rng(0))
    one, other, third = (permuted(pairs.before, pairs.after, MEAN, seed=seed, permutations=50) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.differences, other.differences)
    assert not np.array_equal(one.differences, third.differences)
