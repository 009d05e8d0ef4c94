"""Do intervals of differences hold the truth as often as they say, also where few items changed?"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.stats.contrast import FEW, difference_interval
from harness.stats.pairs import Pairs
from tests.stats.populations import Population, accuracy, bounded_means, classified, simulation_error, translations

DRAWS = 1_000
RESAMPLES = 600
POPULATIONS = {
    "accuracy": (accuracy(), 200),
    "bounded means": (replace(bounded_means(), span=math.inf), 150),
    "BLEU": (replace(translations(), span=math.inf), 100),
    "MCC": (classified(), 300),
}


def covered(population: Population, items: int, draws: int = DRAWS) -> tuple[float, set[str]]:
    """Share of 95 % intervals that hold the true difference, and the methods that made them."""
    generator = np.random.default_rng(items)
    held, methods = 0, set()
    for seed in range(draws):
        pairs = population.draw(items, generator)
        replicates = pairs.replicates(seed=seed, resamples=RESAMPLES, threads=1)
        found = difference_interval(pairs, replicates[1] - replicates[0])
        assert found is not None
        methods.add(found.method)
        held += found.low - 1e-12 <= population.truth <= found.high + 1e-12
    return held / draws, methods


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_intervals_hold_the_truth_in_93_to_97_percent(name: str) -> None:
    share, methods = covered(*POPULATIONS[name])
    assert 0.93 <= share <= 0.97
    assert "bca" in methods


def test_room_for_what_stayed_unseen_makes_the_interval_of_a_bounded_mean_cover_more() -> None:
    """Of 150 items a kind of 2.4 % may be missing; the population has none, so that the interval is wider than it needs."""
    share, methods = covered(bounded_means(), 150, draws=300)
    assert share >= 0.97
    assert methods == {"bca"}


@pytest.mark.parametrize(("lost", "gained", "items"), [(0.03, 0.03, 100), (0.002, 0.002, 1_000), (0.03, 0.0, 300)])
def test_few_flips_are_covered_by_the_score_interval(lost: float, gained: float, items: int) -> None:
    """Here the BCa interval alone holds the truth in 90 % or less; the score interval keeps 93 % but for the simulation's noise."""
    share, methods = covered(accuracy(lost, gained), items)
    assert share >= 0.93 - 2 * simulation_error(0.93, DRAWS)
    assert "score" in methods


def test_rare_changes_of_a_mean_are_allowed_for() -> None:
    """One item in 200 loses everything: most samples of 100 show none, and a bootstrap of them would be certain of no change."""
    before = np.full((200, 2), [0.5, 1.0])
    after = before.copy()
    after[0, 0] = 0.0
    share, methods = covered(Population(before, after, bounded_means(size=10).score), 100, draws=300)
    assert share >= 0.95
    assert methods == {"score"}


def test_the_interval_has_a_width_even_where_nothing_changed() -> None:
    same = np.full((50, 2), [0.5, 1.0])
    pairs = Pairs(same, same, bounded_means(size=10).score, 1.0)
    assert pairs.changed < FEW
    found = difference_interval(pairs, np.zeros(100))
    assert found is not None
    assert found.low == -found.high == pytest.approx(-(1.959964**2) / (50 + 1.959964**2))


def test_an_unbounded_score_without_a_change_has_no_interval() -> None:
    same = np.random.default_rng(0).gamma(2.0, size=(50, 2))
    assert difference_interval(Pairs(same, same, lambda totals: totals[..., 0] / totals[..., 1]), np.zeros(100)) is None


def test_one_item_has_no_interval() -> None:
    one = np.ones((1, 2))
    assert difference_interval(Pairs(one, one, bounded_means(size=10).score, 1.0), np.zeros(10)) is None
