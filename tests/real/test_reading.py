"""Rows that are read from a snapshot's files are those that `datasets` gives with an empty cache, types included."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import datasets
import pytest

from harness.tasks import reading
from harness.tasks.registry import TaskRegistry
from tests.conftest import SHARED

pytestmark = pytest.mark.real

NAMED = sorted({str(entry.task.data.path) for entry in TaskRegistry.default().tasks.values() if entry.task.data.path})
PATHS = [path for path in NAMED if (SHARED / "data" / path).is_dir()] or NAMED


def used(path: str) -> dict[str | None, set[str]]:
    """The configs and splits of a dataset that shipped tasks name."""
    found: dict[str | None, set[str]] = defaultdict(set)
    for entry in TaskRegistry.default().tasks.values():
        task = entry.task
        if task.data.path == path:
            found[task.data.config] |= {task.data.split, *([task.shots.split] if task.shots.split else [])}
    return found


@pytest.mark.parametrize("path", PATHS)
def test_rows_are_those_of_a_fresh_cache(data: Path, tmp_path: Path, path: str) -> None:
    folder = data / path
    known = datasets.get_dataset_config_names(str(folder))
    compared = 0
    for config, splits in used(path).items():
        if config is not None and config not in known:
            continue
        expected = datasets.load_dataset(str(folder), config, cache_dir=str(tmp_path / "cache"))
        source = reading.open_folder(folder, config)
        assert set(source.splits) == set(expected)
        for split in splits & set(expected):
            rows = source.dataset(split)
            assert rows.features == expected[split].features
            assert list(rows) == list(expected[split])
            compared += 1
    assert compared
