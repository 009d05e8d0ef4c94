from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from harness.contract import ChoiceOutcome, TextOutcome
from harness.errors import MetricError
from harness.metrics import known, load
from harness.stats.bootstrap import replicates
from harness.stats.intervals import interval

NAMES = ["pearson", "spearman", "expected_pearson", "expected_spearman"]
GRADES = ("0", "1", "2", "3", "4", "5")


def score(name: str, outcomes: list[TextOutcome] | list[ChoiceOutcome], **options: object) -> float:
    metric = load(name, {"gold": "gold", **options})
    return float(metric.score(metric.statistics(outcomes).sum(axis=0)))


def text(prediction: str, gold: object) -> TextOutcome:
    return TextOutcome(prediction, ("",), {"gold": gold})


def texts(seed: int, count: int = 60) -> tuple[list[TextOutcome], list[float], list[float]]:
    """Similarity judgements as STS-B has them, with many ties; and the numbers in them."""
    rng = random.Random(seed)
    wanted = [round(rng.uniform(0, 5), 1) for _ in range(count)]
    said = [round(min(5.0, max(0.0, value + rng.gauss(0, 1.5))) * 2) / 2 for value in wanted]
    return [text(f"about {number} of 5", value) for number, value in zip(said, wanted, strict=True)], said, wanted


def graded(seed: int, count: int = 60) -> tuple[list[ChoiceOutcome], list[float], list[float]]:
    """Scored grades; and their expectations, over a softmax computed here."""
    rng = np.random.default_rng(seed)
    outcomes, said, wanted = [], [], []
    for _ in range(count):
        logprobs, gold = rng.normal(-200, 2, size=6), float(rng.uniform(0, 5))
        outcomes.append(ChoiceOutcome(tuple(logprobs), (0,), GRADES, (1,) * 6, {"gold": gold}))
        shares = np.exp(logprobs + 200)
        said.append(float((shares * np.arange(6)).sum() / shares.sum()))
        wanted.append(gold)
    return outcomes, said, wanted


@pytest.mark.parametrize("seed", range(25))
def test_generated_numbers_equal_scipy(seed: int) -> None:
    outcomes, said, wanted = texts(seed)
    assert score("pearson", outcomes) == pytest.approx(stats.pearsonr(said, wanted).statistic, abs=1e-12)
    assert score("spearman", outcomes) == pytest.approx(stats.spearmanr(said, wanted).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_expected_numbers_equal_scipy(seed: int) -> None:
    outcomes, said, wanted = graded(seed)
    assert score("expected_pearson", outcomes) == pytest.approx(stats.pearsonr(said, wanted).statistic, abs=1e-10)
    assert score("expected_spearman", outcomes) == pytest.approx(stats.spearmanr(said, wanted).statistic, abs=1e-12)


def test_expectation_survives_log_probabilities_that_underflow() -> None:
    outcomes = [
        ChoiceOutcome(tuple(-2000.0 - abs(grade - gold) for grade in range(6)), (0,), GRADES, (1,) * 6, {"gold": gold})
        for gold in (0.5, 2.0, 4.5)
    ]
    assert score("expected_pearson", outcomes) > 0.9


def test_replicates_are_correlations_of_the_resampled_pairs() -> None:
    outcomes, said, wanted = texts(3, count=30)
    metric = load("pearson", {"gold": "gold"})
    drawn = replicates(metric.statistics(outcomes), metric.score, resamples=300)
    rng = np.random.default_rng(0)
    columns = np.array([said, wanted])
    expected = [np.corrcoef(columns[:, rng.integers(30, size=30)])[0, 1] for _ in range(300)]
    assert drawn.mean() == pytest.approx(np.mean(expected), abs=0.03)
    assert drawn.std() == pytest.approx(np.std(expected), rel=0.3)


def test_spearman_resamples_pairs_of_ranks() -> None:
    outcomes, said, wanted = texts(4, count=40)
    spearman, pearson = load("spearman", {"gold": "gold"}), load("pearson", {"gold": "gold"})
    ranked = [text(str(rank), other) for rank, other in zip(stats.rankdata(said), stats.rankdata(wanted), strict=True)]
    ours = interval(spearman.statistics(outcomes), spearman.score, seed=5)
    theirs = interval(pearson.statistics(ranked), pearson.score, seed=5)
    assert ours is not None
    assert theirs is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_constant_predictions_have_no_correlation(name: str) -> None:
    outcomes = [text("3.1", gold) for gold in (0.1, 0.2, 0.3, 0.7)]
    metric = load(name, {"gold": "gold"})
    assert math.isnan(score(name, outcomes))
    assert metric.no_interval(metric.statistics(outcomes)) == "no correlation: the predictions or the labels 'gold' are all equal"
    outcomes[0] = text("3.0", 0.1)
    assert metric.no_interval(metric.statistics(outcomes)) is None


def test_a_text_without_a_number_counts_as_missing_says() -> None:
    outcomes = [text("no idea", 1.0), text("4 or 5", 4.0), text("2", 2.0), text("9" * 400, 0.0)]
    wanted = [1.0, 4.0, 2.0, 0.0]
    assert score("pearson", outcomes) == pytest.approx(stats.pearsonr([-1, 4, 2, -1], wanted).statistic)
    assert score("pearson", outcomes, missing=0, which="last") == pytest.approx(stats.pearsonr([0, 5, 2, 0], wanted).statistic)


def test_gold_may_be_written_as_text_but_is_a_number() -> None:
    outcomes = [text("1", "1.5"), text("2", "2.5"), text("4", 5)]
    assert score("pearson", outcomes) == pytest.approx(stats.pearsonr([1, 2, 4], [1.5, 2.5, 5]).statistic)
    for value in ("high", None, math.nan):
        with pytest.raises(MetricError, match="'pearson': the label 'gold' is"):
            score("pearson", [text("1", value)])


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_label_is_named(name: str) -> None:
    outcome = TextOutcome("1", ("",)) if known()[name].form == "generate" else ChoiceOutcome((0.0,), (0,), ("1",), (1,))
    with pytest.raises(MetricError, match=f"'{name}' needs the label 'similarity'"):
        load(name, {"gold": "similarity"}).statistics([outcome])
    with pytest.raises(MetricError, match=f"'{name}' needs the option 'gold'"):
        load(name)


def test_choices_that_are_no_numbers_are_named() -> None:
    outcome = ChoiceOutcome((0.0, -1.0), (0,), ("1", "two"), (1, 1), {"gold": 1})
    with pytest.raises(MetricError, match="needs choices that are numbers; 'two' is not a number"):
        score("expected_pearson", [outcome])


@pytest.mark.parametrize("name", NAMES)
def test_range_and_least_number_of_items(name: str) -> None:
    cls = known()[name]
    assert (cls.low, cls.high, cls.min_items, cls.higher_is_better) == (-1.0, 1.0, 3, True)


def test_no_outcomes_give_an_empty_table() -> None:
    for name in NAMES:
        assert load(name, {"gold": "gold"}).statistics([]).shape == (0, 6)


def test_many_totals_at_once() -> None:
    metric = load("spearman", {"gold": "gold"})
    tables = [metric.statistics(texts(seed)[0]) for seed in range(4)]
    totals = np.stack([table.sum(axis=0) for table in tables]).reshape(2, 2, 6)
    expected = np.array([float(metric.score(table.sum(axis=0))) for table in tables]).reshape(2, 2)
    np.testing.assert_array_equal(metric.score(totals), expected)
