"""On real weights and rows, lm-eval's tasks in our run are what lm-eval itself scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.parity_lm_eval import CAUSAL, SEQ2SEQ, Case, measure

PART = {
    0: ("cola", "boolq", "copa", "hellaswag", "bbh_fewshot_boolean_expressions"),
    2: ("cola", "copa", "bbh_fewshot_boolean_expressions"),
}
"""By the number of shots; benchmarks/parity_lm_eval.py runs them all."""


def differing(model: Path, data: Path, cases: Sequence[Case], folder: Path, *, shots: int) -> list[str]:
    """Runs both sides on 8 items; every metric of every task that is not the same."""
    found = measure(model, data, cases, 8, shots, folder).rows
    assert {row.task for row in found} == {case.name for case in cases}
    return [f"{row}" for row in found if not row.equal]


@pytest.mark.real
@pytest.mark.parametrize("shots", [0, 2])
def test_a_causal_model(shots: int, smollm2: Path, data: Path, with_index: Path, tmp_path: Path) -> None:
    cases = [case for case in CAUSAL if case.name in PART[shots]]
    assert differing(smollm2, data, cases, tmp_path, shots=shots) == []


@pytest.mark.real
def test_an_encoder_decoder_model_with_each_output_type(flan_t5: Path, data: Path, with_index: Path, tmp_path: Path) -> None:
    assert differing(flan_t5, data, SEQ2SEQ, tmp_path, shots=0) == []
