"""A line from sums, against numpy's least squares."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contract import Moments
from harness.stats.line import fit


def sums(x: np.ndarray, y: np.ndarray) -> Moments:
    total = Moments()
    for one, other in zip(x, y, strict=True):
        total += Moments.of(float(one), float(other))
    return total


def drawn(intercept: float, seed: int = 0, points: int = 40) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    x = chance.uniform(50, 500, points)
    return x, intercept + 0.01 * x + chance.normal(0, 0.05, points)


def test_it_is_the_line_of_least_squares() -> None:
    x, y = drawn(2.0)
    line = fit(sums(x, y))
    assert line is not None
    slope, intercept = np.polyfit(x, y, 1)
    assert [line.slope, line.intercept] == pytest.approx([slope, intercept])
    assert line.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)
    assert line.at(100.0) == pytest.approx(intercept + 100 * slope)


def test_the_standard_error_of_the_line_is_statsmodels() -> None:
    from statsmodels.api import OLS, add_constant

    x, y = drawn(2.0)
    line = fit(sums(x, y))
    assert line is not None
    theirs = OLS(y, add_constant(x)).fit().get_prediction(add_constant(np.array([60.0, 300.0, 900.0]))).se_mean
    assert [line.error_at(at) for at in (60.0, 300.0, 900.0)] == pytest.approx(theirs.tolist())


def test_a_line_below_zero_goes_through_the_origin_instead() -> None:
    from statsmodels.api import OLS

    x, y = drawn(-0.5)
    line = fit(sums(x, y))
    assert line is not None
    theirs = OLS(y, x).fit()
    assert [line.intercept, line.slope] == pytest.approx([0.0, theirs.params[0]])
    assert line.error_at(300.0) == pytest.approx(theirs.get_prediction([300.0]).se_mean[0])


@pytest.mark.parametrize(
    ("x", "y"), [(range(7), range(7)), ([3] * 9, range(9)), (range(9), range(9, 0, -1))], ids=["few", "one x", "falls"]
)
def test_what_tells_nothing_gives_no_line(x: list[int], y: list[int]) -> None:
    assert fit(sums(np.array(x), np.array(y))) is None


def test_sums_add_up_and_are_taken_away() -> None:
    first, second = sums(*drawn(1.0, 1)), sums(*drawn(1.0, 2))
    back = first + second - second
    assert [back.passes, back.xy] == pytest.approx([first.passes, first.xy])
