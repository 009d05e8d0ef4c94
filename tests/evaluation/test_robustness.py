"""Worst cases and drops, worked by hand."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
import pytest

from harness import metrics
from harness.contract import TextOutcome
from harness.evaluation.aggregate import MetricScore
from harness.evaluation.robustness import PerturbedStatistics, perturbations, worst_case
from harness.metrics.base import Metric, per_item
from tests.signed import signed


def score(values: list[float], name: str = "exact_match") -> MetricScore:
    return MetricScore(metrics.load(name), per_item(values), signed(f"{name}|v:1"), 0)


def copies(places: list[int], values: list[float], family: Any = "robustness", signature: str = "typos|v:1") -> PerturbedStatistics:
    return PerturbedStatistics(signed(signature), family, np.array(places, dtype=np.intp), per_item(values))


def test_the_worst_of_the_original_and_every_copy_is_taken() -> None:
    original = score([1.0, 1.0, 0.0, 1.0])
    worst = worst_case(original, [copies([0, 2], [0.0, 1.0]), copies([1, 3], [1.0, 0.0])])
    assert worst is not None
    assert worst.statistics[:, 0].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert (worst.value, worst.record().family) == (0.25, "robustness")
    assert original.statistics[:, 0].tolist() == [1.0, 1.0, 0.0, 1.0], "the original is left alone"
    assert worst.signature == signed("exact_match|v:1").with_fields(worst=[signed("typos|v:1")] * 2)


class _Errors(Metric[TextOutcome]):
    """A metric of which less is better."""

    form = "generate"
    higher_is_better: ClassVar[bool] = False
    high: ClassVar[float] = 10.0


def test_where_less_is_better_the_worst_is_the_most() -> None:
    original = MetricScore(cast("Metric[Any]", _Errors()), per_item([1.0, 4.0]), signed("errors|v:1"), 0)
    worst = worst_case(original, [copies([0, 1], [3.0, 2.0])])
    assert worst is not None
    assert worst.statistics[:, 0].tolist() == [3.0, 4.0]
    (of_copies, whole) = perturbations("errors", original, [copies([0, 1], [3.0, 2.0])], {"robustness": worst})
    assert (of_copies.drop.value, whole.drop.value) == (0.0, 1.0), "one more on one item, two fewer on the other; at worst one more"
    assert (whole.drop.low, whole.drop.high) == (-10.0, 10.0)


def test_a_corpus_metric_takes_the_statistics_of_each_items_worst_version() -> None:
    bleu = metrics.load("bleu")
    references = ("the cat sat on the mat by the door",)
    good, bad = TextOutcome(references[0], references), TextOutcome("the cat sat on a red mat", references)
    original = MetricScore(bleu, bleu.statistics([good, bad]), signed("bleu"), 0)
    other = PerturbedStatistics(signed("typos"), "robustness", np.array([0, 1]), bleu.statistics([bad, good]))
    worst = worst_case(original, [other])
    assert worst is not None
    both_bad = bleu.statistics([bad, bad])
    assert worst.value == pytest.approx(float(bleu.score(both_bad.sum(axis=0))))


def test_a_metric_without_scores_of_single_items_has_no_worst_case() -> None:
    matthews = metrics.load("mcc")
    assert worst_case(MetricScore(matthews, np.eye(4), signed("mcc"), 0), [copies([], [])]) is None


def test_the_drop_is_paired_over_the_items_that_changed() -> None:
    original = score([1.0] * 30 + [0.0] * 10)
    other = copies(list(range(20)), [0.0] * 5 + [1.0] * 15)
    worst = worst_case(original, [other])
    assert worst is not None
    one, whole = perturbations("exact_match", original, [other], {"robustness": worst})
    assert (one.perturbation, one.items, one.changed) == (signed("typos|v:1"), 40, 20)
    assert (one.before.value, one.after.value, one.drop.value, one.drop.n) == (1.0, 0.75, 0.25, 20)
    assert one.drop.ci is not None
    assert 0.0 < one.drop.ci[0] < 0.25 < one.drop.ci[1] < 0.5
    assert (whole.perturbation.name, whole.changed, whole.before.value, whole.after.value) == ("worst", 20, 0.75, 0.625)
    assert whole.drop.value == pytest.approx(0.125)
    assert not whole.drop.higher_is_better


def test_a_perturbation_that_changed_nothing_has_no_scores_and_says_so() -> None:
    original = score([1.0, 0.0])
    nothing = copies([], [])
    worst = worst_case(original, [nothing])
    assert worst is not None
    one, whole = perturbations("exact_match", original, [nothing], {"robustness": worst})
    assert (one.changed, one.after.value, one.after.reason, one.drop.value) == (0, None, "no item's text changed", None)
    assert (whole.changed, whole.drop.value) == (0, 0.0)


def test_items_and_copies_of_one_cluster_are_resampled_together() -> None:
    right = np.repeat([1.0] * 30 + [0.0] * 10, 5)
    spoilt = np.repeat([0.0] * 10 + [1.0] * 30, 5)
    widths = {}
    for name, codes in (("items", None), ("clusters", np.repeat(np.arange(40), 5))):
        original = MetricScore(metrics.load("exact_match"), per_item(right), signed("exact_match|v:1"), 0, clusters=codes)
        other = copies(list(range(200)), spoilt.tolist())
        worst = worst_case(original, [other])
        assert worst is not None
        one, whole = perturbations("exact_match", original, [other], {"robustness": worst})
        for record in (one.before, one.after, one.drop, whole.drop, worst.record()):
            assert (record.n, record.clusters) == (200, None if codes is None else 40)
        assert one.drop.ci is not None
        widths[name] = one.drop.ci[1] - one.drop.ci[0]
    assert widths["clusters"] > 1.8 * widths["items"]
