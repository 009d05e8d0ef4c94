from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.metrics import brier_score
from sklearn.linear_model import LogisticRegression

from harness.contract import ChoiceOutcome
from harness.errors import MetricError
from harness.metrics import known, load
from harness.metrics.base import FloatArray
from harness.metrics.calibration import platt, reliability
from harness.stats.intervals import interval

from .cases import choice_outcomes

NAMES = ("brier", "ece_10_bin", "ece_1_bin", "platt_ece", "selective_acc@10", "selective_cov_acc_area")
BINNED = ("ece_10_bin", "ece_1_bin", "platt_ece")
SAMPLE = (*BINNED, "selective_acc@10", "selective_cov_acc_area")


def sure(confidence: float, right: bool) -> ChoiceOutcome:
    """An answer of this joint probability; the other choice has next to none."""
    return ChoiceOutcome((math.log(confidence), -1e9), (0 if right else 1,), ("a", "b"), (1, 1))


def answers(confidence: list[float], right: list[int]) -> list[ChoiceOutcome]:
    return [sure(c, bool(r)) for c, r in zip(confidence, right, strict=True)]


def score(name: str, outcomes: list[ChoiceOutcome], **options: object) -> float:
    metric = load(name, options)
    return float(metric.score(metric.statistics(outcomes).sum(axis=0)))


# Forty answers, scored by the functions of uncertainty-calibration 0.1.4 that HELM calls: get_ece_em(num_bins=10),
# get_ece(num_bins=1), get_selective_stats. The second have confidences that repeat.
DISTINCT = answers([(37 * k % 101) / 101 for k in range(1, 41)], [int(k % 7 % 3 != 1) for k in range(1, 41)])
PERCENT = [63, 90, 78, 23, 30, 87, 1, 82, 80, 47, 30, 28, 25, 45, 50, 55, 100, 79, 62, 99]
PERCENT += [22, 16, 61, 4, 4, 51, 47, 92, 63, 51, 50, 25, 1, 19, 69, 20, 37, 0, 83, 15]
RIGHT = [1, 1, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1]
REPEATED = answers([max(percent / 100, 1e-12) for percent in PERCENT], RIGHT)


@pytest.mark.parametrize(
    ("name", "outcomes", "expected"),
    [
        ("ece_10_bin", DISTINCT, 0.2306930693069307),
        ("ece_1_bin", DISTINCT, 0.19009900990099005),
        ("selective_cov_acc_area", DISTINCT, 0.7896370617440626),
        ("selective_acc@10", DISTINCT, 0.8),  # of int(0.1 x 40) + 1 = 5 items
        ("ece_10_bin", REPEATED, 0.13749999999999998),
        ("ece_1_bin", REPEATED, 0.029000000000000026),
    ],
)
def test_helms_names_have_the_values_of_the_package_that_helm_calls(name: str, outcomes: list[ChoiceOutcome], expected: float) -> None:
    assert score(name, outcomes) == pytest.approx(expected, abs=1e-10)


def test_bins_hold_equally_many_items() -> None:
    # 20 distinct confidences make bins of 2: each pair's mean confidence beside an accuracy of 1, 1/2 or 0.
    confidence = [(number + 1) / 21 for number in range(20)]
    right = [0, 0, 1, 0] + [1, 0] * 6 + [1, 1, 1, 1]
    pairs = [((2 * pair + 1) / 21 + (2 * pair + 2) / 21) / 2 for pair in range(10)]
    accuracy = [0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1]
    outcomes = answers(confidence, right)
    expected = np.mean([abs(c - a) for c, a in zip(pairs, accuracy, strict=True)])
    assert score("ece_10_bin", outcomes) == pytest.approx(expected, abs=1e-12)
    shown = reliability(load("ece_10_bin").statistics(outcomes[::-1]))
    assert shown.confidence == pytest.approx(pairs)
    assert shown.accuracy == pytest.approx(accuracy)
    assert shown.count.tolist() == [2] * 10


def test_equal_confidences_share_a_bin() -> None:
    # Chunks [.2 .2] [.2 .2] [.2 .6] …: the ends .2, .4 and .6, once each; nothing is above .6.
    outcomes = answers([0.2] * 5 + [0.6] * 15, [1] + [0] * 4 + [1] * 12 + [0] * 3)
    shown = reliability(load("ece_10_bin").statistics(outcomes))
    assert shown.count.tolist() == [5, 15]
    assert shown.confidence == pytest.approx([0.2, 0.6])
    assert shown.accuracy == pytest.approx([0.2, 0.8])
    assert score("ece_10_bin", outcomes) == pytest.approx(15 / 20 * 0.2)


