"""Test tiers: `unit` (no marker), `real` (pretrained models or benchmark data) and `slow` (seconds for a test)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

REAL_FIXTURES = frozenset({"data", "models", "smollm2", "minimind2", "flan_t5", "bert_toxicity"})
"""Fixtures that give pretrained models or benchmark data; a test that uses one is `real`."""

SLOW_PATHS = (
    "cli/test_tune.py",
    "engine/test_generation.py",
    "engine/test_ray.py",
    "engine/test_sharing.py",
    "engine/test_soft_prompts.py",
    "evaluation/test_resume.py",
    "lm_eval/test_lm_eval_model.py",
    "lm_eval/test_lm_eval_tasks.py",
    "report/html",
    "stats/test_coverage.py",
    "stats/test_verdict.py",
    "test_extension.py",
    "test_recipes.py",
    "tune/test_parallel.py",
    "tune/test_tuning.py",
)
"""Files and folders, relative to `tests/`, whose tests train, run many models or commands, drive a browser, or simulate."""


def markers(path: Path, fixtures: Iterable[str]) -> list[str]:
    """Name the tiers of one test beside `unit`.

    Args:
        path: the test's file.
        fixtures: names of the fixtures that it uses, directly or through others.
    """
    slow = any(path.is_relative_to(TESTS / name) for name in SLOW_PATHS)
    return ["real"] * bool(REAL_FIXTURES.intersection(fixtures)) + ["slow"] * slow


def mark(items: Iterable[pytest.Item]) -> None:
    """Add the tier markers to collected tests."""
    for item in items:
        for name in markers(item.path, getattr(item, "fixturenames", ())):
            item.add_marker(name)


def only_unit(config: pytest.Config) -> bool:
    """Whether to run the unit tier alone: the whole suite is collected, without `--all` and without `-m`."""
    if config.getoption("--all") or config.getoption("-m"):
        return False
    return {Path(config.rootpath, argument).resolve() for argument in config.args} <= {TESTS, TESTS.parent}


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect `real` and `slow` tests, unless the command asks for them."""
    if not only_unit(config):
        return
    left_out = [item for item in items if item.get_closest_marker("real") or item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
