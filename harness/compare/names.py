"""Names: tasks as users give them, and labels that tell runs apart."""

from __future__ import annotations

import fnmatch
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.util.text import plain

if TYPE_CHECKING:
    from harness.store.records import RunRecord


def expand_globs(names: Iterable[str], records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Names of tasks and groups, with globs replaced by the tasks of all results that match, each once; unknown names stay."""
    shared = [task for task in records[0].tasks if all(task in record.tasks for record in records)]
    expanded: dict[str, None] = {}
    for name in names:
        exact = name in shared or name in records[0].groups
        expanded |= dict.fromkeys([name] if exact else fnmatch.filter(shared, name) or [name])
    return tuple(expanded)


def run_labels(runs: Sequence[tuple[Path, RunRecord]]) -> list[str]:
    """A unique label for each run: its system's name, and where runs share one, the part of the folder that differs.

    Args:
        runs: each run with its folder.
    """
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    for folder, record in runs:
        folders[record.system.name].append(folder)
    labels = []
    for folder, record in runs:
        same_name = folders[record.system.name]
        where = f" ({_distinct_part(folder, same_name)})" if len(same_name) > 1 else ""
        labels.append(plain(record.system.name + where))
    return labels


def _distinct_part(folder: Path, others: Sequence[Path]) -> str:
    paths = [Path(os.path.abspath(other)) for other in others]
    common = Path(os.path.commonpath(paths))
    common = common.parent if common in paths else common
    return str(Path(os.path.abspath(folder)).relative_to(common))
