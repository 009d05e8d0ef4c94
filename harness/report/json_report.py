"""Leaderboards and comparisons as JSON, for programs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.report.base import ForgettingContent, LeaderboardContent, Report, report

if TYPE_CHECKING:
    from harness.compare.leaderboard_table import Leaderboard
    from harness.compare.ranking import Ranking
    from harness.stats.ranks import RankedSystem


@report("json")
@dataclass(kw_only=True)
class JsonReport(Report):
    """Indented JSON in UTF-8."""

    def leaderboard(self, content: LeaderboardContent) -> str:
        """Every selected column, with win rates by family."""
        return leaderboard_json(content.board, content.ranking)

    def forgetting(self, content: ForgettingContent) -> str:
        """All of it; `harness forgetting --schema` prints its JSON Schema."""
        from harness.report.forgetting.record import as_json

        return as_json(content.comparisons, content.noise)


def leaderboard_json(board: Leaderboard, ranking: Ranking | None = None) -> str:
    """A leaderboard's columns, rows and notes.

    Args:
        board: what is shown.
        ranking: of the same rows.
    """
    content = dataclasses.asdict(board)
    if ranking:
        families = ranking.families.items()
        content["families"] = {
            family: {"columns": within.columns, "ranked": within.ranked, "reason": within.reason} for family, within in families
        }
        for place, row in enumerate(content["rows"]):
            row["win_rates"] = {family: _rate(within.standings[place]) for family, within in families}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _rate(rank: RankedSystem) -> dict[str, Any]:
    return {"value": rank.win_rate, "low": rank.low, "high": rank.high}