def test_one_bin_lets_errors_cancel() -> None:
    outcomes = answers([0.1, 0.9], [1, 0])
    assert score("ece_1_bin", outcomes) == pytest.approx(0.0)
    assert score("ece_10_bin", outcomes) == pytest.approx(0.9)


def slow_error(confidence: list[float], right: list[int]) -> float:
    """The definition, in loops."""
    ordered = sorted(confidence)
    chunks = [list(chunk) for chunk in np.array_split(ordered, min(10, len(ordered)))]
    ends = sorted({(low[-1] + high[0]) / 2 for low, high in itertools.pairwise(chunks)} | {1.0})
    error, below = 0.0, -1.0
    for end in ends:
        inside = [place for place, value in enumerate(confidence) if below < value <= end]
        if inside:
            gap = np.mean([confidence[place] for place in inside]) - np.mean([right[place] for place in inside])
            error += len(inside) / len(confidence) * abs(float(gap))
        below = end
    return error


# Confidences that exp(log(c)) leaves as they are would be few; the reference reads what the metric reads.
chances = st.integers(1, 1000).map(lambda number: math.exp(math.log(number / 1000)))
samples = st.lists(st.tuples(chances, st.integers(0, 1)), min_size=1, max_size=80)
tied = st.lists(st.tuples(st.sampled_from([math.exp(-number) for number in range(6)]), st.integers(0, 1)), min_size=1, max_size=80)


@settings(max_examples=300)
@given(st.one_of(samples, tied))
def test_errors_follow_the_definition(sample: list[tuple[float, int]]) -> None:
    confidence, right = [c for c, _ in sample], [r for _, r in sample]
    outcomes = answers(confidence, right)
    assert score("ece_10_bin", outcomes) == pytest.approx(slow_error(confidence, right), abs=1e-12)
    assert score("ece_1_bin", outcomes) == pytest.approx(abs(np.mean(confidence) - np.mean(right)), abs=1e-12)


@settings(max_examples=200)
@given(samples)
def test_selective_accuracies_follow_the_definition(sample: list[tuple[float, int]]) -> None:
    distinct = dict(sample)
    outcomes = answers(list(distinct), list(distinct.values()))
    ranked = [distinct[c] for c in sorted(distinct, reverse=True)]
    curve = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    assert score("selective_cov_acc_area", outcomes) == pytest.approx(curve.mean(), abs=1e-12)
    assert score("selective_acc@10", outcomes) == pytest.approx(curve[int(0.1 * len(ranked))], abs=1e-12)


@pytest.mark.parametrize("name", ["selective_acc@10", "selective_cov_acc_area"])
def test_items_equally_sure_count_as_the_mean_of_their_orders(name: str) -> None:
    right = [0, 1, 1, 0, 1]
    confidence = [0.9, 0.5, 0.5, 0.5, 0.2]
    expected = []
    for order in itertools.permutations([1, 2, 3]):
        curve = np.cumsum([right[place] for place in (0, *order, 4)]) / np.arange(1, 6)
        expected.append(curve.mean() if name == "selective_cov_acc_area" else curve[0])
    assert score(name, answers(confidence, right)) == pytest.approx(np.mean(expected))


@settings(max_examples=100)
@given(st.lists(st.tuples(chances, st.integers(0, 1)), min_size=12, max_size=60), st.integers(0, 999))
def test_the_order_of_the_items_does_not_matter(sample: list[tuple[float, int]], seed: int) -> None:
    shuffled = random.Random(seed).sample(sample, len(sample))
    for name in ("brier", "ece_10_bin", "ece_1_bin", "selective_acc@10", "selective_cov_acc_area"):
        one, other = (score(name, answers([c for c, _ in items], [r for _, r in items])) for items in (sample, shuffled))
        assert one == pytest.approx(other, abs=1e-12)


def test_joint_confidence_is_the_texts_probability_and_renormalized_its_share() -> None:
    # Joint .3 of .3 + .1 + .1: a share of .6. Right in one of two.
    logprobs = tuple(math.log(share) for share in (0.3, 0.1, 0.1))
    outcomes = [ChoiceOutcome(logprobs, (target,), ("a", "b", "c"), (1, 1, 1)) for target in (0, 2)]
    assert score("ece_1_bin", outcomes) == pytest.approx(0.5 - 0.3)
    assert score("ece_1_bin", outcomes, confidence="renormalized") == pytest.approx(0.6 - 0.5)


