"""The score interval of a bounded mean: its ends, its limits, and what it allows for items that stayed unseen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize

from harness.stats.bootstrap import FloatArray
from harness.stats.bounded import mean_interval

Z = 1.959964


def constrained_z(support: FloatArray, counts: FloatArray, shift: float) -> float:
    """The score statistic with the likelihood maximized numerically, under the hypothesis that the mean is `shift`."""
    rows = counts.sum()
    seen = counts > 0

    def loss(shares: FloatArray) -> float:
        return -float((counts[seen] * np.log(np.maximum(shares[seen], 1e-12))).sum()) / float(rows)

    constraint = LinearConstraint(np.stack([np.ones_like(support), support]), [1.0, shift], [1.0, shift])
    start = np.full(len(support), 1 / len(support))
    found = minimize(loss, start, bounds=[(0.0, 1.0)] * len(support), constraints=[constraint], method="SLSQP", options={"ftol": 1e-14})
    variance = float((found.x * (support - shift) ** 2).sum())
    return float(((support * counts).sum() / rows - shift) / np.sqrt(variance / rows))


@pytest.mark.parametrize(
    ("support", "counts"),
    [
        ((-0.9, 0.0, 0.1, 1.0), (3, 40, 55, 2)),
        ((-0.9, 0.0, 0.1, 1.0), (0, 40, 60, 0)),
        ((-1.0, -0.1, 0.0, 1.0), (0, 15, 85, 0)),
        ((-1.05, -0.05, 0.0, 1.0), (9, 150, 90, 4)),
    ],
    ids=["flips", "no flips", "small losses", "factor above 1"],
)
def test_the_ends_are_where_the_score_test_turns(support: tuple[float, ...], counts: tuple[int, ...]) -> None:
    found = mean_interval(np.repeat(support, counts), (support[0], support[-1]))
    given = np.array(support), np.array(counts, dtype=np.float64)
    assert constrained_z(*given, found.low) == pytest.approx(Z, abs=5e-3)
    assert constrained_z(*given, found.high) == pytest.approx(-Z, abs=5e-3)


def test_values_that_are_all_alike_leave_room_to_both_bounds() -> None:
    found = mean_interval(np.full(100, 0.25), (-1.0, 2.0))
    share = Z**2 / (100 + Z**2)
    assert (found.low, found.high) == pytest.approx((0.25 - 1.25 * share, 0.25 + 1.75 * share))
    at_the_end = mean_interval(np.full(30, -1.0), (-1.0, 1.0))
    assert at_the_end.low == -1.0 < at_the_end.high < -0.7


def test_with_many_values_it_is_the_interval_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, size=20_000)
    found = mean_interval(values, (-1.0, 1.0))
    half = Z * values.std() / np.sqrt(len(values))
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03 * half)
