"""GitHub's Markdown: leaderboards, comparisons for a pull request, and gate decisions for a job summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compare.leaderboard import ranks
from harness.compare.leaderboard_table import MARK, Leaderboard, LeaderboardCell, LeaderboardColumn
from harness.report.base import ForgettingContent, LeaderboardContent, Report, report
from harness.report.markup import escaped, table
from harness.util.text import NONE, interval_text, value_text

if TYPE_CHECKING:
    from harness.compare.ranking import Ranking
    from harness.gate.decision import GateDecision


@report("md")
@dataclass(kw_only=True)
class MarkdownReport(Report):
    """Tables in GitHub's Markdown."""

    def leaderboard(self, content: LeaderboardContent) -> str:
        """The table, then win rates by family."""
        return leaderboard_markdown(content.main, content.ranking if content.has_families else None)

    def forgetting(self, content: ForgettingContent) -> str:
        """Tables first, the items that got worse folded below; fits a comment on GitHub."""
        from harness.report.forgetting.markdown import forgetting_markdown

        return forgetting_markdown(content.comparisons, noise=content.noise, items=content.items)

    def decision(self, decision: GateDecision) -> str:
        """The outcome, a table of the rules, and what to do next."""
        return decision_markdown(decision)


def leaderboard_markdown(board: Leaderboard, ranking: Ranking | None = None) -> str:
    """The table of a leaderboard; best values in bold, notes below, then win rates by family.

    Args:
        board: what is shown.
        ranking: of the same rows.
    """
    rated = ranks(board)
    head = ["system", *(["win rate"] if rated else []), *(escaped(column.label) for column in board.columns)]
    rows = []
    for row in board.rows:
        rate = [value_text(row.win_rate, "share")] if rated else []
        cells = [_cell(cell, column) for cell, column in zip(row.cells, board.columns, strict=True)]
        rows.append([escaped(row.label), *rate, *cells])
    lines = [*table(head, rows), *(f"\n{escaped(note)}" for note in board.notes)]
    return "\n".join([*lines, *(_families(board, ranking) if ranking else [])]) + "\n"


def decision_markdown(decision: GateDecision) -> str:
    """A gate decision, for a pull request or `$GITHUB_STEP_SUMMARY`."""
    name = escaped(decision.candidate.record.system.name)
    against = f" against {escaped(decision.baseline.record.system.name)}" if decision.baseline else ""
    rows = []
    for rule in decision.results:
        outcome = rule.finding.outcome
        reasons = "<br>".join(map(escaped, rule.finding.lines))
        rows.append([escaped(rule.text), outcome if outcome == "pass" else f"**{outcome}**", reasons])
    lines = [f"### harness gate: {decision.outcome}", "", f"{name}{against}. {decision.headline}.", ""]
    lines += table(["rule", "outcome", "why"], rows, left=3)
    notes = decision.notes
    lines += [line for part in (*notes, *decision.advice) for line in ("", escaped(part))]
    return "\n".join(lines) + "\n"


def _families(board: Leaderboard, ranking: Ranking) -> list[str]:
    """A table of win rates by family, below a blank line."""
    head = ["win rate", *(f"{family} ({within.extent})" for family, within in ranking.families.items())]
    rows = []
    for place, row in enumerate(board.rows):
        standings = [within.standings[place] for within in ranking.families.values()]
        cells = [f"{value_text(rank.win_rate, 'share')} {interval_text(rank.low, rank.high, 'share')}".rstrip() for rank in standings]
        rows.append([escaped(row.label), *cells])
    return ["", *table(head, rows), *(f"\n{escaped(note)}" for note in ranking.notes)]


def _cell(cell: LeaderboardCell | None, column: LeaderboardColumn) -> str:
    if cell is None or cell.value is None:
        return NONE
    value = value_text(cell.value, column.unit)
    mark = MARK if cell.differs else ""
    return f"{f'**{value}**' if cell.best else value}{mark} {interval_text(cell.low, cell.high, column.unit)}".rstrip()
