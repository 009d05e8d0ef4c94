"""Intervals of sums and ratios, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.stats import mover
from harness.stats.bootstrap import Interval
from tests.stats.populations import simulation_error

Z = 1.959964


def test_a_sum_by_hand() -> None:
    found = mover.weighted_sum([0.0, -0.01], [Interval(-0.07, 0.07, ""), Interval(-0.02, 0.0, "")], [0.5, 0.5])
    assert found.low == pytest.approx(-0.005 - math.hypot(0.07, 0.01) / 2)
    assert found.high == pytest.approx(-0.005 + math.hypot(0.07, 0.01) / 2)


def test_skew_stays_on_its_side_and_turns_with_the_sign() -> None:
    parts = [Interval(-0.3, 0.1, ""), Interval(-0.3, 0.1, "")]
    more = mover.weighted_sum([0.0, 0.0], parts, [1.0, 1.0])
    less = mover.weighted_sum([0.0, 0.0], parts, [-1.0, -1.0])
    assert (more.low, more.high) == pytest.approx((-0.3 * math.sqrt(2), 0.1 * math.sqrt(2)))
    assert (less.low, less.high) == pytest.approx((-more.high, -more.low))


def fieller(top: float, bottom: float, errors: tuple[float, float], correlation: float) -> tuple[float, float]:
    """Fieller's interval (1954) of a ratio of normal estimates."""
    covariance = correlation * errors[0] * errors[1]
    a = bottom**2 - (Z * errors[1]) ** 2
    b = top * bottom - Z**2 * covariance
    root = math.sqrt(b**2 - a * (top**2 - (Z * errors[0]) ** 2))
    return (b - root) / a, (b + root) / a


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.5])
@pytest.mark.parametrize("top", [2.0, -2.0, 0.1])
def test_of_normal_estimates_the_ratio_is_fiellers(top: float, correlation: float) -> None:
    over, under = Interval(top - Z * 0.3, top + Z * 0.3, ""), Interval(4.0 - Z * 0.5, 4.0 + Z * 0.5, "")
    found = mover.ratio(top, over, 4.0, under, correlation)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(fieller(top, 4.0, (0.3, 0.5), correlation))


def test_a_ratio_over_what_may_be_0_has_no_interval() -> None:
    assert mover.ratio(1.0, Interval(0.5, 1.5, ""), 0.2, Interval(-0.1, 0.5, ""), 0.0) is None


def test_the_ratio_holds_the_truth() -> None:
    generator, draws, held = np.random.default_rng(4), 2_000, 0
    for _ in range(draws):
        shared = generator.normal()
        top, bottom = -0.2 + 0.1 * (0.6 * shared + 0.8 * generator.normal()), 1.0 + 0.15 * shared
        over, under = Interval(top - Z * 0.1, top + Z * 0.1, ""), Interval(bottom - Z * 0.15, bottom + Z * 0.15, "")
        found = mover.ratio(top, over, bottom, under, 0.6)
        assert found is not None
        held += found.low <= -0.2 <= found.high
    assert held / draws == pytest.approx(0.95, abs=3 * simulation_error(0.95, draws))
