from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.contract import ChoiceOutcome
from harness.errors import MetricError
from harness.evaluation.aggregate import MetricScore, blend
from harness.metrics import load
from harness.stats.intervals import interval

from .cases import choice_outcomes


def answer(said: int, target: int, **labels: Any) -> ChoiceOutcome:
    """A yes/no answer: `said` is the preferred choice."""
    return ChoiceOutcome((0.0, -1.0) if said == 0 else (-1.0, 0.0), (target,), ("no", "yes"), (1, 1), labels)


def passage(odds: float, relevant: bool, query: str = "q") -> ChoiceOutcome:
    return ChoiceOutcome((0.0, odds), (int(relevant),), ("no", "yes"), (1, 1), {"query": query})


def score(name: str, outcomes: list[ChoiceOutcome], **options: object) -> float:
    metric = load(name, options)
    return float(metric.score(metric.statistics(outcomes).sum(axis=0)))


# MultiRC: three questions with 3, 2 and 2 answers; (question, said, target).
MULTIRC = [("a", 1, 1), ("a", 0, 0), ("a", 1, 1), ("b", 1, 0), ("b", 1, 1), ("c", 0, 1), ("c", 0, 0)]


def test_multirc_by_hand() -> None:
    outcomes = [answer(said, target, question=question) for question, said, target in MULTIRC]
    assert score("all_correct", outcomes, by="question") == pytest.approx(1 / 3)  # only question a
    assert score("f1", outcomes) == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))  # 3 right yes, 1 wrong yes, 1 missed


def test_multirc_equals_lm_evals() -> None:
    from lm_eval.tasks.super_glue.multirc.t5_utils import agg_em, agg_f1

    rng = np.random.default_rng(1)
    rows = [(int(rng.integers(60)), int(rng.random() < 0.45), int(rng.random() < 0.45)) for _ in range(200)]
    outcomes = [answer(said, target, question={"paragraph": 1, "question": question}) for question, said, target in rows]
    assert score("all_correct", outcomes, by="question") == pytest.approx(agg_em(rows), abs=1e-12)
    assert score("f1", outcomes) == pytest.approx(agg_f1([(said, target) for _, said, target in rows]), abs=1e-12)
    assert 0 < agg_em(rows) < 1


def test_groups_are_the_unit_of_n_and_of_resampling() -> None:
    outcomes = [answer(said, target, question=question) for question, said, target in MULTIRC]
    metric = load("all_correct", {"by": "question"})
    statistics = metric.statistics(outcomes)
    np.testing.assert_array_equal(statistics, [[1, 1], [0, 1], [0, 1]])
    assert metric.item_scores(statistics) is None
    # Copies of every item add nothing that a group did not hold already.
    doubled = metric.statistics([outcome for outcome in outcomes for _ in range(2)])
    assert interval(doubled, metric.score) == interval(statistics, metric.score)


def test_results_count_groups() -> None:
    outcomes = [answer(said, target, question=question) for question, said, target in MULTIRC]
    other = [answer(target, target, question=question) for question, said, target in MULTIRC]
    metric = load("all_correct", {"by": "question"})
    one, two = (MetricScore(metric, metric.statistics(answers), metric.signature, seed=0) for answers in (outcomes, other))
    record, mean = one.record(), blend([one, two]).record()
    assert record.n == mean.n == 3
    assert record.value == pytest.approx(1 / 3)
    assert mean.value == pytest.approx(2 / 3)
    assert record.ci is not None
    assert mean.spread is not None
    assert mean.spread.lowest == pytest.approx(1 / 3)
    assert mean.spread.highest == 1.0


def test_results_without_a_group_are_null_with_the_reason() -> None:
    metric = load("agreement", {"by": "pair"})
    record = MetricScore(metric, metric.statistics([answer(1, 1, pair="a")]), metric.signature, seed=0).record()
    assert (record.n, record.value, record.ci) == (0, None, None)
    assert record.reason == "no group of 2 or more items with the same pair"


def test_rows_do_not_depend_on_the_answers() -> None:
    flipped = [answer(1 - said, target, question=question) for question, said, target in MULTIRC]
    for name in ("all_correct", "agreement"):
        metric = load(name, {"by": "question"})
        assert len(metric.statistics(flipped)) == 3


def test_labels_of_different_types_are_different_groups() -> None:
    outcomes = [answer(1, 1, question="1"), answer(0, 1, question=1)]
    assert score("all_correct", outcomes, by="question") == 0.5


