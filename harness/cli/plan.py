"""The table of a dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from harness.engine.base import BatchPlan
    from harness.evaluation.dry_run import DryRun

_COLUMNS = ("", "requested tokens", "unique", "computed", "saved", "padding", "forward passes", "cached prefixes", "new tokens")


def plan_table(name: str, dry_run: DryRun) -> Table:
    """The table of one system's dry run."""
    table = Table(box=box.SIMPLE_HEAD, title=Text(name, style="bold"), title_justify="left", caption_justify="left")
    table.add_column("requests")
    for header in _COLUMNS:
        table.add_column(header, justify="right")
    for batches in dry_run.plan:
        table.add_row(*_cells(batches))
    planned = (
        "The table covers all requests. Whether the model supports shared prefixes is tested when it is loaded."
        if dry_run.plan
        else "This backend does not plan its batches before it computes them."
    )
    table.caption = Text(f"{dry_run.cached:,} of {dry_run.unique:,} responses are already cached.\n{planned}")
    return table


def _cells(batches: BatchPlan) -> list[str]:
    prefixes, tokens = batches.prefixes
    return [
        batches.work,
        f"{batches.requests:,}",
        f"{batches.requested:,}",
        f"{batches.distinct:,}",
        f"{batches.computed:,}",
        f"{1 - batches.computed / batches.requested:.0%}" if batches.requested else "",
        "" if batches.padding is None else f"{batches.padding / max(1, batches.padding + batches.computed):.1%}",
        f"{batches.forwards:,}" if batches.forwards else "",
        f"{prefixes:,} of {tokens:,} tokens" if prefixes else "",
        f"up to {batches.decoded:,}" if batches.decoded else "",
    ]
