"""What reports say of results that an earlier version wrote without digests."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

from harness.util.text import plain, some

if TYPE_CHECKING:
    from harness.store.runs import RunRecord


def unverified(runs: Iterable[tuple[str, RunRecord]], tasks: Container[str] | None = None) -> str | None:
    """One sentence on runs whose scores or samples cannot be verified, or None where there are none.

    Args:
        runs: each with the name that the report gives it.
        tasks: those that the report is on; by default all.
    """
    found: dict[str, None] = {}
    for name, record in runs:
        own = [task for task in record.unverified if tasks is None or task in tasks]
        if own:
            found[plain(name if len(own) == len(record.tasks) else f"{name} ({some(own)})")] = None
    if not found:
        return None
    return f"Not verified: {some(list(found))}. An earlier version wrote these results without digests; run them again to add them."
