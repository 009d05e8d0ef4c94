"""`harness compare`, and what it shares with `harness forgetting`: options of the report, and the report itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.api.comparing import CompareOptions, compare_folders
from harness.cli.arguments import check_places
from harness.cli.options import generated, parameters, values
from harness.evaluation.options import MOST_ITEMS, OptionSpec

if TYPE_CHECKING:
    from harness.compare.before_after import ForgettingComparisons


@dataclass(frozen=True)
class ReportOptions:
    """What a report on a comparison shows, and the files it is also written to."""

    details: Annotated[bool, OptionSpec("Show all metrics, all categories of items, and more items.")] = False
    items: Annotated[int, OptionSpec("Number of items shown of each task in --details and --md.", low=0, high=MOST_ITEMS)] = 10
    format: Annotated[str, OptionSpec("Report to print: table, md, json, or a report of your own (reports/*.py).", metavar="REPORT")] = (
        "table"
    )
    md: Annotated[Path | None, OptionSpec("Also write the report to this file as Markdown, such as for a pull request.")] = None
    html: Annotated[Path | None, OptionSpec("Also write the report to this file as a self-contained page.")] = None
    json: Annotated[Path | None, OptionSpec("Also write the report to this file as JSON.")] = None

    @property
    def files(self) -> dict[str, Path | None]:
        """The file of each report by the report's name; None where it is not wanted."""
        return {"md": self.md, "html": self.html, "json": self.json}


REPORT_PANEL = "Report"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare")(generated(compare, "before", "after", parameters(CompareOptions), parameters(ReportOptions, panel=REPORT_PANEL)))


def compare(
    *,
    before: Annotated[Path, typer.Argument(help="Results of the base model: a folder, or its results.json.")],
    after: Annotated[list[Path], typer.Argument(help="Results of each fine-tuned model.")],
    **given: Any,
) -> None:
    """Compare finished runs item by item: what did each fine-tuned model gain over the base model, and what did it forget?

    Example: harness compare results/base results/tuned --target dialogsum --html report.html
    """
    shown = report_options(given)
    show(compare_folders(before, after, CompareOptions(**values(CompareOptions, given))), shown)


def report_options(given: dict[str, Any]) -> ReportOptions:
    """The options of the report among the values of a command.

    Raises:
        StorageError: a file cannot be written.
    """
    from harness.report.base import load

    shown = ReportOptions(**values(ReportOptions, given))
    load(shown.format, "forgetting", option="--format")
    check_places({f"--{name}": path for name, path in shown.files.items()})
    return shown


def show(comparisons: ForgettingComparisons, shown: ReportOptions) -> None:
    """Print a comparison, and write the requested files."""
    from harness.cli.console import console, print_text
    from harness.report.base import ForgettingContent, load
    from harness.util.atomic import write_text

    content = ForgettingContent(comparisons.comparisons, comparisons.folders, comparisons.noise, shown.details, shown.items)
    for name, file in shown.files.items():
        if file is not None:
            write_text(file, load(name, "forgetting").forgetting(content))
    out = console()
    print_text(load(shown.format, "forgetting", width=out.width, color=out.is_terminal, option="--format").forgetting(content))
