"""Which system is recommended, with the losses that are significant whatever the margin."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness import metrics
from harness.compare.comparison import compare_runs
from harness.compare.selection import choose
from tests.compare.comparing import ACCURACY, PLAN, Made, choices, flipped, folder, hits


def test_the_recommendation_names_significant_losses(tmp_path: Path) -> None:
    """The system that gained most on its target lost 4 % elsewhere, within a margin of 10 %: the verdict is retained."""
    rest, target = hits(0.6, 300), hits(0.5, 300)
    tasks = {"base": (rest, target), "even": (rest, flipped(target, 0, 20)), "traded": (flipped(rest, 14, 1), flipped(target, 0, 60))}
    made = {
        name: folder(tmp_path / name, {"rest": Made(choices(one), ACCURACY), "target": Made(choices(two), ACCURACY)}, system=name)
        for name, (one, two) in tasks.items()
    }
    options = dataclasses.replace(PLAN, targets=("target",), margins={"rest": 0.1})
    choice = choose([compare_runs(made["base"], made[name], metrics.load, options) for name in ("even", "traded")])
    assert choice is not None
    assert choice.place == 1
    assert "but it lost significantly on rest" in choice.reason
