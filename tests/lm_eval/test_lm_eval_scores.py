"""lm-eval's aggregations with intervals: the sufficient statistics give lm-eval's own value."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from harness.lm_eval.scores import LmEvalScore, group_record
from harness.store.signature import Signature

metrics = pytest.importorskip("lm_eval.api.metrics", reason="lm-eval is in the dev extra")
WORDS = ["the", "dog", "saw", "a", "cat", "in", "the", "garden", "and", "did", "not", "mind", "it"]


def _sentence(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(3, 9)))


def _items(kind: str, count: int = 60) -> list[Any]:
    draw = random.Random(kind)
    make: dict[str, Callable[[], Any]] = {
        "number": lambda: draw.uniform(-3, 2),
        "share": lambda: float(draw.random() < 0.7),
        "weighted": lambda: (-draw.uniform(1, 9), draw.randint(1, 20)),
        "binary": lambda: (draw.randint(0, 1), draw.randint(0, 1)),
        "text": lambda: (_sentence(draw), _sentence(draw)),
    }
    return [make[kind]() for _ in range(count)]


def score(name: str, aggregation: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> LmEvalScore:
    return LmEvalScore(name, aggregation, items, True, Signature("acc"), 0)


@pytest.mark.parametrize(
    ("aggregation", "kind"),
    [
        ("mean", "share"),
        ("nanmean", "number"),
        ("perplexity", "number"),
        ("weighted_perplexity", "weighted"),
        ("bits_per_byte", "weighted"),
        ("matthews_corrcoef", "binary"),
        ("f1_score", "binary"),
        ("bleu", "text"),
        ("chrf", "text"),
        ("chrfpp", "text"),
        ("ter", "text"),
    ],
)
def test_sufficient_statistics_agree_with_lm_eval(aggregation: str, kind: str) -> None:
    """On all items, and on resamples: the fast way and lm-eval's own function."""
    function, items = getattr(metrics, aggregation), _items(kind)
    found = score(aggregation, function, items)
    totals = found.totals
    assert totals is not None
    assert found.value == function(items)
    generator = np.random.default_rng(3)
    for _ in range(3):
        drawn = generator.integers(0, len(items), len(items))
        expected = function([items[i] for i in drawn])
        assert float(totals.score(totals.statistics[drawn].sum(axis=0))) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    record = found.record()
    assert record.ci is not None
    assert record.value is not None
    assert record.ci[0] < record.value < record.ci[1]
    assert record.ci_method in ("wilson", "bca")


def test_one_class_alone_has_a_correlation_of_zero_as_in_lm_eval() -> None:
    found = score("mcc", metrics.matthews_corrcoef, [(0, 0), (1, 0), (0, 0)])
    assert (found.value, found.totals is not None) == (0.0, True)


def test_an_aggregation_of_unknown_kind_is_called_on_each_resample() -> None:
    items = _items("number")
    record = score("middle", metrics.median, items).record()
    assert record.value is not None
    assert record.value == metrics.median(items)
    assert record.ci is not None
    assert record.ci[0] <= record.value <= record.ci[1]
    assert record.unit == "as computed"


def test_a_function_that_only_has_a_known_name_is_not_trusted() -> None:
    def mean(items: Sequence[float]) -> float:
        return float(np.mean(items)) ** 2

    found = score("acc", mean, _items("share"))
    assert found.totals is None
    assert found.record().ci is not None


def test_classes_beyond_two_are_resampled_by_lm_evals_function() -> None:
    draw = random.Random(1)
    items = [(draw.randint(0, 2), draw.randint(0, 2)) for _ in range(30)]
    found = score("mcc", metrics.matthews_corrcoef, items)
    assert found.totals is None
    assert found.record().ci is not None


def test_what_is_not_resampled_says_why() -> None:
    assert score("bypass", metrics.bypass_agg, [None, None]).record().reason == "nothing is measured"
    many = [float(number % 7) for number in range(6_000)]
    reason = score("middle", metrics.median, many).record().reason
    assert reason is not None
    assert "too slow" in reason


def test_an_aggregation_without_a_number_gives_null() -> None:
    record = score("odd", lambda items: {"a": 1}, [1.0, 2.0]).record()
    assert (record.value, record.ci, record.reason) == (None, None, "undefined on these items")


def test_a_known_name_on_another_scale_claims_no_range() -> None:
    assert score("f1", metrics.mean, [40.0, 60.0]).record().high is None
    assert score("f1", metrics.mean, [0.4, 0.6]).record().high == 1.0


def test_a_groups_interval_is_that_of_the_weighted_mean() -> None:
    one, other = score("acc", metrics.mean, _items("share", 200)), score("acc", metrics.mean, [1.0] * 100 + [0.0] * 300)
    by_size = (one.value * 200 + 0.25 * 400) / 600
    record = group_record([one, other], by_size, by_size=True, signature=Signature("acc"))
    pooled = score("acc", metrics.mean, [*one.items, *other.items]).record()
    assert record.n == 600
    assert record.value == pytest.approx(pooled.value)
    assert record.ci == pytest.approx(pooled.ci, abs=0.01)
    alike = group_record([one, other], (one.value + 0.25) / 2, by_size=False, signature=Signature("acc"))
    assert alike.ci is not None
    assert alike.value is not None
    assert alike.ci[0] < alike.value < alike.ci[1]
