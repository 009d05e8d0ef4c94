"""Names of tasks and groups as users give them: exact, or as globs over tasks."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from harness.store.runs import RunRecord


def opened(names: Iterable[str], records: Sequence[RunRecord]) -> tuple[str, ...]:
    """The names with globs opened over the tasks that all results have, each once; a name that nothing is called stays."""
    shared = [task for task in records[0].tasks if all(task in record.tasks for record in records)]
    found: dict[str, None] = {}
    for name in names:
        exact = name in shared or name in records[0].groups
        found |= dict.fromkeys([name] if exact else fnmatch.filter(shared, name) or [name])
    return tuple(found)
