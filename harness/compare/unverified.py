"""The note on results that an earlier version wrote without digests."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

from harness.util.text import plain, some

if TYPE_CHECKING:
    from harness.store.records import RunRecord


def unverified(runs: Iterable[tuple[str, RunRecord]], tasks: Container[str] | None = None) -> str | None:
    """One sentence on runs whose scores or samples cannot be verified, or None where there are none.

    Args:
        runs: each with the name that the report gives it.
        tasks: those that the report covers; by default all.
    """
    names: dict[str, None] = {}
    for name, record in runs:
        affected = [task for task in record.unverified if tasks is None or task in tasks]
        if affected:
            names[plain(name if len(affected) == len(record.tasks) else f"{name} ({some(affected)})")] = None
    if not names:
        return None
    return f"Not verified: {some(list(names))}. An earlier version wrote these results without digests; run them again to add them."
