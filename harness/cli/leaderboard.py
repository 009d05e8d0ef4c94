"""`harness leaderboard`: systems side by side."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import check_places
from harness.errors import InputError
from harness.evaluation.options import families

if TYPE_CHECKING:
    from harness.compare.leaderboard_table import Leaderboard
    from harness.contract import Family


class _Columns(StrEnum):
    groups = "groups"
    tasks = "tasks"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("leaderboard")(leaderboard)


def leaderboard(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of runs, or folders above them (default: results).")] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="REPORT", help="table, md, csv, json, html, or a report of your own (reports/*.py).")
    ] = "table",
    columns: Annotated[_Columns, typer.Option(help="Show a column for each group, or for each task.")] = _Columns.groups,
    measures: Annotated[
        str | None,
        typer.Option(
            help="Families of measures to show: accuracy, calibration, robustness, fairness, bias, toxicity, efficiency, "
            "separated by commas, or all; a task shows one metric of each (default: headlines in tables, all in CSV and JSON)."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a self-contained page to this file.")] = None,
) -> None:
    """Compare systems side by side: scores with 95 % intervals, the best in bold, and mean win rates, by family of measures.

    Example: harness leaderboard results/base results/tuned --measures calibration,toxicity
    """
    from harness.cli.console import console, print_text
    from harness.compare.leaderboard import leaderboard as board_of
    from harness.compare.leaderboard import select
    from harness.report.base import LeaderboardContent, load
    from harness.store import runs
    from harness.store.verifying import refuse_changed
    from harness.util.atomic import write_text

    wanted = families(measures or ())
    check_places({"--html": html})
    out = console()
    report = load(format_, "leaderboard", width=out.width, color=out.is_terminal, option="--format")
    records = [(path.parent, runs.read(path)) for path in runs.find_runs(folders or [Path("results")])]
    for folder, record in records:
        refuse_changed(folder, record)
    whole = board_of(records, columns.value)
    board = select(whole, wanted) if wanted else whole
    if wanted and whole.columns and not board.columns:
        raise _unmeasured(wanted, board)
    content = LeaderboardContent(board, whole, records, selected=bool(wanted))
    if html:
        write_text(html, load("html", "leaderboard").leaderboard(content))
        typer.echo(f"Page: {html}", err=True)
    print_text(report.leaderboard(content))


def _unmeasured(wanted: tuple[Family, ...], board: Leaderboard) -> InputError:
    why = "".join(f" ({family}: {reason})" for family, reason in board.without.items())
    what = f"These runs have no measures of {', '.join(wanted)}{why}."
    return InputError(what, f"Measure it: harness run --measures {','.join(wanted)}.")
