from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.metrics.scores import f_measure

from harness.contract import TextOutcome
from harness.metrics import load
from harness.metrics.text import normalized

from .cases import CASES, text_outcomes


def score(name: str, prediction: str, *references: str) -> float:
    metric = load(name)
    return float(metric.score(metric.statistics([TextOutcome(prediction, references)])[0]))


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("the cat sat", ("a cat sat down",), 2 * 2 / (2 + 3)),  # of {cat, sat} and {cat, sat, down}
        ("cat cat", ("cat",), 1.0),  # a set; token_f1 gives 2/3
        ("Cat!", ("dog", "the cat"), 1.0),  # the best reference
        ("dog", ("cat",), 0.0),
        ("the", ("a",), 0.0),  # empty after normalization; token_f1 gives 1
        ("cat", ("The",), 0.0),
        ("", ("cat",), 0.0),
    ],
)
def test_f1_score(prediction: str, references: tuple[str, ...], expected: float) -> None:
    assert score("f1_score", prediction, *references) == pytest.approx(expected, abs=1e-12)


def test_f1_score_differs_from_squads_where_words_repeat_or_nothing_is_left() -> None:
    assert [score(name, "cat cat", "cat") for name in ("token_f1", "f1_score")] == pytest.approx([2 / 3, 1.0])
    assert [score(name, "the", "a") for name in ("token_f1", "f1_score")] == [1.0, 0.0]


def test_f1_score_is_helms_call_of_nltk() -> None:
    outcomes = text_outcomes(21)

    def helm(gold: str, said: str) -> float:
        return f_measure(set(normalized(gold).split()), set(normalized(said).split())) or 0.0

    expected = [max(helm(reference, o.prediction.strip()) for reference in o.references) for o in outcomes]
    ours = load("f1_score").statistics(outcomes)[:, 0]
    assert ours == pytest.approx(expected, abs=1e-12)
    assert 0 < sum(ours) < CASES


@pytest.mark.parametrize(
    ("prediction", "references", "plain", "quasi"),
    [
        ("Yes, Elmendorf", ("Yes",), 1.0, 1.0),
        (" Yes.\n", (" Yes ",), 1.0, 1.0),
        ("yes, it is", ("Yes",), 0.0, 1.0),  # case
        ("The Beatles of Liverpool", ("Beatles",), 0.0, 1.0),  # an article
        ("It is yes", ("Yes",), 0.0, 0.0),
        ("Yes", ("Yes, it is",), 0.0, 0.0),  # the prediction begins with the reference, not the other way about
        ("yesterday", ("yes",), 1.0, 1.0),  # letters, not words
        ("no way", ("yes", "no"), 1.0, 1.0),
        ("anything", ("The",), 0.0, 1.0),  # HELM: nothing begins everything
        ("anything", ("  ",), 1.0, 1.0),
        ("", ("The",), 0.0, 0.0),  # but an empty prediction is wrong
        (" \n", ("",), 0.0, 0.0),
    ],
)
def test_prefix_matches(prediction: str, references: tuple[str, ...], plain: float, quasi: float) -> None:
    assert score("prefix_exact_match", prediction, *references) == plain
    assert score("quasi_prefix_exact_match", prediction, *references) == quasi


texts = st.text(alphabet="abTthe.,! ", max_size=12)


@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_an_exact_answer_is_a_prefix_and_more_references_never_hurt(prediction: str, references: list[str]) -> None:
    for name in ("f1_score", "prefix_exact_match", "quasi_prefix_exact_match"):
        assert score(name, prediction, *references) == max(score(name, prediction, reference) for reference in references)
    if prediction.strip():
        assert score("prefix_exact_match", prediction + " more", prediction) == 1.0
        assert score("quasi_prefix_exact_match", prediction + " more", prediction) == 1.0


@given(texts, texts)
def test_f1_score_is_symmetric_and_between_0_and_1(one: str, other: str) -> None:
    assert 0.0 <= score("f1_score", one, other) == score("f1_score", other, one) <= 1.0
