"""`harness leaderboard`: who leads."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import check_places, families
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.compare.leaderboard import Leaderboard
    from harness.compare.ranking import Ranking
    from harness.contract import Family
    from harness.store.runs import RunRecord

    Found = list[tuple[Path, RunRecord]]


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
    measures: Annotated[
        str | None,
        typer.Option(
            help="The families whose columns are shown: accuracy, calibration, robustness, fairness, bias, toxicity, efficiency, "
            "separated by commas, or all. By default a table has what tasks are scored by; CSV and JSON have all."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page to this file too.")] = None,
) -> None:
    """Systems side by side: scores with intervals, the best in bold, and mean win rates; by family where more was measured.

    Example: harness leaderboard results/base results/tuned --measures calibration,toxicity
    """
    from harness.compare.leaderboard import headlines, select
    from harness.compare.leaderboard import leaderboard as board_of
    from harness.store import runs
    from harness.store.verifying import refuse_changed

    wanted = families(measures)
    check_places({"--html": html})
    found = [(path.parent, runs.read(path)) for path in runs.find_runs(folders or [Path("results")])]
    for folder, record in found:
        refuse_changed(folder, record)
    whole = board_of(found, columns.value)
    board = select(whole, wanted) if wanted else whole
    if wanted and whole.columns and not board.columns:
        raise _unmeasured(wanted, board)
    if html:
        _write_page(whole, found, html)
    read = format_ in (_Format.table, _Format.md)
    shown = headlines(board) if read and not wanted else board
    more = bool(wanted) or len({column.family for column in board.columns}) > 1
    ranking = _ranking(board, found) if more or not read else None
    _print(shown, ranking, format_)


def _print(board: Leaderboard, ranking: Ranking | None, format_: _Format) -> None:
    from harness.report import exports

    if format_ is not _Format.table:
        writers = {_Format.md: exports.markdown, _Format.csv: exports.comma_separated, _Format.json: exports.as_json}
        typer.echo(writers[format_](board, ranking), nl=False)
        return
    from harness.cli.console import console
    from harness.report.terminal import families_view, leaderboard_view

    out = console()
    out.print(leaderboard_view(board, out.width))
    if ranking:
        out.print()
        out.print(families_view(board, ranking, out.width))


def _ranking(board: Leaderboard, found: Found) -> Ranking:
    from harness import metrics
    from harness.compare.ranking import ranking

    return ranking(board, found, metrics.load)


def _unmeasured(wanted: tuple[Family, ...], board: Leaderboard) -> InputError:
    why = "".join(f" ({family}: {reason})" for family, reason in board.without.items())
    what = f"These runs hold no measure of {', '.join(wanted)}{why}."
    return InputError(what, f"Take it with harness run --measures {','.join(wanted)}.")


def _write_page(made: Leaderboard, found: Found, target: Path) -> None:
    from harness import metrics
    from harness.metrics.calibration import reliability
    from harness.report.html import measures
    from harness.report.html.leaderboard import leaderboard_page
    from harness.util.atomic import write_text

    section = measures.of_board(made, found, metrics.load, reliability)
    write_text(target, leaderboard_page(made, found, metrics.load, measures=section))
    typer.echo(f"Page: {target}", err=True)
