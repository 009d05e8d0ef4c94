"""What is told first, of what is said to be sure, and numbers that rounding left of 0."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from harness import metrics
from harness.gate.findings import Finding, combined, number
from harness.report.comparison import compare_runs
from harness.report.forgetting import facts
from harness.report.forgetting.choice import choose
from harness.report.numbers import value_text
from tests.report.comparing import Made, choices, folder
from tests.report.test_comparison import ACCURACY, PLAN, flipped, hits


def test_what_was_likely_forgotten_is_told_before_what_cannot_be_told() -> None:
    open_ = [Finding("cannot tell", f"task {place}: the interval holds the margin") for place in range(8)]
    likely = Finding("cannot tell", "exam: likely forgot", grave=True)
    told = combined([*open_, likely], "scores")
    assert told.parts[0] == "exam: likely forgot"
    assert told.parts[-1] == "and 3 more"


@pytest.mark.parametrize("value", [-1.11e-16, 1e-17, 0.0, -0.0])
def test_what_rounding_left_of_0_is_0(value: float) -> None:
    assert number(value) == "0"
    assert value_text(value, "share") == "0.000"
    assert facts.signed(value, "share") == "0.000"
    assert "-" not in value_text(value, "seconds")


def test_a_small_loss_is_not_minus_zero() -> None:
    assert facts.signed(-0.00001, "share") == "0.0000"
    assert facts.signed(-0.0004, "share") == "-0.0004"
    assert facts.signed(-0.001, "points") == "0.00"


@pytest.mark.parametrize(("right", "items", "above"), [(1, 1, False), (2, 2, False), (2, 4, False), (8, 8, True), (90, 100, True)])
def test_few_right_answers_are_not_surely_above_guessing(tmp_path: Path, right: int, items: int, above: bool) -> None:
    """Of choices among four, two right ones of two are as likely as one in sixteen."""
    said = np.arange(items) < right
    first = folder(tmp_path / "first", {"quiz": Made(choices(said), ACCURACY)})
    second = folder(tmp_path / "second", {"quiz": Made(choices(said), ACCURACY)}, dtype="bfloat16")
    (task,) = compare_runs(first, second, metrics.load, PLAN).tasks
    assert (task.retention is not None) is above


def test_the_choice_says_what_was_surely_lost(tmp_path: Path) -> None:
    """The one that gained most on its target lost 4 % elsewhere, within a margin of 10 %: kept, and lost all the same."""
    rest, target = hits(0.6, 300), hits(0.5, 300)
    tasks = {"base": (rest, target), "even": (rest, flipped(target, 0, 20)), "traded": (flipped(rest, 14, 1), flipped(target, 0, 60))}
    made = {
        name: folder(tmp_path / name, {"rest": Made(choices(one), ACCURACY), "target": Made(choices(two), ACCURACY)}, system=name)
        for name, (one, two) in tasks.items()
    }
    plan = dataclasses.replace(PLAN, targets=("target",), margins={"rest": 0.1})
    found = choose([compare_runs(made["base"], made[name], metrics.load, plan) for name in ("even", "traded")])
    assert found is not None
    assert found.place == 1
    assert "but it surely lost some of rest" in found.reason
