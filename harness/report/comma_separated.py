"""A leaderboard as CSV: one line for each system and column, in full precision."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.base import LeaderboardContent, Report, report

if TYPE_CHECKING:
    from harness.compare.leaderboard_table import Leaderboard
    from harness.compare.ranking import Ranking

_HEAD = (
    *("system", "folder", "digest", "win_rate", "name", "metric", "family", "unit", "higher_is_better"),
    *("value", "low", "high", "n", "ranked", "best", "differs", "reason"),
    *("family_win_rate", "family_win_rate_low", "family_win_rate_high"),
)


@report("csv")
@dataclass(kw_only=True)
class CsvReport(Report):
    """Comma-separated values with a header line."""

    def leaderboard(self, content: LeaderboardContent) -> str:
        """Every selected column, with the win rates of its family."""
        return leaderboard_csv(content.board, content.ranking)


def leaderboard_csv(board: Leaderboard, ranking: Ranking | None = None) -> str:
    """One line for each system and column, with the system's win rate in the column's family.

    Args:
        board: what is shown.
        ranking: of the same rows.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEAD)
    for place, row in enumerate(board.rows):
        system = [row.system, row.folder, row.digest, row.win_rate]
        for cell, column in zip(row.cells, board.columns, strict=True):
            if cell is not None:
                measure = [column.name, column.metric, column.family, column.unit, column.higher_is_better]
                numbers = [cell.value, cell.low, cell.high, cell.n, cell.ranked, cell.best]
                rank = ranking.families[column.family].standings[place] if ranking else None
                rates = [rank.win_rate, rank.low, rank.high] if rank else [None] * 3
                writer.writerow([*system, *measure, *numbers, "; ".join(cell.differs), cell.reason, *rates])
    return out.getvalue()
