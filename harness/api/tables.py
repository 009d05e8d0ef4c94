"""Tables for pandas and for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import InputError

if TYPE_CHECKING:
    import pandas

    from harness.compare.comparison import RunComparison
    from harness.gate.decision import GateDecision
    from harness.store.records import MetricRecord

Row = Mapping[str, Any]


def data_frame(rows: Iterable[Row]) -> pandas.DataFrame:
    """A pandas table of rows.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError("to_pandas() needs pandas, which is not installed.", "Install it: pip install pandas.") from error
    return pandas.DataFrame(list(rows))


def run_rows(scores: Iterable[tuple[str, str, MetricRecord]]) -> list[Row]:
    """A row for each score of a run.

    Args:
        scores: task or group, metric, and the score's record.
    """
    return [
        {
            "task": task,
            "metric": metric,
            "value": score.value,
            "low": score.ci[0] if score.ci else None,
            "high": score.ci[1] if score.ci else None,
            "n": score.n,
            "unit": score.unit,
            "family": score.family,
            "signature": str(score.signature),
        }
        for task, metric, score in scores
    ]


def comparison_rows(comparison: RunComparison) -> list[Row]:
    """A row for each score of each task of a comparison."""
    return [
        {
            "task": task.name,
            "metric": score.metric,
            "verdict": score.verdict,
            "headline": score.headline,
            "target": task.target,
            "before": score.before,
            "after": score.after,
            "difference": score.difference,
            "low": score.low,
            "high": score.high,
            "p": score.p,
            "p_holm": score.p_holm,
            "lost": score.lost,
            "gained": score.gained,
            "n": score.items,
            "margin": score.margin,
        }
        for task in comparison.tasks
        for score in task.scores.values()
    ]


def html_table(title: str, rows: Sequence[Row]) -> str:
    """Rows as an HTML table in which every text is escaped."""
    from harness.report.fragments import LEFT, cell, fragment, table

    head = tuple(rows[0]) if rows else ()
    return fragment(title, [table(head, len(head), [[cell(str(value), LEFT) for value in row.values()] for row in rows])], [])


def decision_rows(decision: GateDecision) -> list[Row]:
    """A row for each rule of a decision."""
    return [
        {"rule": result.text, "outcome": result.finding.outcome, "reason": "; ".join(result.finding.lines)} for result in decision.results
    ]
