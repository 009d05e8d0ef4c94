"""`harness leaderboard`: who leads."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.report.leaderboard import Leaderboard
    from harness.store.runs import RunRecord


class _Format(StrEnum):
    table = "table"
    md = "md"
    csv = "csv"
    json = "json"


class _Columns(StrEnum):
    groups = "groups"
    tasks = "tasks"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("leaderboard")(leaderboard)


def leaderboard(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of runs, or folders above them; results/ by default.")] = None,
    format_: Annotated[_Format, typer.Option("--format", help="table, md, csv or json.")] = _Format.table,
    columns: Annotated[_Columns, typer.Option(help="A column for each group, or for each task.")] = _Columns.groups,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page to this file too.")] = None,
) -> None:
    """Systems side by side: scores with intervals, the best in bold, and mean win rates."""
    from harness.cli.console import console
    from harness.report import leaderboard as board
    from harness.report.terminal import leaderboard_view
    from harness.store import runs

    _refuse_folder(html)
    found = [(path.parent, runs.read(path)) for path in runs.find_runs(folders or [Path("results")])]
    made = board.leaderboard(found, columns.value)
    if html:
        _write_page(made, found, html)
    if format_ is _Format.table:
        out = console()
        out.print(leaderboard_view(made, out.width))
    else:
        writers = {_Format.md: board.markdown, _Format.csv: board.comma_separated, _Format.json: board.as_json}
        typer.echo(writers[format_](made), nl=False)


def _refuse_folder(target: Path | None) -> None:
    from harness.errors import InputError

    if target and target.is_dir():
        raise InputError(f"{target} is a folder.", f"Name a file for the page, such as --html {target / 'leaderboard.html'}.")


def _write_page(made: Leaderboard, found: list[tuple[Path, RunRecord]], target: Path) -> None:
    from harness import metrics
    from harness.report.html.leaderboard import leaderboard_page
    from harness.store.atomic import write_text

    write_text(target, leaderboard_page(made, found, metrics.load))
    typer.echo(f"Page: {target}", err=True)
