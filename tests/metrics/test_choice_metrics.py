from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from harness.contract import ChoiceOutcome
from harness.errors import MetricError
from harness.metrics import load

from .cases import CASES, choice_outcomes


def outcome(*logprobs: float, target: int = 0, choices: tuple[str, ...] = (), tokens: tuple[int, ...] = ()) -> ChoiceOutcome:
    return ChoiceOutcome(logprobs, (target,), choices or ("x",) * len(logprobs), tokens or (1,) * len(logprobs))


def score(name: str, outcomes: list[ChoiceOutcome], **options: object) -> float:
    metric = load(name, options)
    return float(metric.score(metric.statistics(outcomes).sum(axis=0)))


def indices(outcomes: list[ChoiceOutcome]) -> tuple[list[int], list[int]]:
    return [o.target for o in outcomes], [int(np.argmax(o.logprobs)) for o in outcomes]


def groups() -> list[list[ChoiceOutcome]]:
    """1,000 small corpora of differing sizes and numbers of choices."""
    rng = np.random.default_rng(5)
    return [choice_outcomes(seed, int(rng.integers(2, 6)), int(rng.integers(2, 40))) for seed in range(CASES)]


def test_accuracy_takes_the_first_of_equal_choices() -> None:
    tied = outcome(-1.0, -1.0)
    assert score("accuracy", [tied]) == 1.0
    assert score("accuracy", [outcome(-1.0, -1.0, target=1)]) == 0.0


@pytest.mark.parametrize(
    ("normalize", "target"),
    [("none", 0), ("characters", 1), ("bytes", 2), ("tokens", 3)],
)
def test_each_normalization_prefers_its_own_choice(normalize: str, target: int) -> None:
    # By characters: -3, -4/8, -4/5, -4/2; by bytes: -3, -4/8, -4/15, -4/2; by tokens: -3, -2, -4/3, -4/9.
    question = outcome(-3.0, -4.0, -4.0, -4.0, target=target, choices=("y", "eightlet", "日本語文字", "no"), tokens=(1, 2, 3, 9))
    assert score("accuracy", [question], normalize=normalize) == 1.0


@pytest.mark.parametrize(("normalize", "measure"), [("characters", len), ("bytes", lambda text: len(text.encode("utf-8")))])
def test_normalized_accuracy_is_lm_evals(normalize: str, measure: object) -> None:
    assert callable(measure)
    outcomes = choice_outcomes(1)
    lengths = [np.array([float(measure(choice)) for choice in o.choices]) for o in outcomes]
    hits = [np.argmax(np.array(o.logprobs) / length) == o.target for o, length in zip(outcomes, lengths, strict=True)]
    assert score("accuracy", outcomes, normalize=normalize) == pytest.approx(np.mean(hits), abs=1e-12)


def test_a_choice_without_characters_cannot_be_normalized() -> None:
    with pytest.raises(MetricError, match="has no characters"):
        score("accuracy", [outcome(-1.0, -2.0, choices=("a", ""))], normalize="characters")


def test_mcc_equals_scikit_learn() -> None:
    for outcomes in groups():
        assert score("mcc", outcomes) == pytest.approx(matthews_corrcoef(*indices(outcomes)), abs=1e-9)


def test_f1_macro_equals_scikit_learn() -> None:
    for outcomes in groups():
        expected = f1_score(*indices(outcomes), average="macro", zero_division=0.0)
        assert score("f1_macro", outcomes) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("positive", [0, 1])
def test_binary_f1_equals_scikit_learn(positive: int) -> None:
    for seed in range(CASES):
        outcomes = choice_outcomes(seed, choices=2, count=1 + seed % 20)
        expected = f1_score(*indices(outcomes), labels=[positive], average="macro", zero_division=0.0)
        assert score("f1", outcomes, positive=positive) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("outcomes", [[outcome(0.0, -1.0)] * 5, [outcome(0.0, -1.0), outcome(0.0, -1.0, target=1)]])
def test_mcc_is_zero_where_predictions_are_constant(outcomes: list[ChoiceOutcome]) -> None:
    assert score("mcc", outcomes) == 0.0


def test_confusion_metrics_score_many_totals_at_once() -> None:
    parts = [choice_outcomes(seed, choices=3, count=30) for seed in range(6)]
    for name in ("mcc", "f1", "f1_macro"):
        metric = load(name)
        totals = np.stack([metric.statistics(part).sum(axis=0) for part in parts]).reshape(2, 3, -1)
        expected = np.array([score(name, part) for part in parts]).reshape(2, 3)
        np.testing.assert_allclose(metric.score(totals), expected, atol=1e-12)


def test_pooling_tasks_with_differing_numbers_of_choices() -> None:
    few, many = choice_outcomes(1, choices=2, count=50), choice_outcomes(2, choices=5, count=50)
    metric = load("mcc")
    pooled = metric.pool([metric.statistics(few), metric.statistics(many)])
    np.testing.assert_array_equal(pooled, metric.statistics(few + many))


