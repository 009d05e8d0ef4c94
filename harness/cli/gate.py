"""`harness gate`: decide by a policy whether a run can ship."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import StorageError


class _Undecided(StrEnum):
    passes = "pass"
    fails = "fail"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("gate")(gate)


def gate(
    run: Annotated[Path, typer.Argument(help="The candidate: folder of its run, or its results.json.")],
    baseline: Annotated[Path | None, typer.Option(help="The run it is compared with.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="File of rules in YAML (default: no task may be forgotten beyond its margin).")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Also write the decision to this file as JUnit XML, one test case for each rule.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Also write the decision to this file as Markdown; appends to $GITHUB_STEP_SUMMARY.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="REPORT", help="Report to print: table, md, junit, or a report of your own (reports/*.py).")
    ] = "table",
    on_undecided: Annotated[
        _Undecided | None, typer.Option(help="Treat inconclusive rules as pass or fail (default: exit with code 3).")
    ] = None,
) -> None:
    """Decide by a policy whether a run can ship. Exit codes: 0 pass, 1 fail, 3 inconclusive, 2 bad input.

    Example: harness gate results/candidate --baseline results/base --policy gate.yaml
    """
    from harness import metrics
    from harness.cli.arguments import check_places
    from harness.cli.console import console, print_text
    from harness.gate import policy as policies
    from harness.gate.decision import decide
    from harness.report.base import load
    from harness.util.atomic import write_text

    out = console()
    report = load(format_, "decision", width=out.width, color=out.is_terminal, option="--format")
    check_places({"--junit": junit, "--summary": summary})
    stated = policies.read(policy) if policy else policies.DEFAULT
    before = "" if summary is None else _before(summary)
    decision = decide(run, baseline, stated, metrics.load, on_undecided.value if on_undecided else None)
    if junit is not None:
        write_text(junit, load("junit", "decision").decision(decision))
    if summary is not None:
        write_text(summary, before + load("md", "decision").decision(decision))
    print_text(report.decision(decision))
    raise typer.Exit(decision.exit_code)


def _before(summary: Path) -> str:
    """The text that is already in the summary of a GitHub step, which other commands write to as well; empty for other files."""
    of_step = os.environ.get("GITHUB_STEP_SUMMARY")
    if not of_step or not summary.is_file() or not os.path.samefile(summary, of_step):
        return ""
    try:
        text = summary.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StorageError(f"{summary} cannot be appended to: it is not a text file.", "Name another file with --summary.") from error
    return f"{text.rstrip()}\n\n" if text.strip() else ""
