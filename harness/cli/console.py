"""Standard output of the commands that print tables."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from harness.store.records import RunRecord

_PIPE_WIDTH = 160


def console() -> Console:
    """Standard output; wide where it is not a terminal, so that lines are not wrapped."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def print_text(text: str) -> None:
    """Print a report; colours are removed where standard output is not a terminal."""
    import typer

    typer.echo(text, nl=False, color=console().is_terminal)


def print_run(record: RunRecord, folder: Path, evaluated: Collection[str] | None = None) -> None:
    """Print the table of a run, and the path of its results."""
    from rich.text import Text

    from harness.report.measures import measured, measures_table, perturbations_table
    from harness.report.terminal import run_table

    out = console()
    out.print(run_table(record, evaluated=evaluated))
    if measured(record):
        out.print(measures_table(record))
        if (perturbed := perturbations_table(record)) is not None:
            out.print(perturbed)
    out.print(Text(f"Results: {folder if folder.suffix == '.json' else folder / 'results.json'}", style="dim"), soft_wrap=True)
