from __future__ import annotations

import math
import warnings
from pathlib import Path

import nltk
import numpy as np
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader
from nltk.translate.meteor_score import meteor_score
from nltk.translate.nist_score import corpus_nist
from pycocoevalcap.cider.cider import Cider

from harness.contract import TextOutcome
from harness.errors import MetricError
from harness.evaluation.aggregate import MetricScore
from harness.metrics import known, load
from harness.stats.intervals import interval

from .cases import text_outcomes
from .wordnet import write_wordnet

# The example of NLTK's documentation, after Papineni et al. (2002).
GUIDE = "It is a guide to action which ensures that the military always obeys the commands of the party"
TROOPS = "It is to insure the troops forever hearing the activity guidebook that party direct"
REFERENCES = (
    "It is a guide to action that ensures that the military will forever heed Party commands",
    "It is the guiding principle which guarantees the military forces always being under the command of the Party",
    "It is the practical guide for the army always to heed the directions of the party",
)
RESTAURANTS = [
    TextOutcome(
        "the mill is a cheap pub near the river", ("the mill is a pub by the river", "near the river there is a cheap pub , the mill")
    ),
    TextOutcome("the wok serves chinese food", ("the wok is a chinese restaurant", "chinese food is served at the wok")),
    TextOutcome("the vaults is not family friendly at all", ("the vaults is not for families", "do not take children to the vaults")),
    TextOutcome("eat here", ("the plough offers english food for less than 20 pounds", "english food at the plough")),
]


def score(name: str, outcomes: list[TextOutcome], **options: object) -> float:
    metric = load(name, options)
    return float(metric.score(metric.statistics(outcomes).sum(axis=0)))


def plain(outcomes: list[TextOutcome]) -> list[TextOutcome]:
    """Texts of lower-case words alone, which every tokenizer splits at white space; no text is empty."""

    def clean(text: str) -> str:
        return " ".join(word for word in text.lower().split() if word.isalpha()) or "tea"

    return [TextOutcome(clean(o.prediction), tuple(map(clean, o.references))) for o in outcomes]


def split(outcomes: list[TextOutcome]) -> tuple[list[list[list[str]]], list[list[str]]]:
    return [[text.split() for text in o.references] for o in outcomes], [o.prediction.split() for o in outcomes]


@pytest.mark.parametrize("prediction", [GUIDE, TROOPS])
def test_nist_of_nltks_example(prediction: str) -> None:
    references, said = [[text.lower().split() for text in REFERENCES]], [prediction.lower().split()]
    ours = score("nist", [TextOutcome(prediction, REFERENCES)], references="best")
    assert ours == pytest.approx(corpus_nist(references, said), abs=1e-12)
    assert score("nist", [TextOutcome(prediction, REFERENCES)]) > ours


@pytest.mark.parametrize("order", [2, 5])
def test_nist_equals_nltk(order: int) -> None:
    for seed in range(20):
        outcomes = plain(text_outcomes(seed, count=40))
        expected = corpus_nist(*split(outcomes), n=order)
        assert score("nist", outcomes, references="best", order=order) == pytest.approx(expected, abs=1e-9)
        assert score("nist", outcomes, order=order) != pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("references", ["all", "best"])
def test_nist_with_one_reference_equals_nltk(references: str) -> None:
    for seed in range(20):
        outcomes = plain(text_outcomes(seed, references=(1,), count=40))
        assert score("nist", outcomes, references=references) == pytest.approx(corpus_nist(*split(outcomes)), abs=1e-9)


def test_nist_against_several_references_by_hand() -> None:
    # References hold 2 + 3 = 5 words: a twice, b, c, d once. info(a) = log2(5/2), info(b) = info(c) = log2 5.
    # "a b c" finds a and b in the first, c in the second; 3 words against a mean of 2.5, so no penalty.
    outcomes = [TextOutcome("a b c", ("a b", "a c d"))]
    assert score("nist", outcomes, order=1) == pytest.approx((math.log2(5 / 2) + 2 * math.log2(5)) / 3)
    assert score("nist", outcomes, order=1, references="best") == pytest.approx((math.log2(5 / 2) + math.log2(5)) / 3)


def test_nist_halves_at_two_thirds_of_the_length() -> None:
    # Doddington's penalty: info(a) = log2 3, all words found, 2 words against 3.
    assert score("nist", [TextOutcome("a b", ("a b c",))], order=1) == pytest.approx(math.log2(3) / 2)


def test_nist_reads_lower_case_words_apart_from_their_punctuation() -> None:
    same = [TextOutcome("The Mill, a pub.", ("the mill , a pub .",)), TextOutcome("a b", ("c d",))]
    tokenized = [TextOutcome("the mill , a pub .", ("The mill, a pub.",)), same[1]]
    assert score("nist", same) == score("nist", tokenized) > 0


def test_nist_of_empty_texts_is_zero() -> None:
    assert score("nist", [TextOutcome("", ("a b",))]) == 0.0
    assert score("nist", [TextOutcome("a", ("",))]) == 0.0
    assert load("nist").statistics([]).shape == (0, 12)


def test_nist_of_many_totals_at_once() -> None:
    metric = load("nist")
    totals = metric.statistics(text_outcomes(3, count=60)).reshape(4, 5, 3, -1).sum(axis=2)
    expected = np.array([[float(metric.score(row)) for row in rows] for rows in totals])
    np.testing.assert_array_equal(metric.score(totals), expected)
    with pytest.raises(MetricError, match="'order' is at least 1"):
        load("nist", {"order": 0})


