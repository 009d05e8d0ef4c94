"""The report on forgetting as an HTML fragment, for a notebook."""

from __future__ import annotations

from harness.compare import highlights
from harness.compare.comparison import RunComparison
from harness.report.forgetting import phrases
from harness.report.fragments import RIGHT, cell, fragment, table
from harness.util.text import value_text

_HEAD = ("task", "metric", "verdict", "before", "after", "change", "95 % interval", "- +", "n")


def forgetting_fragment(comparison: RunComparison) -> str:
    """Every task with its verdict, the tasks taken together, and notes.

    Args:
        comparison: two systems on the same items.
    """
    rows = highlights.rows(comparison, None)
    overall = ([cell(text) for text in line] for line in phrases.overall_lines(comparison))
    tables = [table(_HEAD, 3, map(_cells, rows)), table(("taken together", "", ""), 3, overall)]
    notes = [note for row in rows if (note := phrases.undecided(row))] + phrases.remarks(comparison) + [phrases.LEGEND]
    return fragment(f"{comparison.after.name} against {comparison.before.name}", tables, notes)


def _cells(row: highlights.ForgettingRow) -> list[str]:
    score = row.score
    name = f"{row.task.name}{' (target)' if row.task.target else ''}" if row.first else ""
    verdict = f"{row.verdict} (adjusted {p})" if (p := phrases.adjusted_p(row)) else row.verdict
    numbers = [value_text(score.before, score.unit), value_text(score.after, score.unit), phrases.signed(score.difference, score.unit)]
    numbers += [phrases.signed_interval(score.low, score.high, score.unit), phrases.flips(row.lost, row.gained), f"{score.items:,}"]
    return [cell(name), cell(phrases.metric(score)), cell(verdict), *(cell(text, RIGHT) for text in numbers)]