def test_normalization_decides_the_choice_and_the_shares() -> None:
    # By tokens: -4 / 4 beats -2 / 1. The joint probability is still that of the whole text.
    outcome = ChoiceOutcome((-2.0, -4.0), (1,), ("a", "b c d e"), (1, 4))
    assert score("ece_1_bin", [outcome]) == pytest.approx(math.exp(-2))  # the first choice, wrong
    assert score("ece_1_bin", [outcome], normalize="tokens") == pytest.approx(1 - math.exp(-4))
    share = math.exp(-1) / (math.exp(-1) + math.exp(-2))
    assert score("ece_1_bin", [outcome], normalize="tokens", confidence="renormalized") == pytest.approx(1 - share)


def test_any_of_several_targets_is_right_and_the_first_of_equal_choices_is_taken() -> None:
    tie = ChoiceOutcome((math.log(0.4), math.log(0.4)), (1,), ("a", "b"), (1, 1))
    assert score("ece_1_bin", [tie]) == pytest.approx(0.4)
    either = ChoiceOutcome(tie.logprobs, (1, 0), ("a", "b"), (1, 1))
    assert score("ece_1_bin", [either]) == pytest.approx(0.6)


def test_brier_is_lm_evals() -> None:
    outcomes = [outcome for outcome in choice_outcomes(4) if len(outcome.logprobs) == 4]
    shares = [np.exp(o.logprobs) / np.exp(o.logprobs).sum() for o in outcomes]
    expected = brier_score([(o.target, share) for o, share in zip(outcomes, shares, strict=True)])
    assert score("brier", outcomes) == pytest.approx(expected, abs=1e-12)


def test_brier_by_hand() -> None:
    logprobs = tuple(math.log(share) for share in (0.5, 0.3, 0.2))
    one = ChoiceOutcome(logprobs, (1,), ("a", "b", "c"), (1, 1, 1))
    assert score("brier", [one]) == pytest.approx(0.5**2 + 0.7**2 + 0.2**2)
    several = ChoiceOutcome(logprobs, (1, 0, 1), ("a", "b", "c"), (1, 1, 1))  # right with 0.8
    assert score("brier", [several]) == pytest.approx(0.2**2 + 0.2**2)
    halved = ChoiceOutcome(tuple(value - math.log(2) for value in logprobs), (1,), ("a", "b", "c"), (1, 1, 1))
    assert score("brier", [halved]) == pytest.approx(score("brier", [one]))
    assert score("brier", [halved], confidence="joint") == pytest.approx(0.25**2 + 0.85**2 + 0.1**2)
    metric = load("brier")
    assert metric.item_scores(metric.statistics([one, several])) == pytest.approx([0.78, 0.08])
    assert metric.refused(metric.statistics([one])) is None


def test_brier_takes_no_normalization_of_joint_probabilities() -> None:
    with pytest.raises(MetricError, match="'normalize' requires confidence: renormalized"):
        load("brier", {"confidence": "joint", "normalize": "bytes"})


def drawn(items: int, seed: int, sharpness: float = 1.0) -> list[ChoiceOutcome]:
    """Answers whose log-odds of being right are `sharpness` times those of their confidence."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0.5, 1.5, items)
    right = rng.random(items) < 1 / (1 + np.exp(-sharpness * odds))
    return [sure(float(1 / (1 + np.exp(-o))), bool(r)) for o, r in zip(odds, right, strict=True)]


def read(outcomes: list[ChoiceOutcome]) -> tuple[FloatArray, FloatArray]:
    confidence = np.array([math.exp(outcome.logprobs[0]) for outcome in outcomes])
    return confidence, np.array([float(outcome.target == 0) for outcome in outcomes])


@pytest.mark.parametrize("seed", range(10))
def test_platt_fits_what_scikit_learn_fits(seed: int) -> None:
    confidence, right = read(drawn(200, seed, sharpness=0.4))
    odds = np.log(confidence / (1 - confidence))[:, None]
    model = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000).fit(odds, right)
    assert platt(confidence, right) == pytest.approx((model.coef_[0, 0], model.intercept_[0]), abs=1e-5)


def test_platt_finds_how_overconfident_answers_are() -> None:
    slope, intercept = platt(*read(drawn(20_000, 1, sharpness=0.4)))
    assert slope == pytest.approx(0.4, abs=0.03)
    assert intercept == pytest.approx(0.0, abs=0.05)


def test_platt_stays_finite_where_confidence_tells_right_from_wrong_or_never_varies() -> None:
    slope, intercept = platt(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert 1 < slope < math.inf
    assert math.isfinite(intercept)
    slope, intercept = platt(np.full(4, 0.7), np.array([1.0, 0.0, 0.0, 0.0]))
    assert 1 / (1 + math.exp(-(slope * math.log(0.7 / 0.3) + intercept))) == pytest.approx(0.25, abs=1e-4)


def test_platt_scaling_mends_overconfidence() -> None:
    outcomes = drawn(3000, 2, sharpness=0.3)
    assert score("ece_10_bin", outcomes) > 0.1
    assert score("platt_ece", outcomes) < 0.05


def test_platt_scales_each_item_by_a_fit_to_others() -> None:
    """One item's answer turned leaves its own scaled confidence, and moves those of the other folds."""
    outcomes = drawn(60, 3)
    turned = [sure(math.exp(outcomes[0].logprobs[0]), outcomes[0].target != 0), *outcomes[1:]]
    before, after = (load("platt_ece").statistics(items).reshape(60, 10, 3)[..., 0].sum(axis=1) for items in (outcomes, turned))
    assert before[0] == after[0]
    assert (before != after).sum() == 60 - 60 // 5