@pytest.fixture
def small_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WordNetCorpusReader:
    """A WordNet of two synsets, found where NLTK looks: {troop, army} and {cheap, bargain}."""
    write_wordnet(tmp_path / "corpora" / "wordnet", nouns=[("army", "troop")], adjectives=[("cheap", "bargain")])
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    loader = LazyCorpusLoader("wordnet", WordNetCorpusReader, LazyCorpusLoader("omw-1.4", WordNetCorpusReader))
    monkeypatch.setattr("nltk.corpus.wordnet", loader)
    return loader


def test_meteor_of_nltks_example(small_wordnet: WordNetCorpusReader) -> None:
    assert round(score("meteor", [TextOutcome(GUIDE, REFERENCES)]), 4) == 0.6944


def test_meteor_knows_synonyms_and_stems(small_wordnet: WordNetCorpusReader) -> None:
    # One run of matches, two of three words on either side: precision and recall 2/3, penalty 0.5 (1/2)^3.
    assert score("meteor", [TextOutcome("a cheap pub", ("one bargain pub",))]) == pytest.approx((1 - 0.5 / 8) * 2 / 3)
    assert score("meteor", [TextOutcome("the armies march", ("the army marches",))]) == pytest.approx(1 - 0.5 / 27)
    assert score("meteor", [TextOutcome("three cats here", ("some other words",))]) == 0.0


def test_meteor_equals_nltk(small_wordnet: WordNetCorpusReader) -> None:
    outcomes = [*plain(text_outcomes(4, count=200)), *RESTAURANTS]
    references, said = split(outcomes)
    expected = [meteor_score(wanted, one, wordnet=small_wordnet) for wanted, one in zip(references, said, strict=True)]
    metric = load("meteor")
    assert metric.item_scores(metric.statistics(outcomes)) == pytest.approx(expected, abs=1e-12)
    assert metric.no_interval(metric.statistics(outcomes)) is None
    assert 0 < np.mean(expected) < 1


def test_meteor_signature_names_wordnet(small_wordnet: WordNetCorpusReader) -> None:
    signature = load("meteor").signature
    assert (signature["nltk"], signature["wordnet"]) == (nltk.__version__, "3.0")


def test_meteor_without_wordnet_is_null_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setattr("nltk.corpus.wordnet", LazyCorpusLoader("wordnet", WordNetCorpusReader))
    metric = load("meteor")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        statistics = metric.statistics(RESTAURANTS)
        assert math.isnan(float(metric.score(statistics.sum(axis=0))))
    assert statistics.shape == (4, 2)
    assert metric.item_scores(statistics) is None
    assert "python -m nltk.downloader wordnet" in str(metric.no_interval(statistics))
    assert metric.signature["wordnet"] == "missing"
    record = MetricScore(metric, statistics, metric.signature, seed=0).record()
    assert (record.value, record.ci, record.n) == (None, None, 4)
    assert "nltk.downloader" in str(record.reason)


def test_cider_equals_pycocoevalcap() -> None:
    for outcomes in (plain(text_outcomes(5, count=100)), [TextOutcome(o.prediction, o.references[:1]) for o in RESTAURANTS]):
        texts = [TextOutcome(o.prediction, tuple(text.replace(" ,", "") for text in o.references)) for o in outcomes]
        whole, alone = Cider().compute_score(
            {number: list(o.references) for number, o in enumerate(texts)}, {number: [o.prediction] for number, o in enumerate(texts)}
        )
        metric = load("cider")
        statistics = metric.statistics(outcomes)
        assert float(metric.score(statistics.sum(axis=0))) == pytest.approx(whole, abs=1e-9)
        assert metric.item_scores(statistics) == pytest.approx(alone, abs=1e-12)


def test_cider_by_hand() -> None:
    # Unigrams only; in 2 items every word is in 1 of them, so each weighs log 2, and a and b share half of their squares.
    # n = 2, 3, 4 have no match in the first item; the second is its own reference: cosines 1, 1, 0, 0 (too short).
    outcomes = [TextOutcome("a x", ("a b",)), TextOutcome("c d", ("c d",))]
    metric = load("cider")
    assert metric.item_scores(metric.statistics(outcomes)) == pytest.approx([10 * 0.5 / 4, 10 * 2 / 4])


def test_cider_ignores_case_and_punctuation() -> None:
    marked = [TextOutcome(f"{o.prediction.capitalize()}.", o.references) for o in RESTAURANTS]
    assert score("cider", marked) == score("cider", RESTAURANTS) > 0


def test_cider_has_an_interval_over_items() -> None:
    metric = load("cider")
    statistics = metric.statistics(RESTAURANTS)
    found = interval(statistics, metric.score)
    assert found is not None
    assert found.low < score("cider", RESTAURANTS) < found.high


def test_cider_of_one_item_is_null_with_the_reason() -> None:
    metric = load("cider")
    statistics = metric.statistics(RESTAURANTS[:1])
    assert math.isnan(float(metric.score(statistics.sum(axis=0))))
    assert "at least 2 items" in str(metric.no_interval(statistics))
    assert known()["cider"].min_items == 2


def test_cider_without_its_package_is_null_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    metric = load("cider")
    statistics = metric.statistics(RESTAURANTS)
    assert math.isnan(float(metric.score(statistics.sum(axis=0))))
    assert metric.item_scores(statistics) is None
    assert "adapter-harness[nlg]" in str(metric.no_interval(statistics))


def test_texts_without_words() -> None:
    assert score("cider", [TextOutcome("a", ("",)), TextOutcome("", ("!",))]) == 0.0
    for name in ("meteor", "cider"):
        assert load(name).statistics([]).shape == (0, 2)
