"""Whether the base is significantly above guessing, which decides over which tasks retention is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness import metrics
from harness.compare.comparison import compare_runs
from tests.compare.comparing import ACCURACY, PLAN, Made, choices, folder


@pytest.mark.parametrize(("right", "items", "above"), [(1, 1, False), (2, 2, False), (2, 4, False), (8, 8, True), (90, 100, True)])
def test_few_correct_answers_are_not_significantly_above_guessing(tmp_path: Path, right: int, items: int, above: bool) -> None:
    """With four choices, two correct answers of two have a probability of one in sixteen."""
    correct = np.arange(items) < right
    first = folder(tmp_path / "first", {"quiz": Made(choices(correct), ACCURACY)})
    second = folder(tmp_path / "second", {"quiz": Made(choices(correct), ACCURACY)}, dtype="bfloat16")
    (task,) = compare_runs(first, second, metrics.load, PLAN).tasks
    assert (task.retention is not None) is above
