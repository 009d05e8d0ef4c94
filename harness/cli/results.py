"""`harness results`: the format of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

results = typer.Typer(help="The schema of results, and a check of what was written.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(results, name="results")


@results.command()
def schema() -> None:
    """The JSON Schema of results.json."""
    from harness.store.runs import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@results.command()
def show(folder: Annotated[Path, typer.Argument(help="The folder of a run, or its results.json.")]) -> None:
    """The table of a finished run again."""
    from harness.cli.console import print_run
    from harness.store.runs import read
    from harness.store.verifying import refuse_changed

    record = read(folder)
    refuse_changed(folder if folder.is_dir() else folder.parent, record)
    print_run(record, folder)


@results.command()
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders above them.")],
    json_: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check that scores, samples and statistics are those that the runs wrote; exit code 2 where anything is not.

    Example: harness results verify results
    """
    from harness.store import verifying

    found = []
    for one in verifying.verify(folders):
        found.append(one)
        if not json_:
            typer.echo("\n".join(verifying.lines(one)))
    if json_:
        typer.echo(json.dumps(verifying.as_json(found), indent=2, ensure_ascii=False))
    if any(one.state != "verified" for one in found):
        raise typer.Exit(2)
