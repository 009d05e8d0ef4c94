"""Small HTML tables for a notebook: one run, or one comparison. They need no script, style sheet or network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.base import ForgettingContent, Report, report
from harness.report.fragments import FAINT, LEFT, RIGHT, cell, fragment, table
from harness.report.run_rows import RunRow, run_notes, run_rows
from harness.util.text import interval_text, value_text

if TYPE_CHECKING:
    from harness.compare.comparison import RunComparison
    from harness.store.records import RunRecord

_INDENT, _BOLD = "padding-left:1.5em", "font-weight:bold"


@report("notebook")
@dataclass(kw_only=True)
class NotebookReport(Report):
    """HTML fragments for `_repr_html_`."""

    def forgetting(self, content: ForgettingContent) -> str:
        """The table of each comparison, one below the other."""
        return "\n".join(map(comparison_html, content.comparisons)) + "\n"


def run_html(record: RunRecord) -> str:
    """The scores of one run as an HTML fragment: a table of groups and tasks, and its notes below.

    Args:
        record: the run.

    Returns:
        HTML in which every name is escaped.
    """
    head = ("task", "metric", "value", "95 % interval", "n", "shots")
    return fragment(record.system.name, [table(head, 2, map(_cells, run_rows(record)))], run_notes(record))


def comparison_html(comparison: RunComparison) -> str:
    """What changed between two systems as an HTML fragment: a table of tasks with verdicts, and the notes below.

    Args:
        comparison: two systems on the same items.

    Returns:
        HTML in which every name is escaped.
    """
    from harness.report.forgetting.notebook import forgetting_fragment

    return forgetting_fragment(comparison)


def _cells(row: RunRow) -> list[str]:
    score = row.record
    low, high = score.ci or (None, None)
    name = f"{row.name} ({row.unlisted} tasks)" if row.unlisted else row.name
    task = cell(name if row.first else "", LEFT, *([_INDENT] if row.member else []), *([_BOLD] if row.group else []))
    value = value_text(score.value, score.unit) + (f" ({row.spread})" if row.spread else "")
    interval = cell(interval_text(low, high, score.unit), RIGHT, FAINT)
    shots = cell(row.shots if row.first else "", RIGHT)
    return [task, cell(row.metric), cell(value, RIGHT), interval, cell(f"{score.n:,}", RIGHT), shots]
