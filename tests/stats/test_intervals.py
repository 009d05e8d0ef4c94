"""Intervals of one system: how often they hold the truth where they formerly did not, and that clusters and scores go together."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.coverage import exact_share, measured
from benchmarks.populations import MEAN, Clustered, Population, averages, clustered_mean, clustered_share, means, multirc
from harness.metrics.base import per_item
from harness.stats.intervals import FEW, ScoreStatistics, all_clusters, interval, mean_interval
from harness.stats.student import t_quantile
from tests.stats.populations import simulation_error

DRAWS = 400


@pytest.mark.parametrize(
    ("probability", "freedom"), [(0.975, 1), (0.975, 2), (0.95, 3), (0.975, 4), (0.975, 9.5), (0.995, 30), (0.025, 83)]
)
def test_t_quantiles_agree_with_scipy(probability: float, freedom: float) -> None:
    expected = pytest.importorskip("scipy.stats").t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("items", [20, 50, 100])
def test_shares_are_covered_whatever_they_are(share: float, items: int) -> None:
    """Exact; over these settings the percentile interval covers from 92.1 to 100 %."""
    _, after = exact_share(share, items)
    assert 0.92 <= after.coverage <= 0.98


def test_a_rare_mistake_among_few_items_is_covered() -> None:
    """Averaged over shares from 2 to 50 %, as coverage of a discrete outcome jumps from one to the next."""
    shares = np.linspace(0.02, 0.5, 25)
    before, after = (np.array([exact_share(share, 20)[which].coverage for share in shares]) for which in (0, 1))
    assert (before < 0.93).mean() > 0.2
    assert (after < 0.93).mean() < 0.15


@pytest.mark.parametrize("name", ["beta(0.3, 3)", "beta(8, 0.5)", "exponential"])
def test_skewed_means_of_few_items_are_covered(name: str) -> None:
    before, after = measured(means()[name], 20, DRAWS)
    assert after.coverage >= 0.93 - 2 * simulation_error(0.93, DRAWS)
    assert after.coverage >= before.coverage + 0.015


CLUSTERED = {
    "share": clustered_share(Clustered(0.7, 2.0, (3, 7))),
    "mean": clustered_mean(Clustered(0.5, 4.0, (4, 10))),
    "F1a by passage": multirc(both=False),
}


@pytest.mark.parametrize("name", list(CLUSTERED))
@pytest.mark.parametrize("clusters", [8, 30])
def test_items_of_one_cluster_are_covered(name: str, clusters: int) -> None:
    before, after = measured(CLUSTERED[name], clusters, DRAWS)
    assert before.coverage < 0.9
    assert after.coverage >= 0.93 - 2 * simulation_error(0.93, DRAWS), "room for clusters of an unseen kind makes few of them cover more"


@pytest.mark.parametrize("name", ["token F1 and exact match (ReCoRD)", "F1a and exact match (MultiRC), clusters", "2 tasks, shares 0.95"])
def test_averages_are_covered(name: str) -> None:
    population, sizes = averages()[name]
    before, after = measured(population, sizes[0], DRAWS)
    assert before.coverage < 0.9
    assert after.coverage >= 0.93 - 2 * simulation_error(0.93, DRAWS)


def test_clusters_of_equal_items_tell_as_much_as_one_item_each() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=60)
    alone = interval(per_item(values), MEAN)
    copied = interval(per_item(np.repeat(values, 10)), MEAN, clusters=np.repeat(np.arange(60), 10))
    assert alone is not None
    assert copied is not None
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.05)


def test_a_clustered_share_counts_its_effective_items() -> None:
    right = np.repeat([1.0] * 30 + [0.0] * 10, 5)
    codes = np.repeat(np.arange(40), 5)
    clustered, single = interval(per_item(right), MEAN, clusters=codes), interval(per_item(right[::5]), MEAN)
    assert clustered is not None
    assert single is not None
    assert clustered.method == single.method == "wilson"
    assert clustered.low == pytest.approx(single.low, abs=0.01)
    assert clustered.high == pytest.approx(single.high, abs=0.01)


def test_clusters_that_balance_out_do_not_count_as_more_items() -> None:
    right = np.tile([1.0, 0.0], 50)
    clustered, single = interval(per_item(right), MEAN, clusters=np.repeat(np.arange(50), 2)), interval(per_item(right), MEAN)
    assert clustered is not None
    assert single is not None
    assert clustered.high - clustered.low >= single.high - single.low


def test_a_group_of_one_task_has_the_tasks_interval() -> None:
    right = per_item((np.random.default_rng(1).random(40) < 0.8).astype(float))
    assert mean_interval([[ScoreStatistics(right, MEAN)]], [1.0]) == interval(right, MEAN)


def test_scores_of_one_task_move_together() -> None:
    """A score of counted whole numbers and one of gathered fractions that are the same: their mean is as sure as either alone."""
    values = np.random.default_rng(2).integers(0, 9, size=80).astype(float)
    one, half = ScoreStatistics(per_item(values), MEAN), ScoreStatistics(per_item(values / 3), MEAN)
    alone, both = interval(one.statistics, MEAN, seed=(0, 0)), mean_interval([[one, half]], [1.0])
    assert alone is not None
    assert both is not None
    assert both.high - both.low == pytest.approx((alone.high - alone.low) * (1 + 1 / 3) / 2, rel=1e-9)


def test_scores_whose_rows_cannot_be_matched_are_taken_to_move_together() -> None:
    values = np.random.default_rng(3).random(60)
    items, groups = ScoreStatistics(per_item(values), MEAN), ScoreStatistics(per_item(values.reshape(20, 3).mean(axis=1)), MEAN)
    ends = [interval(part.statistics, MEAN) for part in (items, groups)]
    both = mean_interval([[items, groups]], [1.0])
    assert both is not None
    widths = [end.high - end.low for end in ends if end is not None]
    assert both.high - both.low == pytest.approx(np.mean(widths), rel=0.1)


def test_few_rows_have_at_least_students_interval() -> None:
    scipy = pytest.importorskip("scipy.stats")
    values = np.array([0.2, 0.5, 0.4, 0.9])
    found = interval(per_item(values), MEAN)
    assert found is not None
    assert (len(values) < FEW, found.method) == (True, "bca or t")
    reach = scipy.t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert found.high - found.low >= 2 * reach * 0.99


def test_one_cluster_has_no_interval() -> None:
    assert interval(per_item([0.0, 1.0, 1.0]), MEAN, clusters=np.zeros(3, dtype=np.intp)) is None


def test_clusters_of_several_tasks_stay_apart() -> None:
    codes = all_clusters([(np.array([0, 0, 1]), 3), (None, 2), (np.array([1, 1]), 2)])
    assert codes is not None
    assert codes.tolist() == [0, 0, 1, 2, 3, 5, 5]
    assert all_clusters([(None, 2), (None, 3)]) is None


def test_a_population_of_one_value_is_a_point() -> None:
    constant = Population(lambda items, _: [[ScoreStatistics(per_item([0.5] * items), MEAN)]], 0.5)
    _, after = measured(constant, 20, 5)
    assert (after.coverage, after.width) == (1.0, 0.0)
