"""The engine's plan at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from harness.engine.base import BatchPlan
    from harness.evaluation.dry_run import DryRun

_WORK = {"score": "scored", "generate": "continued"}


def plan_table(name: str, explained: DryRun) -> Table:
    """One system's plan."""
    table = Table(box=box.SIMPLE_HEAD, title=Text(name, style="bold"), title_justify="left", caption_justify="left")
    table.add_column("requests")
    for header in ("", "tokens asked", "distinct", "computed", "saved", "padding", "forwards", "held prefixes", "new tokens"):
        table.add_column(header, justify="right")
    for one in explained.plan:
        table.add_row(*_cells(one))
    kept = f"{explained.cached:,} of {explained.unique:,} responses are already cached; the plan covers all."
    table.caption = Text(
        f"{kept}\nPrompts share what they begin with where the model's forward allows it, which is found out when it is loaded."
    )
    return table


def _cells(one: BatchPlan) -> list[str]:
    prefixes, tokens = one.prefixes
    return [
        _WORK[one.work],
        f"{one.requests:,}",
        f"{one.requested:,}",
        f"{one.distinct:,}",
        f"{one.computed:,}",
        f"{1 - one.computed / one.requested:.0%}" if one.requested else "",
        "" if one.padding is None else f"{one.padding / max(1, one.padding + one.computed):.1%}",
        f"{one.forwards:,}" if one.forwards else "",
        f"{prefixes:,} of {tokens:,} tokens" if prefixes else "",
        f"up to {one.decoded:,}" if one.decoded else "",
    ]
