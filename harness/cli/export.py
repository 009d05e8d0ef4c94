"""`harness export`: send the scores of finished runs to a file or a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("export")(export)


def export(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders above them.")],
    to: Annotated[
        str, typer.Option(metavar="NAME:DESTINATION", help="Where the scores go: csv:FILE, or an exporter of your own (exports/*.py).")
    ],
) -> None:
    """Send the scores of finished runs to a file or a service.

    Example: harness export results --to csv:scores.csv
    """
    from harness.export.base import load, read

    exporter = load(to)
    typer.echo(exporter.export(read(folders)))
