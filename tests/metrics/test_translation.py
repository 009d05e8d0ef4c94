from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from harness.contract import TextOutcome
from harness.errors import MetricError
from harness.metrics import load
from harness.store.signature import Signature

from .cases import CASES, text_outcomes

TEA = "I am very happy to say that I am drinking a warm cup of tea."
BLEU_OPTIONS: list[dict[str, object]] = [
    {},
    {"tokenize": "none", "smooth": "none"},
    {"tokenize": "intl", "smooth": "floor"},
    {"tokenize": "char", "smooth": "add-k", "lowercase": True},
    {"smooth": "floor", "smooth_value": 0.3, "effective_order": True},
    {"smooth": "add-k", "effective_order": True},
    {"smooth": "exp", "effective_order": True},
    {"smooth": "none", "effective_order": True},
]
CHRF_OPTIONS: list[dict[str, object]] = [
    {},
    {"word_order": 2},
    {"char_order": 3, "beta": 1, "lowercase": True},
    {"char_order": 0, "word_order": 1},
]


TER_OPTIONS: list[dict[str, object]] = [
    {},
    {"normalized": True, "case_sensitive": True},
    {"no_punct": True},
    {"normalized": True, "no_punct": True, "asian_support": True},
]


def score(name: str, outcomes: list[TextOutcome], **options: object) -> float:
    metric = load(name, options)
    return float(metric.score(metric.statistics(outcomes).sum(axis=0)))


def streams(outcomes: list[TextOutcome]) -> tuple[list[str], list[list[str | None]]]:
    """Predictions and reference streams as sacrebleu takes them, None for a missing reference."""
    most = max(len(o.references) for o in outcomes)
    padded: list[list[str | None]] = [[*o.references, *[None] * (most - len(o.references))] for o in outcomes]
    return [o.prediction for o in outcomes], [list(stream) for stream in zip(*padded, strict=True)]


def corpora(seed: int, references: tuple[int, ...]) -> list[list[TextOutcome]]:
    """1,000 small corpora of 1 to 5 segments from one pool."""
    rng = random.Random(seed)
    pool = text_outcomes(seed, references)
    return [rng.choices(pool, k=rng.randint(1, 5)) for _ in range(CASES)]


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ("I am very happy that I am drinking a cup of tea.", 0.495),
        ("I am very happy that I am drinking a warm cup of tea.", 0.730),
        ("I am very happy to say that I am drinking a warm tea.", 0.798),
        (TEA, 1.000),
    ],
)
def test_bleu_of_whitespace_tokens(prediction: str, expected: float) -> None:
    assert round(score("bleu", [TextOutcome(prediction, (TEA,))], tokenize="none") / 100, 3) == expected


@pytest.mark.parametrize("options", BLEU_OPTIONS)
def test_bleu_equals_sacrebleu(options: dict[str, object]) -> None:
    theirs = dict(options)
    theirs["smooth_method"] = theirs.pop("smooth", "exp")
    ours, expected = [], []
    for outcomes in corpora(31, (1, 2, 3)):
        ours.append(score("bleu", outcomes, **options))
        expected.append(BLEU(**theirs).corpus_score(*streams(outcomes)).score)
    assert ours == pytest.approx(expected, abs=1e-9)
    assert len({round(one, 6) for one in expected}) > CASES / 5


@pytest.mark.parametrize("options", CHRF_OPTIONS)
def test_chrf_equals_sacrebleu(options: dict[str, object]) -> None:
    ours, expected = [], []
    for outcomes in corpora(32, (1, 2, 3)):
        ours.append(score("chrf", outcomes, **options))
        expected.append(CHRF(**options).corpus_score(*streams(outcomes)).score)
    assert ours == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("options", TER_OPTIONS)
def test_ter_equals_sacrebleu(options: dict[str, object]) -> None:
    ours, expected = [], []
    for outcomes in corpora(37, (1, 2, 3))[:300]:
        ours.append(score("ter", outcomes, **options))
        expected.append(TER(**options).corpus_score(*streams(outcomes)).score)
    assert ours == pytest.approx(expected, abs=1e-9)
    assert max(expected) > 100


def test_ter_counts_a_shift_as_one_edit() -> None:
    assert score("ter", [TextOutcome("warm tea I am drinking now", ("I am drinking warm tea now",))]) == pytest.approx(100 / 6)


@pytest.mark.parametrize(("prediction", "expected"), [("", 0.0), ("tea", 100.0)])
def test_ter_of_empty_references(prediction: str, expected: float) -> None:
    outcomes = [TextOutcome(prediction, ("",))]
    assert score("ter", outcomes) == expected == TER().corpus_score([prediction], [[""]]).score


def test_ter_falls_as_translations_improve() -> None:
    metric = load("ter")
    assert not metric.higher_is_better
    assert (metric.low, metric.high, metric.unit) == (0.0, float("inf"), "points")


def test_whole_corpus_equals_sacrebleu() -> None:
    outcomes = text_outcomes(33)
    assert score("bleu", outcomes) == pytest.approx(BLEU().corpus_score(*streams(outcomes)).score, abs=1e-9)
    assert score("chrf++", outcomes) == pytest.approx(CHRF(word_order=2).corpus_score(*streams(outcomes)).score, abs=1e-9)


@pytest.mark.parametrize("name", ["bleu", "chrf", "chrf++", "ter"])
def test_scores_of_many_totals_at_once(name: str) -> None:
    metric = load(name)
    statistics = metric.statistics(text_outcomes(34, count=60))
    totals = statistics.reshape(4, 5, 3, -1).sum(axis=2)
    one_by_one = np.array([[float(metric.score(row)) for row in rows] for rows in totals])
    np.testing.assert_array_equal(metric.score(totals), one_by_one)


def test_bleu_items_are_sentence_bleu_with_effective_order() -> None:
    outcomes = text_outcomes(35, count=100)
    metric = load("bleu")
    expected = [BLEU(effective_order=True).sentence_score(o.prediction, o.references).score for o in outcomes]
    assert metric.item_scores(metric.statistics(outcomes)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("references", [(1,), (2,), (1, 2)])
def test_signature_holds_sacrebleus_own(references: tuple[int, ...]) -> None:
    outcomes = text_outcomes(36, references, count=20)
    bleu, chrf, ter = BLEU(), CHRF(), TER()
    for metric in (bleu, chrf, ter):
        metric.corpus_score(*streams(outcomes))
    for name, theirs, further in (("bleu", bleu, {}), ("chrf", chrf, {"beta": 2}), ("ter", ter, {})):
        own = {field: value for field, value in theirs.get_signature().info.items() if value is not None}
        assert load(name).signature_for(outcomes) == Signature.of(name, {"version": 1, **further, "sacrebleu": own})
        assert own["nrefs"] == ("var" if len(references) > 1 else references[0])


def test_no_outcomes_give_an_empty_table() -> None:
    assert load("bleu").statistics([]).shape == (0, 10)
    assert load("chrf++").statistics([]).shape == (0, 24)
    assert load("ter").statistics([]).shape == (0, 2)


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(MetricError, match="smooth_value"):
        load("bleu", {"smooth_value": 0.5})
    with pytest.raises(MetricError, match="one of them more"):
        load("chrf", {"char_order": 0})
    with pytest.raises(MetricError, match="tokenize"):
        load("bleu", {"tokenize": "moses"})
