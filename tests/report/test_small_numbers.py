"""Numbers that rounding left of 0 are 0, and have no sign."""

from __future__ import annotations

import pytest

from harness.gate.findings import number
from harness.report.forgetting.phrases import signed
from harness.util.text import value_text


@pytest.mark.parametrize("value", [-1.11e-16, 1e-17, 0.0, -0.0])
def test_what_rounding_left_of_0_is_0(value: float) -> None:
    assert number(value) == "0"
    assert value_text(value, "share") == "0.000"
    assert signed(value, "share") == "0.000"
    assert "-" not in value_text(value, "seconds")


def test_a_small_loss_is_not_minus_zero() -> None:
    assert signed(-0.00001, "share") == "0.0000"
    assert signed(-0.0004, "share") == "-0.0004"
    assert signed(-0.001, "points") == "0.00"
