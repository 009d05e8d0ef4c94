"""Averages over tasks of unequal size, and multiples of the baseline: what few changes may not hide.

Short versions of `benchmarks/verdicts.py`, whose full figures stand in docs/design/statistics.md.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verdicts import Setting, answers, former, former_factor, lumps, now, rates, ratio, settings_of_factors, settings_of_groups
from harness.compare.comparability import NotComparable
from harness.compare.groups import pooled
from harness.stats.bounded import mean_interval
from harness.stats.contrast import contrast, difference_interval
from harness.stats.pairs import MacroPairs, Pairs
from tests.stats.populations import simulation_error

DRAWS = 300


def the(settings: list[Setting], name: str, kind: str) -> Setting:
    (found,) = [one for one in settings if (one.name, one.kind) == (name, kind)]
    return found


@pytest.mark.parametrize(
    ("sizes", "kind", "once"),
    [
        ("50 + 1000", "correct/incorrect, 1% differ", 0.25),
        ("50 + 1000", "graded, few lose all", 0.25),
        ("8 to 400 in 6 tasks", "correct/incorrect, lost in the smallest", 0.4),
        ("71 + 277 + 1000", "correct/incorrect, 1% differ", 0.07),
        ("GLUE-like, 8 tasks", "correct/incorrect, 1% differ", 0.04),
    ],
)
def test_a_group_that_lost_the_margin_is_rarely_called_retained(sizes: str, kind: str, once: float) -> None:
    was, is_ = rates(the(list(settings_of_groups()), sizes, kind), DRAWS, (former, now))
    assert was.false > once
    assert is_.false <= 0.025 + simulation_error(0.025, DRAWS)
    assert is_.covered >= 0.95 - 2 * simulation_error(0.95, DRAWS)


@pytest.mark.parametrize(
    ("rule", "kind", "once"),
    [
        ("x >= 1 × baseline, loss 0.02", "100 items", 0.08),
        ("x >= 0.98 × baseline", "100 items, 1.2% differ", 0.2),
        ("x >= 0.98 × baseline", "50 items, 11.2% differ", 0.025),
    ],
)
def test_a_multiple_of_the_baseline_is_rarely_passed_falsely(rule: str, kind: str, once: float) -> None:
    was, is_ = rates(the(list(settings_of_factors()), rule, kind), DRAWS, (former_factor, now))
    assert was.false > once
    assert is_.false <= 0.025 + 2 * simulation_error(0.025, DRAWS)


def test_six_unchanged_items_do_not_reach_the_baseline() -> None:
    pairs = answers(6, 0.0, 0.0, np.random.default_rng(0))
    for factor in (1.0, 0.98):
        found = now(pairs, factor, 0)
        assert found is not None
        assert found.low < 0
    assert former_factor(pairs, 1.0, 0) is not None


def test_with_the_factor_1_it_is_the_interval_of_the_difference() -> None:
    generator = np.random.default_rng(1)
    for lost in (0.02, 0.2):
        pairs = answers(200, lost, 0.02, generator)
        drawn, found = contrast(pairs, seed=3, resamples=400)
        assert found == difference_interval(pairs, drawn[1] - drawn[0])
        if lost == 0.02:
            assert pairs.flips is not None
            assert found == mean_interval(pairs.after[:, 0] - pairs.before[:, 0], (-1.0, 1.0))


def test_unchanged_items_scatter_where_the_factor_is_not_1() -> None:
    """On 400 items of which 60 % are right and none changed, x - 0.9 x is 0.06, and as uncertain as x and unseen flips are."""
    right = (np.arange(400) < 240).astype(float)
    table = np.stack([right, np.ones(400)], axis=1)
    _, found = contrast(Pairs(table, table, ratio, 1.0), factor=0.9, resamples=200)
    assert found is not None
    wanted = mean_interval(0.1 * right, (-0.9, 1.0))
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.low < 0.06 - 1.96 * 0.1 * np.sqrt(0.24 / 400)


def test_one_part_alone_is_its_own_average() -> None:
    part = answers(150, 0.03, 0.01, np.random.default_rng(2))
    alone = MacroPairs(part.before, part.after, part.score, 1.0, parts=(part,), weights=(1.0,))
    assert part.flips is not None
    assert contrast(alone, resamples=200)[1] == mean_interval(part.after[:, 0] - part.before[:, 0], (-1.0, 1.0))


def test_weights_scale_what_may_stay_unseen() -> None:
    """Of two unchanged tasks of 100 rows, that of weight 3/4 decides: an unseen loss there counts 1.5 times."""
    parts = tuple(answers(100, 0.0, 0.0, np.random.default_rng(seed)) for seed in (0, 1))
    table = np.concatenate([part.before for part in parts])
    uneven = MacroPairs(table, table, ratio, 1.0, parts=parts, weights=(0.75, 0.25))
    _, found = contrast(uneven, resamples=100)
    assert found is not None
    assert found.low == pytest.approx(-1.5 * 1.959964**2 / (200 + 1.959964**2))


def test_tasks_of_one_size_are_as_one_task() -> None:
    """Nothing changed in 57 tasks of 30 items: all 1,710 items speak, so that few items a task are no reason to say nothing."""
    found = pooled("macro", {str(seed): lumps(30, 0.0, np.random.default_rng(seed)) for seed in range(57)})
    assert not isinstance(found, NotComparable)
    _, interval = contrast(found[0], resamples=100)
    assert interval is not None
    assert interval.low == pytest.approx(-(1.959964**2) / (1_710 + 1.959964**2))
