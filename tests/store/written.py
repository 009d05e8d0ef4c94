"""Samples and statistics on the disk, without a run around them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.store import runs, samples
from harness.store.samples import SampleRecord, StatisticsRecord
from harness.store.saving import SavedSamples, save
from harness.store.signature import Signature
from harness.util.atomic import write_lines


def write(kept: Iterable[SampleRecord], folder: Path, place: str) -> Path:
    """Write the samples of one task."""
    path = samples.path_of(folder, place)
    write_lines(path, samples.lines(kept))
    return path


def write_statistics(kept: Mapping[str, StatisticsRecord], folder: Path, place: str) -> Path:
    """Write the statistics of one task."""
    path = samples.statistics_path_of(folder, place)
    write_lines(path, samples.statistics_lines(kept))
    return path


def recorded_anew(folder: Path) -> None:
    """Make a finished run record its files as they are now."""
    record = runs.read(folder)
    tasks = {
        name: task.model_copy(
            update={"files": {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in task.files or ()}}
        )
        for name, task in record.tasks.items()
    }
    runs.write(record.model_copy(update={"tasks": tasks}), folder)


def as_version_1(folder: Path) -> None:
    """Make of a finished run what an earlier version would have written."""
    path = folder / runs.FILE_NAME
    content = json.loads(path.read_text())
    content["schema_version"] = 1
    del content["digest"]
    for task in content["tasks"].values():
        del task["files"]
    path.write_text(json.dumps(_in_version_1(content)))


_NAMES = {"template_variants": "wordings", "perturbations": "disturbances", "unique": "asked", "requested": "asked", "cached": "from_store"}


def _in_version_1(value: Any) -> Any:
    """With the field names of version 1, and signatures as texts."""
    if isinstance(value, dict):
        return {
            _NAMES.get(key, key): Signature.from_json(inner).long if key in ("signature", "perturbation") else _in_version_1(inner)
            for key, inner in value.items()
        }
    return [_in_version_1(inner) for inner in value] if isinstance(value, list) else value


def with_statistics(folder: Path, task: str, kept: Mapping[str, StatisticsRecord] | None) -> None:
    """Give a task of a finished run other statistics, as if a run had written them."""
    record = runs.read(folder)
    lines = samples.read(folder, task, record.tasks[task].files)
    save(record, {task: [SavedSamples(task, lines, kept)]}, folder)
