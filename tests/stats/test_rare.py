"""Rare rows that lose much, or are far from all others: heavy clusters, rare classes, small samples without scatter."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.rare import Rare, of_values, rare, ratio
from harness.metrics import load
from harness.report.groups import pooled
from harness.stats.bootstrap import FloatArray
from harness.stats.contrast import contrast, unseen_room
from harness.stats.discordant import unseen_share
from harness.stats.intervals import Part, interval, mean_interval
from harness.stats.pairs import MacroPairs
from harness.stats.student import t_quantile, widened
from harness.stats.unseen import heaviness, largest_influence, unseen_weight

SAMPLES = 200
SETTINGS = {f"{one.name}, {one.kind}": one for one in rare() if "512" not in one.kind}


@pytest.mark.parametrize("setting", list(SETTINGS.values()), ids=list(SETTINGS))
def test_kept_is_rarely_said_of_a_loss_of_the_margin(setting: Rare) -> None:
    generator = np.random.default_rng(1)
    false = held = 0
    for seed in range(SAMPLES):
        _, found = contrast(setting.draw(generator), factor=setting.factor, seed=seed, resamples=200, threads=1)
        assert found is not None
        false += found.low > setting.truth if setting.truth else found.low >= 0
        held += found.low - 1e-12 <= setting.truth <= found.high + 1e-12
    bounded = "unbounded" not in setting.name  # without bounds nothing is known of what was not drawn
    assert false / SAMPLES <= (0.05 if bounded else 0.08)
    assert held / SAMPLES >= (0.92 if bounded else 0.9)


POPULATIONS = {f"{name}, {size}": (population, size) for name, (population, sizes) in coverage.rare().items() for size in sizes}


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_single_runs_cover_means_with_rare_values(name: str) -> None:
    population, size = POPULATIONS[name]
    generator = np.random.default_rng(2)
    held = above = below = 0
    for seed in range(SAMPLES):
        found = coverage.presently(population.draw(size, generator), seed, resamples=200)
        assert found is not None
        held += found.low - 1e-12 <= population.truth <= found.high + 1e-12
        above += found.low > population.truth
        below += found.high < population.truth
    assert held / SAMPLES >= 0.92
    assert max(above, below) / SAMPLES <= 0.07


def test_unseen_weight_of_equal_rows_is_the_unseen_share() -> None:
    for rows in (1, 2, 7, 300):
        assert unseen_weight(np.full(rows, 3.0)) == pytest.approx(unseen_share(rows))
    assert heaviness(np.ones(50)) == pytest.approx(1.0)


def test_unseen_weight_of_a_few_heavy_rows_is_theirs() -> None:
    """Of 3 rows of 100 among 300 of 1: 0.708 of the three may be of an unseen kind, 0.354 of all weight."""
    weights = np.concatenate([np.full(3, 100.0), np.ones(300)])
    assert unseen_weight(weights) == pytest.approx(0.5 * (1 - 0.025 ** (1 / 3)))


def test_the_influence_of_a_row_is_the_span_of_a_share_and_more_of_a_rare_class() -> None:
    right = (np.arange(100) < 90).astype(float)
    assert largest_influence(np.stack([right, np.ones(100)], axis=1), ratio) == pytest.approx(100 / 99)
    metric, cells = load("f1_macro"), np.eye(4)
    target = (np.arange(300) < 6).astype(int)
    said = np.where(np.arange(300) % 20 == 1, 1 - target, target)
    assert largest_influence(metric.pool([cells[2 * target + said]]), metric.score) > 5


def test_a_difference_of_shares_ends_where_it_can() -> None:
    """Five items in three clusters, four of them gained: formerly [0, 1.508]."""
    labels = np.array([0, 0, 1, 1, 2])
    pairs = of_values(np.array([0.0, 0, 0, 0, 1]), np.ones(5), labels)
    _, found = contrast(pairs, resamples=500)
    assert found is not None
    assert found.low < -0.01
    assert found.high <= 1.0
    _, multiple = contrast(pairs, factor=0.5, resamples=500)
    assert multiple is not None
    assert multiple.high <= 1.0


def test_heavy_clusters_leave_more_room_than_equal_ones() -> None:
    generator = np.random.default_rng(0)

    def room(sizes: FloatArray) -> float:
        labels = np.repeat(np.arange(len(sizes)), sizes.astype(int))
        before = np.full(len(labels), 0.5)
        return unseen_room(of_values(before, before + generator.normal(0, 0.001, len(labels)), labels))

    assert room(np.full(100, 5.0)) == pytest.approx(unseen_share(100), rel=0.01)
    assert room(np.where(np.arange(100) < 10, 50.0, 1.0)) > 3 * unseen_share(100)


def test_all_items_of_many_tasks_are_judged_as_items_too() -> None:
    """25 tasks of 4 items: tasks vary, and so do the items within them."""
    generator = np.random.default_rng(0)
    parts = {
        str(place): of_values(before, before + generator.normal(0, 0.01, 4))
        for place, before in enumerate(generator.uniform(0.4, 0.6, (25, 4)))
    }
    found = pooled("micro", parts)
    assert not isinstance(found, str)
    pairs, whole = found
    assert isinstance(pairs, MacroPairs)
    assert whole
    every = contrast(pairs.parts[0], resamples=300)[1]
    both = contrast(pairs, resamples=300)[1]
    assert every is not None
    assert both is not None
    assert both.low <= every.low


def test_a_paired_interval_of_few_rows_is_wider_than_the_normal_says() -> None:
    assert widened(0.95, 20) == pytest.approx(0.9684, abs=1e-3)
    assert t_quantile(0.975, 19) * np.sqrt(20 / 19) == pytest.approx(2.147, abs=1e-3)
    assert widened(0.95, 100_000) == pytest.approx(0.95, abs=1e-4)


def table(values: FloatArray) -> FloatArray:
    return np.stack([values, np.ones(len(values))], axis=1)


def test_three_alike_answers_are_no_point() -> None:
    """0.5 of each: 0.708 of all may be of an unseen kind, 0 or 1."""
    found = interval(table(np.full(3, 0.5)), ratio, bounds=(0.0, 1.0))
    assert found is not None
    share = 1 - 0.025 ** (1 / 3)
    assert [found.low, found.high] == pytest.approx([0.5 - 0.5 * share, 0.5 + 0.5 * share])


def test_typical_scores_are_hardly_wider_for_what_is_unseen() -> None:
    values = table(np.random.default_rng(0).beta(1.5, 4.0, 100))
    bare, room = (interval(values, ratio, bounds=bounds) for bounds in ((-np.inf, np.inf), (0.0, 1.0)))
    assert bare is not None
    assert room is not None
    assert 1.0 <= (room.high - room.low) / (bare.high - bare.low) < 1.1


def test_an_average_with_constant_predictions_allows_for_others() -> None:
    metric, cells = load("mcc"), np.eye(4)
    target = (np.arange(100) < 30).astype(int)
    constant = Part(metric.pool([cells[2 * target]]), metric.score, None, (-1.0, 1.0))
    other = Part(table((np.arange(1_000) < 600).astype(float)), ratio, None, (0.0, 1.0))
    found = mean_interval([[constant], [other]], [1.0, 1.0])
    assert found is not None
    assert found.high - 0.3 > 0.5 * np.sqrt(unseen_share(100)) * 0.9