def cells(outcomes: list[ChoiceOutcome]) -> Any:
    """Statistics as earlier versions kept them: one cell of the flattened confusion matrix an item."""
    targets, predictions = indices(outcomes)
    classes = max(len(outcome.logprobs) for outcome in outcomes)
    return np.eye(classes**2)[np.array(targets) * classes + np.array(predictions)]


@pytest.mark.parametrize("choices", range(2, 10))  # of three choices the old and the new statistics are equally wide
@pytest.mark.parametrize("name", ["mcc", "f1", "f1_macro"])
def test_statistics_of_older_results_are_read(name: str, choices: int) -> None:
    metric, outcomes = load(name), choice_outcomes(choices, choices=choices, count=60)
    own = metric.statistics(outcomes)
    assert own.shape == (60, 3 * choices)
    np.testing.assert_array_equal(metric.pool([cells(outcomes), cells(outcomes)]), np.concatenate([own, own]))
    np.testing.assert_array_equal(metric.pool([cells(outcomes[:30]), own[30:]]), own)
    np.testing.assert_array_equal(metric.pool([own]), own)


@pytest.mark.parametrize("name", ["mcc", "f1_macro"])
def test_a_thousand_choices_take_little_memory(name: str) -> None:
    """The matrix of each item would have a million cells: 1.9 GiB for these items."""
    generator = np.random.default_rng(1)
    labels = tuple(map(str, range(1000)))
    drawn = generator.integers(0, 1000, size=(250, 2))
    outcomes = [ChoiceOutcome(tuple(-1.0 * (np.arange(1000) != said)), (int(right),), labels, (1,) * 1000) for right, said in drawn]
    metric = load(name)
    tracemalloc.start()
    found = float(metric.score(metric.statistics(outcomes).sum(axis=0)))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50e6
    right, said = drawn[:, 0], drawn[:, 1]
    expected = matthews_corrcoef(right, said) if name == "mcc" else f1_score(right, said, average="macro", zero_division=0.0)
    assert found == pytest.approx(expected, abs=1e-12)


def test_corpus_only_metrics_have_no_item_scores() -> None:
    outcomes = choice_outcomes(3, count=5)
    for name in ("mcc", "f1", "f1_macro"):
        metric = load(name)
        assert metric.item_scores(metric.statistics(outcomes)) is None
    accuracy = load("accuracy")
    assert accuracy.item_scores(accuracy.statistics([outcome(0.0, -1.0), outcome(-1.0, 0.0)])) == pytest.approx([1.0, 0.0])


def test_positive_class_beyond_the_choices_is_an_error() -> None:
    with pytest.raises(MetricError, match="at most 2 choices"):
        score("f1", [outcome(0.0, -1.0)], positive=2)
    with pytest.raises(MetricError, match="index from 0"):
        load("f1", {"positive": -1})


def test_pmi_subtracts_the_probability_without_the_question() -> None:
    # "yes" is likelier in itself; the question raises "no" by more: -1 - -0.5 < -2 - -4.
    question = ChoiceOutcome((-1.0, -2.0), (1,), ("yes", "no"), (1, 1), prior=(-0.5, -4.0))
    assert score("accuracy", [question]) == 0.0
    assert score("accuracy", [question], normalize="pmi") == 1.0
    assert score("f1", [question], normalize="pmi") == 1.0


def test_pmi_is_lm_evals_acc_mutual_info() -> None:
    rng = np.random.default_rng(7)
    outcomes, hits = [], []
    for _ in range(CASES):
        logprobs, prior, target = rng.normal(-5, 2, size=4), rng.normal(-5, 2, size=4), int(rng.integers(4))
        outcomes.append(ChoiceOutcome(tuple(logprobs), (target,), ("a",) * 4, (1,) * 4, prior=tuple(prior)))
        hits.append(np.argmax([given - without for given, without in zip(logprobs, prior, strict=True)]) == target)
    assert score("accuracy", outcomes, normalize="pmi") == pytest.approx(np.mean(hits), abs=1e-12)


def test_pmi_without_priors_says_what_the_template_lacks() -> None:
    with pytest.raises(MetricError, match=r"probability of the choices \['x', 'x'\] without the question") as caught:
        score("accuracy", [outcome(-1.0, -2.0)], normalize="pmi")
    assert "unconditional" in caught.value.remedy


def entities(said: int, targets: tuple[int, ...], choices: tuple[str, ...]) -> ChoiceOutcome:
    logprobs = tuple(0.0 if index == said else -1.0 for index in range(len(choices)))
    return ChoiceOutcome(logprobs, targets, choices, (1,) * len(choices))


PLACES = ("New York", "the Bronx", "Bronx", "York University", "Queens")


