from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from harness.metrics import load
from harness.metrics.base import FloatArray, per_item
from harness.stats.ranks import Contest, Estimates, Meeting, RankedSystem, standings_within

MEAN = load("accuracy").score
SHARES = (0.8, 0.6, 0.6, 0.3)


def answers(share: float, items: int, seed: int) -> FloatArray:
    return per_item((np.random.default_rng(seed).random(items) < share).astype(float))


def contests(items: int = 300, tasks: int = 12) -> list[Contest]:
    return [Contest([answers(share, items, 100 * task + place) for place, share in enumerate(SHARES)], MEAN) for task in range(tasks)]


def standings(over: Sequence[Meeting], *, seed: int = 0, resamples: int = 1_000) -> list[RankedSystem]:
    """The ranking over all of these contests."""
    return standings_within(over, [range(len(over))], seed=seed, resamples=resamples)[0]


def test_clear_leaders_rank_first_and_equals_share_a_rank() -> None:
    found = standings(contests(), resamples=400)
    assert [one.rank for one in found] == [1, 2, 2, 4]
    assert (found[0].best, found[0].worst) == (1, 1)
    assert (found[1].best, found[1].worst) == (2, 3)
    assert found[0].win_rate == 1.0
    assert found[3].win_rate == 0.0


def test_few_items_tie_what_many_items_separate() -> None:
    few = standings(contests(items=12, tasks=1), resamples=400)
    assert len({one.rank for one in few}) < 3


def test_win_rates_count_ties_half() -> None:
    right, wrong = per_item([1.0] * 10), per_item([0.0] * 10)
    found = standings([Contest([right, right, wrong], MEAN)], resamples=20)
    assert [one.win_rate for one in found] == [0.75, 0.75, 0.0]
    assert [one.rank for one in found] == [1, 1, 3]


def test_lower_is_better_turns_the_order() -> None:
    found = standings([Contest([answers(0.2, 500, 1), answers(0.7, 500, 2)], MEAN, higher_is_better=False)], resamples=100)
    assert [one.rank for one in found] == [1, 2]


def test_intervals_hold_the_rate_and_narrow_with_more_tasks() -> None:
    few, many = standings(contests(tasks=4), resamples=400)[1], standings(contests(tasks=40), resamples=400)[1]
    for one in (few, many):
        assert one.low is not None
        assert one.win_rate is not None
        assert one.high is not None
        assert one.low <= one.win_rate <= one.high
    assert width(many) < 0.6 * width(few)


def width(one: RankedSystem) -> float:
    assert one.low is not None
    assert one.high is not None
    return one.high - one.low


def test_the_interval_of_a_win_rate_is_over_tasks_too() -> None:
    """Two systems that each lead surely on half of six tasks: items alone would be certain of the win rate."""
    strong, weak = answers(0.9, 800, 1), answers(0.2, 800, 2)
    mixed = [Contest([strong, weak], MEAN)] * 3 + [Contest([weak, strong], MEAN)] * 3
    found = standings(mixed, resamples=1_000)
    assert found[0].win_rate == 0.5
    assert found[0].low == pytest.approx(1 / 6, abs=0.01)
    assert found[0].high == pytest.approx(5 / 6, abs=0.01)
    assert [one.rank for one in found] == [1, 1]


def test_a_system_counts_where_it_took_part() -> None:
    high, middle, low = (answers(share, 400, seed) for seed, share in enumerate((0.9, 0.5, 0.2)))
    found = standings([Contest([high, middle, None], MEAN), Contest([high, None, low], MEAN)], resamples=200)
    assert [one.win_rate for one in found] == [1.0, 0.0, 0.0]
    alone = standings([Contest([high, None], MEAN)], resamples=20)
    assert alone == [RankedSystem(None, None, None, None, None, None)] * 2
    assert standings([]) == []


def test_systems_meet_on_the_same_resampled_items() -> None:
    """A system that is right wherever another is, and on three items more, leads in all but a few resamples."""
    base = answers(0.5, 400, 3)
    better = base.copy()
    better[np.flatnonzero(base[:, 0] == 0)[:8], 0] = 1.0
    found = standings([Contest([base, better], MEAN)], resamples=500)
    assert [one.rank for one in found] == [2, 1]


def test_equal_seeds_give_equal_standings() -> None:
    assert standings(contests(tasks=3), seed=4, resamples=50) == standings(contests(tasks=3), seed=4, resamples=50)


def test_subsets_stand_as_if_they_were_alone() -> None:
    strong, weak = answers(0.9, 800, 1), answers(0.2, 800, 2)
    mixed = [Contest([strong, weak], MEAN), Contest([weak, strong], MEAN), Contest([strong, weak], MEAN)]
    whole, first, second = standings_within(mixed, [range(3), [0, 2], [1]], resamples=200)
    assert whole == standings(mixed, resamples=200)
    assert [one.win_rate for one in first] == [1.0, 0.0]
    assert [one.win_rate for one in second] == [0.0, 1.0]
    assert standings_within([], [[], []]) == [[], []]


def test_estimates_rank_by_their_errors() -> None:
    apart = standings([Estimates([0.8, 0.5, None], [0.02, 0.02, 0.0])], resamples=400)
    assert [one.rank for one in apart] == [1, 2, None]
    close = standings([Estimates([0.52, 0.5], [0.05, 0.05])], resamples=400)
    assert [(one.best, one.worst) for one in close] == [(1, 2), (1, 2)]
    turned = standings([Estimates([0.8, 0.5], [0.02, 0.02], higher_is_better=False)], resamples=400)
    assert [one.rank for one in turned] == [2, 1]


def test_estimates_scatter_as_they_say() -> None:
    drawn = Estimates([0.5, None, 3.0], [0.1, 9.0, 0.5]).replicates(seed=1, resamples=20_000)
    assert drawn.shape == (2, 20_000)
    assert drawn.mean(axis=1) == pytest.approx([0.5, 3.0], abs=0.02)
    assert drawn.std(axis=1) == pytest.approx([0.1, 0.5], rel=0.03)
    assert abs(np.asarray(np.corrcoef(drawn))[0, 1]) < 0.03


def test_places_are_those_of_scipy() -> None:
    """Win rates of one column are rankdata's mean ranks, with many ties and with values that are not numbers."""
    from scipy.stats import rankdata

    values = np.random.default_rng(0).integers(0, 6, 40) / 5
    found = standings([Estimates(list(map(float, values)), [0.0] * 40)], resamples=2)
    assert [one.win_rate for one in found] == pytest.approx((rankdata(values) - 1) / 39)
    undefined = standings([Contest([per_item([1.0]), per_item([0.0]), np.zeros((1, 2))], MEAN)], resamples=2)
    assert [one.win_rate for one in undefined] == [1.0, 0.5, 0.0]
