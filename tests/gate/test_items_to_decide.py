"""Numbers of items that would make a rule conclusive: the gate and the report state the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness import metrics
from harness.compare.comparison import compare_runs
from tests.compare.comparing import PLAN
from tests.gate.made import finding, quiz, run


def sides(tmp_path: Path, right: int) -> tuple[Path, Path]:
    """Candidate and baseline with the same 200 answers from two systems."""
    candidate, baseline = run(tmp_path / "tuned", {"quiz": quiz(right, 200)}), tmp_path / "base"
    return candidate, run(baseline, {"quiz": quiz(right, 200)}, dtype="bfloat16")


@pytest.mark.parametrize("margin", [0.001, 0.01])
def test_the_gate_asks_for_as_many_items_as_the_report(tmp_path: Path, margin: float) -> None:
    candidate, baseline = sides(tmp_path, 140)
    needed = 3_838 if margin == 0.001 else 381
    result = finding(f"quiz: non_inferior within {margin}", candidate, baseline)
    assert f"about {needed:,} items would be conclusive" in result.message
    comparison = compare_runs(baseline, candidate, metrics.load, dataclasses.replace(PLAN, margins={"quiz": margin}))
    assert comparison.tasks[0].scores["accuracy"].items_needed == needed


@pytest.mark.parametrize(("factor", "least", "most"), [(0.999, 6_300, 6_500), (0.99, 600, 660), (0.98, 300, 330)])
def test_unchanged_items_for_a_multiple_of_the_baseline(tmp_path: Path, factor: float, least: int, most: int) -> None:
    """With 60 % correct, 6,396, 634 and 314 unchanged items suffice; formerly 197,146, 1,958 and 486 were stated."""
    result = finding(f"quiz >= {factor} × baseline", *sides(tmp_path, 120))
    needed = int(result.message.split("about ")[1].split(" items")[0].replace(",", ""))
    assert least <= needed <= most
