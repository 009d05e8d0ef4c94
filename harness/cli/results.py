"""`harness results`: show and verify finished runs, and print the schema of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

results = typer.Typer(help="Show and verify finished runs, and print the schema of results.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(results, name="results")


@results.command()
def schema() -> None:
    """Print the JSON Schema of results.json."""
    from harness.store.runs import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@results.command()
def show(folder: Annotated[Path, typer.Argument(help="Folder of a run, or its results.json.")]) -> None:
    """Print the table of a finished run."""
    from harness.cli.console import print_run
    from harness.store.runs import read
    from harness.store.verifying import refuse_changed

    record = read(folder)
    refuse_changed(folder if folder.is_dir() else folder.parent, record)
    print_run(record, folder)


@results.command()
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders above them.")],
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Verify that scores, samples and statistics are unchanged since the runs wrote them; exit code 2 if any is not.

    Example: harness results verify results
    """
    from harness.store import verifying

    checked = []
    for run in verifying.verify(folders):
        checked.append(run)
        if not json_:
            typer.echo("\n".join(verifying.lines(run)))
    if json_:
        typer.echo(json.dumps(verifying.as_json(checked), indent=2, ensure_ascii=False))
    if any(run.state != "verified" for run in checked):
        raise typer.Exit(2)
