"""The loss that does not matter, by default, for every metric there is."""

from __future__ import annotations

import pytest

from harness.metrics import known
from harness.stats.verdict import default_margin

BEFORE = 20.0
POINTS = dict.fromkeys(("bleu", "chrf", "chrf++", "ter"), 1.0)
RELATIVE = dict.fromkeys(("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "nist", "evaluate"), BEFORE / 100)
OTHER = {"cider": 0.1, "brier": 0.02}
SHIPPED = {name: metric for name, metric in known().items() if metric.__module__.startswith("harness.")}


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_the_default_margin_is_a_hundredth_of_the_scale(name: str) -> None:
    """One point where scores go to 100, a hundredth of the score where nothing ends its scale, 0.01 of all others."""
    metric = SHIPPED[name]
    expected = (POINTS | RELATIVE | OTHER).get(name, 0.01)
    assert default_margin(metric.high, metric.unit, BEFORE) == pytest.approx(expected)


def test_all_exceptions_are_metrics() -> None:
    assert set(POINTS | RELATIVE | OTHER) <= set(SHIPPED)
