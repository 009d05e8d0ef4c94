"""Results for gates: made-up answers, and policies in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import metrics
from harness.contract import TextOutcome
from harness.gate.decision import GateDecision, OnUndecided, decide
from harness.gate.findings import Finding
from harness.gate.grammar import parse
from harness.gate.policy import Policy, PolicyRule
from harness.store import runs
from harness.tasks.schema import Aggregate, Group
from tests.compare.comparing import ACCURACY, Made, choices, folder

ROUGE: dict[str, tuple[str, dict[str, Any]]] = {"rougeL": ("rougeL", {}), "rouge1": ("rouge1", {}), "bleu": ("bleu", {})}


def share(right: int, items: int) -> np.ndarray:
    """So many items right, the first ones."""
    found: np.ndarray = np.arange(items) < right
    return found


def quiz(right: int, items: int, **changes: Any) -> Made:
    return Made(choices(share(right, items)), ACCURACY, **changes)


def texts(right: Sequence[int]) -> Made:
    """Texts of ten words of which so many are right."""
    words = [f"w{number}" for number in range(10)]
    said = [" ".join(words[:count] + ["x"] * (10 - count)) for count in right]
    return Made([TextOutcome(text, (" ".join(words),)) for text in said], ROUGE)


def exam(tasks: Sequence[str]) -> Group:
    average = Aggregate.model_validate({"metric": "accuracy", "average": "macro"})
    return Group(group="exam", title="An exam", tasks=tuple(tasks), aggregate=(average,))


def run(path: Path, tasks: Mapping[str, Made], groups: Mapping[str, Group] | None = None, **changes: Any) -> Path:
    return folder(path, tasks, groups, system=path.name, **changes)


def policy(*lines: str, **changes: Any) -> Policy:
    return Policy(tuple(PolicyRule(line, parse(line)) for line in lines), **changes)


def decided(candidate: Path, baseline: Path | None, rules: Policy, on_undecided: OnUndecided | None = None) -> GateDecision:
    return decide(candidate, baseline, rules, metrics.load, on_undecided)


def finding(line: str, candidate: Path, baseline: Path | None = None, **changes: Any) -> Finding:
    """What one rule finds."""
    (result,) = decided(candidate, baseline, policy(line, **changes)).results
    return result.finding


def with_efficiency(path: Path, **changes: Any) -> Path:
    """The same results at another cost."""
    record = runs.read(path)
    runs.write(record.model_copy(update={"efficiency": record.efficiency.model_copy(update=changes)}), path)
    return path
