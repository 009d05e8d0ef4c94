from __future__ import annotations

import numpy as np
import pytest

from harness.metrics import load
from harness.metrics.base import FloatArray, per_item
from harness.stats.bootstrap import (
    Interval,
    Score,
    by_cluster,
    interval_of,
    is_mean,
    reflected,
    replicates,
    resampled_totals,
)
from harness.stats.intervals import interval

MEAN: Score = load("accuracy").score
BLEU: Score = load("bleu").score
MCC: Score = load("mcc").score


def continuous(items: int, seed: int = 0) -> FloatArray:
    return per_item(np.random.default_rng(seed).gamma(2.0, size=items))


def binary(items: int, seed: int = 0) -> FloatArray:
    return per_item((np.random.default_rng(seed).random(items) < 0.7).astype(float))


def bleu_counts(items: int, seed: int = 0) -> FloatArray:
    generator = np.random.default_rng(seed)
    said = generator.integers(6, 40, size=items)
    ngrams = said[:, None] - np.arange(4)
    matches = generator.binomial(ngrams, [0.7, 0.5, 0.35, 0.25])
    return np.column_stack([said, said + generator.integers(-3, 6, size=items), matches, ngrams]).astype(np.float64)


def cells(items: int, seed: int = 0) -> FloatArray:
    drawn = np.eye(4)[np.random.default_rng(seed).choice(4, size=items, p=[0.5, 0.1, 0.15, 0.25])]
    return load("mcc").pool([drawn])


def ratios(items: int, seed: int = 0) -> FloatArray:
    """Two columns that both vary, neither of whole numbers: as perplexity has."""
    generator = np.random.default_rng(seed)
    units = generator.integers(5, 50, size=items)
    return np.column_stack([units * generator.gamma(2.0, size=items), units])


def naive(statistics: FloatArray, score: Score, resamples: int, seed: int) -> FloatArray:
    generator = np.random.default_rng(seed)
    items = len(statistics)
    totals = [statistics[generator.integers(0, items, size=items)].sum(axis=0) for _ in range(resamples)]
    return np.array([float(score(total)) for total in totals])


CASES = {
    "binary": (binary(300), MEAN),
    "continuous": (continuous(200), MEAN),
    "ratio": (ratios(150), MEAN),
    "BLEU": (bleu_counts(120), BLEU),
    "MCC": (cells(250), MCC),
    "MCC of few items": (cells(25), MCC),
}


@pytest.mark.parametrize("name", list(CASES))
def test_agrees_with_a_naive_loop(name: str) -> None:
    statistics, score = CASES[name]
    ours = replicates(statistics, score, seed=1)
    theirs = naive(statistics, score, 10_000, seed=2)
    spread = theirs.std()
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.06 * spread)
    assert ours.std() == pytest.approx(spread, rel=0.05)
    # The standard error of a 2.5 % quantile of 10,000 normal replicates is 0.027 standard deviations; of a difference of two, 0.038.
    for quantile in (0.025, 0.25, 0.5, 0.75, 0.975):
        assert np.quantile(ours, quantile) == pytest.approx(np.quantile(theirs, quantile), abs=0.16 * spread)


@pytest.mark.parametrize("name", list(CASES))
def test_equal_seeds_give_equal_replicates_on_any_number_of_threads(name: str) -> None:
    statistics, score = CASES[name]
    alone = replicates(statistics, score, seed=3, threads=1)
    np.testing.assert_array_equal(alone, replicates(statistics, score, seed=3, threads=5))
    assert not np.array_equal(alone, replicates(statistics, score, seed=4))


def test_constant_columns_are_summed_exactly() -> None:
    totals = resampled_totals(np.column_stack([continuous(90), np.full(90, 0.5)]), resamples=50)
    assert totals.shape == (50, 3)
    assert (totals[:, 1] == 90).all()
    assert (totals[:, 2] == 45).all()
    assert len(np.unique(totals[:, 0])) == 50


def test_columns_of_one_resample_come_from_the_same_items() -> None:
    values = continuous(400)[:, 0]
    totals = resampled_totals(np.column_stack([values, 2 * values, -values]), resamples=100)
    np.testing.assert_allclose(totals[:, 1], 2 * totals[:, 0])
    np.testing.assert_allclose(totals[:, 2], -totals[:, 0])


@pytest.mark.parametrize("resamples", [1, 7, 1_001])
@pytest.mark.parametrize("statistics", [binary(500), continuous(50)])
def test_any_number_of_resamples(statistics: FloatArray, resamples: int) -> None:
    assert replicates(statistics, MEAN, resamples=resamples).shape == (resamples,)


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_coverage_is_near_its_level(kind: str) -> None:
    """Over 400 samples of 120 items, a 90 % interval should hold the truth in some 90 % (standard error 1.5 %)."""
    truth = {"binary": 0.7, "continuous": 2.0}[kind]
    maker = {"binary": binary, "continuous": continuous}[kind]
    held = 0
    for seed in range(400):
        found = interval(maker(120, seed), MEAN, seed=seed, resamples=1_000, level=0.9, threads=1)
        assert found is not None
        held += found.low <= truth <= found.high
    assert 0.84 <= held / 400 <= 0.95


def test_wider_level_gives_a_wider_interval_around_the_score() -> None:
    statistics = continuous(200)
    narrow, wide = interval(statistics, MEAN, level=0.5), interval(statistics, MEAN, level=0.99)
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low < statistics[:, 0].mean() < narrow.high < wide.high
    assert wide.method == "bca"


