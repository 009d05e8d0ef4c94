"""docs/measures.md names every measure beside accuracy, with its direction."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import metrics
from harness.metrics.base import registered

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "measures.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`[^|]+`) \| ([↑↓]) \|", PAGE, re.MULTILINE)


def directions() -> dict[str, str]:
    return {name: arrow for names, arrow in ROWS for name in re.findall(r"`([^`]+)`", names)}


def beside_accuracy() -> list[str]:
    metrics.load("accuracy", {})
    return sorted(name for name, metric in registered().items() if metric.family != "accuracy" and metric.__module__.startswith("harness."))


@pytest.mark.parametrize("name", beside_accuracy())
def test_every_measure_is_there(name: str) -> None:
    higher = {known: arrow for known, arrow in directions().items() if known == name or known.startswith(f"{name}_")}
    assert set(higher.values()) == {"↑" if registered()[name].higher_is_better else "↓"}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (Path(__file__).resolve().parent.parent / "docs" / target).is_file(), target