def test_agreement_is_parity_over_pairs() -> None:
    pairs = [("a", 1), ("b", 0), ("a", 1), ("b", 1), ("c", 0), ("c", 0)]
    outcomes = [answer(said, 0, pair=pair) for pair, said in pairs]
    assert score("agreement", outcomes, by="pair") == pytest.approx(2 / 3)


def test_half_a_pair_says_nothing_about_parity() -> None:
    alone = [answer(1, 1, pair="a")]
    metric = load("agreement", {"by": "pair"})
    assert metric.statistics(alone).shape == (0, 2)
    assert math.isnan(score("agreement", alone, by="pair"))
    assert metric.no_interval(metric.statistics(alone)) == "no group of 2 or more items with the same pair"
    assert score("agreement", [*alone, answer(0, 0, pair="b"), answer(1, 0, pair="b")], by="pair") == 0.0


def test_reciprocal_rank_worked_example() -> None:
    # The first right plural stands third, second and first: (1/3 + 1/2 + 1) / 3 = 11/18.
    places = {"cat": 3, "torus": 2, "virus": 1}
    outcomes = [passage(-float(rank), rank == place, query) for query, place in places.items() for rank in (2, 1, 3)]
    assert score("reciprocal_rank", outcomes, by="query") == pytest.approx(11 / 18)


def test_reciprocal_rank_takes_the_best_relevant_passage() -> None:
    assert score("reciprocal_rank", [passage(3, False), passage(1, True), passage(2, True)], by="query") == 0.5


def test_reciprocal_rank_ends_at_k() -> None:
    eleven = [passage(float(rank), rank == 0) for rank in range(11)]
    assert score("reciprocal_rank", eleven, by="query") == 0.0
    assert score("reciprocal_rank", eleven, by="query", k=11) == pytest.approx(1 / 11)
    assert score("reciprocal_rank", eleven[:10], by="query") == pytest.approx(1 / 10)


def test_a_model_that_tells_nothing_apart_earns_nothing_from_the_order() -> None:
    assert score("reciprocal_rank", [passage(0, True), passage(0, False), passage(0, False)], by="query") == pytest.approx(1 / 3)


def test_a_query_without_a_relevant_passage_counts_zero() -> None:
    outcomes = [passage(1, True, "a"), passage(1, False, "b")]
    assert score("reciprocal_rank", outcomes, by="query") == 0.5


def test_reciprocal_rank_ranks_by_log_odds_against_all_other_choices() -> None:
    # log P(yes) is higher for the first, but its other choices together are higher by more.
    first = ChoiceOutcome((-1.0, -0.5, -1.0), (0,), ("no", "yes", "maybe"), (1, 1, 1), {"query": "q"})
    second = ChoiceOutcome((-4.0, -1.0, -4.0), (1,), ("no", "yes", "maybe"), (1, 1, 1), {"query": "q"})
    assert score("reciprocal_rank", [first, second], by="query") == 1.0
    assert score("reciprocal_rank", [first, second], by="query", positive=0) == 1.0
    with pytest.raises(MetricError, match="'positive' is 3"):
        score("reciprocal_rank", [first], by="query", positive=3)


@pytest.mark.parametrize("name", ["all_correct", "agreement", "reciprocal_rank"])
def test_a_missing_label_is_named(name: str) -> None:
    with pytest.raises(MetricError, match=rf"'{name}' needs the label 'question'. The task has the labels pair\.") as caught:
        score(name, [answer(0, 0, pair="a")], by="question")
    assert "labels: {question:" in caught.value.remedy
    with pytest.raises(MetricError, match="The task has no labels"):
        score(name, [answer(0, 0)], by="question")


@pytest.mark.parametrize("name", ["all_correct", "agreement", "reciprocal_rank"])
def test_the_label_has_to_be_given(name: str) -> None:
    with pytest.raises(MetricError, match=f"'{name}' needs the option 'by'"):
        load(name)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(MetricError, match="'k' is at least 1"):
        load("reciprocal_rank", {"by": "query", "k": 0})
    with pytest.raises(MetricError, match="index from 0"):
        load("reciprocal_rank", {"by": "query", "positive": -1})


@pytest.mark.parametrize("name", ["all_correct", "agreement", "reciprocal_rank"])
def test_one_item_groups_of_all_right_are_accuracy(name: str) -> None:
    outcomes = choice_outcomes(4, choices=2, count=40)
    labelled = [ChoiceOutcome(o.logprobs, o.targets, o.choices, o.tokens, {"n": number}) for number, o in enumerate(outcomes)]
    metric = load(name, {"by": "n"})
    assert len(metric.statistics(labelled)) == (0 if name == "agreement" else 40)
    if name == "all_correct":
        assert score(name, labelled, by="n") == score("accuracy", outcomes)
