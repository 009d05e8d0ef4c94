from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from harness.stats.bootstrap import Interval, clopper_pearson_at_bound
from harness.stats.bounded import mean_interval
from harness.stats.discordant import Flips, mcnemar, unseen_share


def score_interval(flips: Flips) -> Interval:
    """The interval of a mean, of the values lost, unchanged and gained."""
    values = np.repeat([-1.0, 0.0, 1.0], [flips.lost, flips.rows - flips.changed, flips.gained])
    return mean_interval(values, (-1.0, 1.0))


@pytest.mark.parametrize(("lost", "gained", "rows"), [(0, 0, 5), (1, 0, 5), (7, 1, 21), (12, 12, 60), (40, 20, 160), (250, 310, 14_042)])
def test_mcnemar_equals_statsmodels(lost: int, gained: int, rows: int) -> None:
    table = [[rows - lost - gained, lost], [gained, 0]]
    assert mcnemar(Flips(lost, gained, rows)) == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)


def test_mcnemar_of_a_published_example() -> None:
    """Bentur et al. (2009), airway hyper-responsiveness of 21 children before and after a transplantation: 7 against 1."""
    assert mcnemar(Flips(7, 1, 21)) == pytest.approx(0.0703, abs=5e-5)


def test_score_interval_of_a_published_example() -> None:
    """The same children; Tango's interval is -0.517 to -0.026 in Fagerland, Lydersen and Laake (2014), table V."""
    found = score_interval(Flips(lost=7, gained=1, rows=21))
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert found.method == "score"


def constrained_z(lost: int, gained: int, rows: int, shift: float) -> float:
    """The score statistic with the nuisance share found by maximizing the likelihood numerically."""

    def loss(share_lost: float) -> float:
        share_gained = share_lost + shift
        rest = 1 - share_lost - share_gained
        return -(lost * math.log(share_lost) + gained * math.log(share_gained) + (rows - lost - gained) * math.log(rest))

    lowest, highest = max(0.0, -shift) + 1e-9, (1 - shift) / 2 - 1e-9
    share_lost = optimize.minimize_scalar(loss, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-12}).x
    variance = rows * (2 * share_lost + shift - shift**2)
    return float((gained - lost - rows * shift) / math.sqrt(variance))


@pytest.mark.parametrize(("lost", "gained", "rows"), [(3, 5, 40), (20, 40, 160), (1, 9, 500)])
def test_both_ends_are_where_the_score_test_turns(lost: int, gained: int, rows: int) -> None:
    found = score_interval(Flips(lost, gained, rows))
    assert constrained_z(lost, gained, rows, found.low) == pytest.approx(1.95996, abs=1e-3)
    assert constrained_z(lost, gained, rows, found.high) == pytest.approx(-1.95996, abs=1e-3)


def test_the_interval_turns_with_the_direction() -> None:
    one, other = score_interval(Flips(4, 11, 90)), score_interval(Flips(11, 4, 90))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_no_flips_leave_room_to_both_sides() -> None:
    found = score_interval(Flips(0, 0, 100))
    squared = 1.959964**2
    assert (found.low, found.high) == pytest.approx((-squared / (100 + squared), squared / (100 + squared)))


@pytest.mark.parametrize(("lost", "gained"), [(12, 0), (0, 12)])
def test_all_flipped(lost: int, gained: int) -> None:
    found = score_interval(Flips(lost, gained, 12))
    assert -1 <= found.low < found.high <= 1
    assert (found.low == -1.0) == bool(lost)
    assert (found.high == 1.0) == bool(gained)


def test_odds_ratio() -> None:
    assert Flips(2, 6, 100).odds_ratio == 3.0
    assert Flips(0, 6, 100).odds_ratio == math.inf
    assert Flips(0, 0, 100).odds_ratio is None
    assert Flips(2, 6, 100).changed == 8


def test_what_stays_unseen_is_the_exact_bound() -> None:
    assert unseen_share(40) == pytest.approx(clopper_pearson_at_bound(0.0, 40).high)
    assert np.diff([unseen_share(rows) for rows in (10, 100, 1_000)]).max() < 0