def test_platt_has_no_score_where_there_is_nothing_to_fit() -> None:
    metric = load("platt_ece", {"small": True})
    assert metric.refused(metric.statistics(answers([0.2, 0.7], [1, 1]))) == "there is nothing to fit: 2 of 2 answers are correct"
    assert metric.refused(metric.statistics(answers([0.2, 0.7], [0, 0]))) == "there is nothing to fit: 0 of 2 answers are correct"
    alone = metric.statistics(answers([0.2, 0.7, 0.4, 0.5, 0.6, 0.3], [1, 1, 1, 0, 1, 1]))
    assert metric.refused(alone) is None
    assert np.isfinite(alone).all()


@pytest.mark.parametrize("name", SAMPLE)
def test_small_samples_are_refused_unless_asked_for(name: str) -> None:
    outcomes = drawn(300, 5)
    metric, willing = load(name), load(name, {"small": True})
    assert metric.refused(metric.statistics(outcomes)) is None
    few = metric.statistics(outcomes[:299])
    reason = metric.refused(few)
    assert reason is not None
    assert "only 299 items; calibration needs 300" in reason
    assert "small: true" in reason
    assert willing.refused(few) is None
    assert willing.refused(willing.statistics([])) is not None


def test_few_bins_are_refused_unless_asked_for() -> None:
    outcomes = answers([0.2, 0.4, 0.6, 0.8] * 100, [0, 1, 0, 1] * 100)
    metric, willing = load("ece_10_bin"), load("ece_10_bin", {"small": True})
    reason = metric.refused(metric.statistics(outcomes))
    assert reason is not None
    assert "only 4 of 10 bins" in reason
    assert willing.refused(willing.statistics(outcomes)) is None
    for name in ("ece_1_bin", "selective_acc@10", "selective_cov_acc_area"):
        other = load(name)
        assert other.refused(other.statistics(outcomes)) is None


@pytest.mark.parametrize("name", NAMES)
def test_statistics_add_up_and_resampling_gives_an_interval(name: str) -> None:
    metric = load(name)
    statistics = metric.statistics(drawn(400, 6, sharpness=0.3))
    assert statistics.shape[0] == 400
    parts = np.stack([statistics[:250].sum(axis=0), statistics[250:].sum(axis=0)])
    assert metric.score(parts.sum(axis=0)) == pytest.approx(metric.score(statistics.sum(axis=0)))
    assert metric.score(parts).shape == (2,)
    found = interval(statistics, metric.score, resamples=500)
    assert found is not None
    assert metric.low <= found.low < found.high <= metric.high


@pytest.mark.parametrize("name", SAMPLE)
def test_single_items_have_no_score(name: str) -> None:
    metric = load(name)
    assert metric.item_scores(metric.statistics(drawn(5, 7))) is None


@pytest.mark.parametrize("name", NAMES)
def test_measures_declare_themselves(name: str) -> None:
    cls = known()[name]
    assert cls.family == "calibration"
    assert cls.form == "choices"
    assert cls.higher_is_better == name.startswith("selective")
    assert load(name, {"confidence": "renormalized"}).signature != load(name, {"confidence": "joint"}).signature


@settings(max_examples=100)
@given(samples)
def test_the_diagram_holds_every_item_in_rising_bins(sample: list[tuple[float, int]]) -> None:
    outcomes = answers([c for c, _ in sample], [r for _, r in sample])
    for name in ("ece_10_bin", "ece_1_bin"):
        metric = load(name)
        statistics = metric.statistics(outcomes)
        shown = reliability(statistics)
        assert shown.count.sum() == len(sample)
        assert (np.diff(shown.confidence) > 0).all()
        gaps = shown.count * np.abs(shown.confidence - shown.accuracy)
        assert gaps.sum() / len(sample) == pytest.approx(float(metric.score(statistics.sum(axis=0))), abs=1e-12)
