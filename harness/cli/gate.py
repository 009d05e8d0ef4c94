"""`harness gate`: may it ship."""

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
    run: Annotated[Path, typer.Argument(help="The run to judge: its folder, or its results.json.")],
    baseline: Annotated[Path | None, typer.Option(help="The run to hold it against.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Rules in YAML; by default nothing may be forgotten beyond the margin.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit's XML here, one case a rule.")] = None,
    summary: Annotated[Path | None, typer.Option(help="Also write a Markdown summary here; $GITHUB_STEP_SUMMARY is added to.")] = None,
    on_undecided: Annotated[
        _Undecided | None, typer.Option(help="What counts where the data are inconclusive; by default that is the answer, exit code 3.")
    ] = None,
) -> None:
    """Judge a run by a policy: exit code 0 pass, 1 fail, 3 the data are inconclusive, 2 bad input.

    Example: harness gate results/candidate --baseline results/base --policy gate.yaml
    """
    from harness import metrics
    from harness.cli.arguments import check_places
    from harness.cli.console import console, print_text
    from harness.gate import policy as policies
    from harness.gate.decision import decide
    from harness.report.base import load
    from harness.util.atomic import write_text

    check_places({"--junit": junit, "--summary": summary})
    stated = policies.read(policy) if policy else policies.DEFAULT
    before = "" if summary is None else _before(summary)
    decision = decide(run, baseline, stated, metrics.load, on_undecided.value if on_undecided else None)
    if junit is not None:
        write_text(junit, load("junit", "decision").decision(decision))
    if summary is not None:
        write_text(summary, before + load("md", "decision").decision(decision))
    out = console()
    print_text(load("table", "decision", width=out.width, color=out.is_terminal).decision(decision))
    raise typer.Exit(decision.exit_code)


def _before(summary: Path) -> str:
    """What stands in the summary of a GitHub step, which other commands write to as well; nothing for other files."""
    of_step = os.environ.get("GITHUB_STEP_SUMMARY")
    if not of_step or not summary.is_file() or not os.path.samefile(summary, of_step):
        return ""
    try:
        text = summary.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StorageError(f"{summary} holds something else than text, and is added to.", "Name another file with --summary.") from error
    return f"{text.rstrip()}\n\n" if text.strip() else ""
