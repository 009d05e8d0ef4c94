from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.metrics import load
from harness.metrics.base import per_item
from harness.stats.bca import bca_interval, jackknife
from harness.stats.bootstrap import Score, replicates
from tests.stats.populations import Population, classified, translations

MEAN: Score = load("accuracy").score


def ratio(totals: np.ndarray) -> np.ndarray:
    result: np.ndarray = totals[..., 0] / totals[..., 1]
    return result


def test_the_error_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=60)
    found = jackknife(per_item(values), MEAN)
    assert found is not None
    assert found.error == pytest.approx(values.std(ddof=1) / np.sqrt(60))


def test_the_acceleration_of_a_mean_is_a_sixth_of_its_skewness() -> None:
    values = np.random.default_rng(1).gamma(1.0, size=80)
    found = jackknife(per_item(values), MEAN)
    assert found is not None
    # Left-out means fall where the item is large, and their mean less each of them rises with it: Efron and Tibshirani, (14.15).
    assert found.acceleration == pytest.approx(stats.skew(values) / (6 * np.sqrt(80)))


@pytest.mark.parametrize("population", [translations(size=300), classified(size=300)], ids=["BLEU", "MCC"])
def test_leaving_out_through_totals_is_leaving_out_items(population: Population) -> None:
    table, score = population.before[:40], population.score
    found = jackknife(table, score)
    slow = np.array([float(score(np.delete(table, item, axis=0).sum(axis=0))) for item in range(40)])
    assert found is not None
    assert found.error == pytest.approx(np.sqrt(39 / 40 * ((slow - slow.mean()) ** 2).sum()))


@pytest.mark.parametrize("kind", ["mean", "ratio"])
def test_agrees_with_scipy(kind: str) -> None:
    generator = np.random.default_rng(2)
    units = generator.integers(5, 50, size=90).astype(float)
    table = np.column_stack([generator.exponential(size=90) * units, units if kind == "ratio" else np.ones(90)])
    found = jackknife(table, ratio)
    assert found is not None
    ours = bca_interval(replicates(table, ratio, resamples=40_000), float(ratio(table.sum(axis=0))), found.acceleration)
    theirs = stats.bootstrap(
        tuple(table.T),
        lambda value, unit, axis: value.sum(axis=axis) / unit.sum(axis=axis),
        paired=True,
        n_resamples=40_000,
        method="BCa",
        rng=np.random.default_rng(3),
    )
    assert ours is not None
    assert ours.method == "bca"
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.02 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.02 * width)


def test_is_the_percentile_interval_where_nothing_is_skewed() -> None:
    scores = np.linspace(-1, 1, 2_001)
    found = bca_interval(scores, 0.0, 0.0, level=0.9)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-0.9, 0.9))


def test_shifts_towards_the_longer_tail() -> None:
    scores = np.linspace(-1, 1, 2_001)
    plain, skewed = bca_interval(scores, 0.0, 0.0), bca_interval(scores, 0.0, 0.1)
    biased = bca_interval(scores, 0.3, 0.0)
    assert plain is not None
    assert skewed is not None
    assert biased is not None
    assert skewed.low > plain.low
    assert skewed.high > plain.high
    assert biased.low > plain.low


def test_falls_back_where_it_is_undefined() -> None:
    one_sided = bca_interval(np.linspace(1, 2, 100), 0.5, 0.0)
    assert one_sided is not None
    assert one_sided.method == "percentile"
    assert bca_interval(np.full(4, np.nan), 0.0, 0.0) is None
    steep = bca_interval(np.linspace(-1, 1, 101), 0.0, 0.6)
    assert steep is not None
    assert steep.method == "percentile"


def test_no_jackknife_where_an_item_cannot_be_left_out() -> None:
    # Without the only item that has any units, the ratio is undefined.
    assert jackknife(np.array([[1.0, 1.0], [0.0, 0.0]]), ratio) is None
