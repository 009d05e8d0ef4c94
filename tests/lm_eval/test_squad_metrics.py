"""SQuAD's metrics under the name that lm-eval imports."""

from __future__ import annotations

import importlib

import pytest

from harness.lm_eval import squad_metrics


@pytest.mark.parametrize(
    ("gold", "predicted", "exact", "f1"),
    [
        ("The Eiffel Tower", "eiffel tower!", 1, 1.0),
        ("Paris, France", "Paris", 0, 2 / 3),
        ("a", "", 1, 1.0),
        ("one", "", 0, 0.0),
        ("New York City", "the city of York", 0, 2 * 2 / 6),
    ],
)
def test_worked_examples(gold: str, predicted: str, exact: int, f1: float) -> None:
    assert squad_metrics.compute_exact(gold, predicted) == exact
    assert squad_metrics.compute_f1(gold, predicted) == pytest.approx(f1)


def test_lm_evals_own_import_finds_them() -> None:
    squad_metrics.provide()
    found = importlib.import_module("transformers.data.metrics.squad_metrics")
    assert (found.compute_exact("x", "the X"), found.normalize_answer("An apple.")) == (1, "apple")
    squad_metrics.provide()
    assert importlib.import_module("transformers.data.metrics.squad_metrics") is found
