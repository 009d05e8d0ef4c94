"""Verdicts by their rule, and how often they are wrong where nothing changed."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest

from harness.stats.bootstrap import Interval
from harness.stats.multiplicity import adjusted
from harness.stats.paired import PairedDifference, compare
from harness.stats.verdict import VERDICTS, Verdict, default_margin, verdict, worst
from tests.stats.populations import accuracy, bounded_means, exchangeable, simulation_error


def said(low: float, high: float, p: float, *, higher_is_better: bool = True, margin: float = 0.01) -> Verdict:
    return verdict(Interval(low, high, "bca"), p, margin, higher_is_better)


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (-0.05, -0.02, 0.001, "forgot"),
        (-0.05, -0.02, 0.02, "likely forgot"),
        (-0.05, -0.005, 0.001, "inconclusive"),
        (-0.009, -0.002, 0.001, "retained"),
        (-0.009, 0.02, 0.4, "retained"),
        (-0.02, 0.02, 1.0, "inconclusive"),
        (0.001, 0.02, 0.04, "improved"),
        (0.001, 0.02, 0.06, "retained"),
    ],
)
def test_the_rule(low: float, high: float, p: float, expected: Verdict) -> None:
    assert said(low, high, p) == expected
    assert said(-high, -low, p, higher_is_better=False) == expected


def test_ends_of_the_interval_on_the_margin_decide_nothing() -> None:
    assert said(-0.05, -0.01, 0.0) == "inconclusive"
    assert said(-0.01, 0.02, 0.5) == "inconclusive"


def test_a_wider_margin_forgives_more() -> None:
    assert said(-0.05, -0.02, 0.001, margin=0.06) == "retained"
    assert said(-0.05, -0.02, 0.001, margin=0.03) == "inconclusive"


def test_without_an_interval_or_a_test_nothing_can_be_told() -> None:
    assert verdict(None, 0.001, 0.01, True) == "inconclusive"
    assert verdict(Interval(-1.0, -0.5, "bca"), None, 0.01, True) == "inconclusive"


def test_several_scores_are_as_good_as_the_worst() -> None:
    for one, other in itertools.combinations(VERDICTS, 2):
        assert worst([other, one]) == one
    assert worst(["improved", "improved"]) == "improved"
    with pytest.raises(ValueError, match="no verdict"):
        worst([])


@pytest.mark.parametrize(
    ("high", "unit", "before", "margin"),
    [
        (1.0, "share", 0.7, 0.01),
        (100.0, "points", 30.0, 1.0),
        (None, "points", 60.0, 1.0),
        (10.0, "points", 5.0, 0.1),
        (math.inf, "points", 60.0, 1.0),
        (1.0, "correlation", -0.1, 0.01),
        (None, "perplexity per word", 25.0, 0.25),
    ],
)
def test_default_margins(high: float | None, unit: str, before: float, margin: float) -> None:
    assert default_margin(high, unit, before) == pytest.approx(margin)


PAIRS = 1_000
TASKS = ((exchangeable(accuracy(0.1, 0.05)), 100), (exchangeable(accuracy(0.15, 0.1)), 400), (exchangeable(bounded_means(-0.1)), 60))
"""Tasks on which two equally good systems differ on many items; small ones, where intervals are wide, are the hardest case."""


@dataclass(frozen=True)
class Run:
    """What one pair of equally good systems shows."""

    found: list[PairedDifference]
    verdicts: list[Verdict]
    adjusted: list[float]


@pytest.fixture(scope="module")
def unchanged() -> list[Run]:
    generator = np.random.default_rng(7)
    runs = []
    for seed in range(PAIRS):
        found = [
            compare(population.draw(items, generator), seed=seed, resamples=400, permutations=1_000, threads=1)
            for population, items in TASKS
        ]
        p_values = [p for p in adjusted([one.p for one in found], "holm") if p is not None]
        runs.append(Run(found, [verdict(one.interval, p, 0.01, True) for one, p in zip(found, p_values, strict=True)], p_values))
    return runs


def test_nothing_is_called_forgotten_where_nothing_changed(unchanged: list[Run]) -> None:
    assert sum("forgot" in run.verdicts for run in unchanged) / PAIRS < 0.01


def test_any_false_finding_is_rarer_than_five_in_a_hundred(unchanged: list[Run]) -> None:
    found = sum(min(run.adjusted) <= 0.05 for run in unchanged) / PAIRS
    assert 0 < found <= 0.05 + 2 * simulation_error(0.05, PAIRS)


def test_without_adjustment_there_would_be_more_of_them(unchanged: list[Run]) -> None:
    assert sum(min(one.p for one in run.found) <= 0.05 for run in unchanged) / PAIRS > 0.07


def test_the_interval_alone_would_call_more_of_them_forgotten(unchanged: list[Run]) -> None:
    """Why the verdict asks for the adjusted p as well: some 2 % of intervals lie below 0 on each of three tasks."""
    below = sum(any(one.interval is not None and one.interval.high < -0.01 for one in run.found) for run in unchanged)
    assert below / PAIRS > 0.02


def test_a_large_loss_is_found() -> None:
    population, generator = accuracy(0.15, 0.05), np.random.default_rng(8)
    verdicts = []
    for seed in range(50):
        found = compare(population.draw(600, generator), seed=seed, resamples=400, threads=1)
        verdicts.append(verdict(found.interval, found.p, 0.01, True))
    assert verdicts.count("forgot") > 45


def test_many_unchanged_items_are_called_kept() -> None:
    population, generator = accuracy(0.01, 0.01), np.random.default_rng(9)
    found = compare(population.draw(3_000, generator), resamples=2_000, threads=1)
    assert verdict(found.interval, found.p, 0.01, True) == "retained"