@pytest.mark.parametrize(("value", "hits"), [(0.0, 0), (1.0, 1)])
@pytest.mark.parametrize("items", [2, 17, 400])
def test_certain_shares_get_the_exact_interval(value: float, hits: int, items: int) -> None:
    found = interval(per_item([value] * items), MEAN, level=0.9)
    expected = pytest.importorskip("scipy.stats").binomtest(hits * items, items).proportion_ci(0.9, method="exact")
    assert found is not None
    assert found.method == "clopper-pearson"
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_items_without_a_say_do_not_narrow_a_certain_share() -> None:
    silent = np.concatenate([per_item([0.0] * 30), np.zeros((10, 2))])
    found = interval(silent, MEAN)
    assert found == interval(per_item([0.0] * 30), MEAN)
    assert found is not None
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 30))


def test_weights_count_by_their_effective_number() -> None:
    """Kish: weights 3 and 1 tell as much as (3 + 1)² / (9 + 1) = 1.6 items of equal weight."""
    found = interval(np.array([[3.0, 3.0], [1.0, 1.0]]), MEAN)
    assert found is not None
    assert [found.low, found.high] == pytest.approx([0.025 ** (1 / 1.6), 1.0])


def test_an_interval_is_reflected_about_its_score_within_the_range() -> None:
    found = reflected(Interval(0.3, 0.9, "percentile"), 0.4, (0.0, 1.0))
    assert [found.low, found.high] == pytest.approx([0.0, 0.5]), "0.4 less 0.5 is cut at 0, 0.4 and 0.1 more"
    assert found.method == "reflected percentile"


@pytest.mark.parametrize(
    ("statistics", "score", "proportion"),
    [
        (per_item([0.5] * 10), MEAN, True),
        (per_item([0.0] * 10), MEAN, False),
        (per_item([0.0] * 10), load("bits_per_byte").score, True),
        (per_item([1.0] * 10), load("perplexity").score, True),
        (np.tile([1.0, 1.0, 1.0, 1.0], (10, 1)), lambda totals: MEAN(totals[..., 2:]) - MEAN(totals[..., :2]), True),
    ],
    ids=["half", "difference", "bits", "perplexity", "paired"],
)
def test_other_equal_items_give_a_point(statistics: FloatArray, score: Score, proportion: bool) -> None:
    found = interval(statistics, score, proportion=proportion)
    assert found is not None
    assert found.method == "percentile"
    assert found.low == found.high == pytest.approx(float(score(statistics.sum(axis=0))))


@pytest.mark.parametrize("items", [0, 1])
def test_fewer_than_two_items_have_no_interval(items: int) -> None:
    assert interval(per_item([1.0] * items), MEAN) is None


def test_resamples_without_a_score_are_left_out() -> None:
    # A ratio whose count is 1 for one item of three: 8 of 27 resamples have no count at all.
    statistics = np.array([[4.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    scores = replicates(statistics, MEAN)
    assert np.isnan(scores).mean() == pytest.approx(8 / 27, abs=0.02)
    found = interval(statistics, MEAN)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((4.0, 4.0))
    assert interval_of(np.full(5, np.nan)) is None


def test_micro_average_pools_items() -> None:
    small, large = binary(50, 1), binary(450, 2)
    pooled = load("accuracy").pool([small, large])
    found = interval(pooled, MEAN)
    assert found is not None
    share = pooled[:, 0].mean()
    normal = 1.96 * np.sqrt(share * (1 - share) / 500)
    assert (found.low, found.high) == pytest.approx((share - normal, share + normal), abs=0.006)


def test_paired_statistics_stay_together() -> None:
    base = continuous(300)
    tuned = base + np.array([0.25, 0.0])

    def gain(totals: FloatArray) -> FloatArray:
        difference: FloatArray = MEAN(totals[..., 2:]) - MEAN(totals[..., :2])
        return difference

    assert replicates(np.hstack([base, tuned]), gain) == pytest.approx(0.25, abs=1e-9)


def test_clusters_are_summed_in_the_order_of_their_first_items() -> None:
    table = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    np.testing.assert_array_equal(by_cluster(table, ["b", "a", "b", "c"]), [[2.0, 2.0], [0.0, 1.0], [1.0, 1.0]])


def test_clusters_of_equal_items_widen_the_interval() -> None:
    """Ten copies of each item are no more evidence than one."""
    once = continuous(60)
    copied, names = np.repeat(once, 10, axis=0), np.repeat(np.arange(60), 10).tolist()
    alone, naive_, clustered = (interval(table, MEAN) for table in (once, copied, by_cluster(copied, names)))
    assert alone is not None
    assert naive_ is not None
    assert clustered is not None
    assert clustered.high - clustered.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert naive_.high - naive_.low == pytest.approx((alone.high - alone.low) / np.sqrt(10), rel=0.05)


def test_whole_numbers_are_summed_as_exactly_as_fractions() -> None:
    """Counts go through a matrix product, other columns do not; halves of counts must be half the sums to the last bit."""
    counts = bleu_counts(90)
    np.testing.assert_array_equal(resampled_totals(counts, resamples=200), 2 * resampled_totals(counts / 2, resamples=200))


@pytest.mark.parametrize(
    ("statistics", "score", "expected"),
    [
        (binary(20), MEAN, True),
        (ratios(20), MEAN, False),
        (binary(20), load("bits_per_byte").score, False),
        (binary(20), load("perplexity").score, False),
        (cells(20), MCC, False),
    ],
)
def test_plain_means_are_recognized(statistics: FloatArray, score: Score, expected: bool) -> None:
    assert is_mean(statistics, score) is expected
