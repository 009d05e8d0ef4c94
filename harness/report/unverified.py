"""What reports say of results that an earlier version wrote without digests."""

from __future__ import annotations

from collections.abc import Iterable

from harness.report.leaderboard import some
from harness.report.numbers import plain
from harness.store.runs import RunRecord


def unverified(runs: Iterable[tuple[str, RunRecord]]) -> str | None:
    """One sentence on runs whose scores or samples cannot be verified, or None where there are none.

    Args:
        runs: each with the name that the report gives it.
    """
    names = [
        name if len(record.unverified) == len(record.tasks) else f"{name} ({some(record.unverified)})"
        for name, record in runs
        if record.unverified
    ]
    if not names:
        return None
    return f"Not verified: {some(list(map(plain, dict.fromkeys(names))))}. An earlier version wrote these results without digests; run them again to add them."