@pytest.mark.parametrize(
    ("said", "targets", "exact", "f1"),
    [
        (1, (2,), 1.0, 1.0),  # the same after normalization, though another choice
        (0, (3, 4), 0.0, 0.5),  # one of two words shared with the better answer
        (3, (0, 3), 1.0, 1.0),
        (4, (0, 1), 0.0, 0.0),
    ],
)
def test_record_takes_the_best_of_several_answers(said: int, targets: tuple[int, ...], exact: float, f1: float) -> None:
    question = entities(said, targets, PLACES)
    assert score("choice_em", [question]) == exact
    assert score("choice_f1", [question]) == pytest.approx(f1)


def test_texts_of_a_label_stand_for_the_choices() -> None:
    sentences = tuple(f"In {place} it rained." for place in PLACES)
    plain = entities(0, (3,), sentences)
    named = ChoiceOutcome(plain.logprobs, plain.targets, plain.choices, plain.tokens, {"places": list(PLACES)})
    assert score("choice_f1", [named], texts="places") == pytest.approx(0.5)  # New York, York University
    assert score("choice_f1", [named]) == pytest.approx(0.8)  # of five words four are shared
    assert score("choice_em", [named], texts="places") == 0.0
    with pytest.raises(MetricError, match="'choice_em' needs the label 'places'"):
        score("choice_em", [plain], texts="places")
    few = ChoiceOutcome(plain.logprobs, plain.targets, plain.choices, plain.tokens, {"places": ["Bronx"]})
    with pytest.raises(MetricError, match="an item has 5 choices"):
        score("choice_em", [few], texts="places")


def test_record_equals_lm_evals() -> None:
    from lm_eval.tasks.super_glue.record.t5_utils import squad_em_agg, squad_f1_agg

    rng = np.random.default_rng(8)
    words = ["New", "York", "the Bronx", "U.S.", "Queens", "St.", "John"]
    outcomes, exact, f1 = [], [], []
    for _ in range(200):
        choices = tuple(" ".join(rng.choice(words, size=rng.integers(1, 4))) for _ in range(5))
        said, targets = int(rng.integers(5)), tuple(int(index) for index in rng.choice(5, size=2, replace=False))
        outcomes.append(entities(said, targets, choices))
        # One answer at a time: the reference's F1 reads only the first of several.
        pairs = [[(choices[said], f"item_{choices[target]}")] for target in targets]
        exact.append(max(squad_em_agg(pair) for pair in pairs))
        f1.append(max(squad_f1_agg(pair) for pair in pairs))
    assert score("choice_em", outcomes) == pytest.approx(np.mean(exact), abs=1e-12)
    assert score("choice_f1", outcomes) == pytest.approx(np.mean(f1), abs=1e-12)
    assert 0 < np.mean(exact) < np.mean(f1) < 1


def test_mc2_is_the_probability_of_the_right_choices() -> None:
    question = ChoiceOutcome(tuple(np.log([0.1, 0.2, 0.3])), (0, 2), ("a", "b", "c"), (1, 1, 1))
    assert score("mc2", [question]) == pytest.approx(0.4 / 0.6)
    far = ChoiceOutcome(tuple(np.log([0.1, 0.2, 0.3]) - 2000), (0, 2), ("a", "b", "c"), (1, 1, 1))
    assert score("mc2", [far]) == pytest.approx(0.4 / 0.6)


def test_mc2_equals_lm_evals() -> None:
    from lm_eval.tasks.truthfulqa.utils import process_results_mc2

    rng = np.random.default_rng(9)
    outcomes, expected = [], []
    for _ in range(100):
        logprobs, right = rng.normal(-8, 3, size=6), int(rng.integers(1, 6))
        outcomes.append(ChoiceOutcome(tuple(logprobs), tuple(range(right)), ("a",) * 6, (1,) * 6))
        doc = {"mc2_targets": {"labels": [1] * right + [0] * (6 - right)}}
        expected.append(process_results_mc2(doc, [(value, False) for value in logprobs])["acc"])
    assert score("mc2", outcomes) == pytest.approx(np.mean(expected), abs=1e-12)


def test_cbs_scores_equal_scikit_learn() -> None:
    # CommitmentBank: three classes of which neutral is rare, so that its F1 is often 0.
    rng = np.random.default_rng(10)
    for _ in range(100):
        targets = rng.choice(3, size=56, p=[0.41, 0.5, 0.09])
        said = [int(target) if rng.random() < 0.7 else int(rng.integers(2)) for target in targets]
        outcomes = [entities(one, (int(target),), ("yes", "no", "maybe")) for one, target in zip(said, targets, strict=True)]
        assert score("f1_macro", outcomes) == pytest.approx(f1_score(targets, said, average="macro", zero_division=0.0), abs=1e-12)
        assert score("accuracy", outcomes) == pytest.approx(np.mean(said == targets))
