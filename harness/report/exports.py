"""The leaderboard as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.compare.leaderboard import MARK, Leaderboard, LeaderboardCell, LeaderboardColumn, ranks
from harness.util.text import NONE, interval_text, value_text

if TYPE_CHECKING:
    from harness.compare.ranking import Ranking
    from harness.stats.ranks import RankedSystem


def markdown(board: Leaderboard, ranking: Ranking | None = None) -> str:
    """The table in GitHub's Markdown; best in bold, what is not comparable or has no value below, then win rates by family.

    Args:
        board: what is shown.
        ranking: of the same rows.
    """
    head = ["system", *(["win rate"] if ranks(board) else []), *(_escaped(column.label) for column in board.columns)]
    lines = _head(head)
    for row in board.rows:
        rate = [value_text(row.win_rate, "share")] if ranks(board) else []
        cells = [_markdown_cell(cell, column) for cell, column in zip(row.cells, board.columns, strict=True)]
        lines.append(_markdown_row([_escaped(row.label), *rate, *cells]))
    lines += [f"\n{_escaped(note)}" for note in board.notes]
    return "\n".join([*lines, *(_families(board, ranking) if ranking else [])]) + "\n"


def comma_separated(board: Leaderboard, ranking: Ranking | None = None) -> str:
    """One line for each system and column (CSV), numbers in full precision; with the system's win rate in the column's family.

    Args:
        board: what is shown.
        ranking: of the same rows.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = "system folder digest win_rate name metric family unit higher_is_better value low high n ranked best differs reason"
    rates = "family_win_rate family_win_rate_low family_win_rate_high"
    writer.writerow([*head.split(), *rates.split()])
    for place, row in enumerate(board.rows):
        who = [row.system, row.folder, row.digest, row.win_rate]
        for cell, column in zip(row.cells, board.columns, strict=True):
            if cell is not None:
                what = [column.name, column.metric, column.family, column.unit, column.higher_is_better]
                numbers = [cell.value, cell.low, cell.high, cell.n, cell.ranked, cell.best]
                own = ranking.families[column.family].standings[place] if ranking else None
                rate = [own.win_rate, own.low, own.high] if own else [None] * 3
                writer.writerow([*who, *what, *numbers, "; ".join(cell.differs), cell.reason, *rate])
    return out.getvalue()


def as_json(board: Leaderboard, ranking: Ranking | None = None) -> str:
    """All of it as JSON.

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


def _rate(one: RankedSystem) -> dict[str, Any]:
    return {"value": one.win_rate, "low": one.low, "high": one.high}


def _families(board: Leaderboard, ranking: Ranking) -> list[str]:
    """A table of win rates by family, below a blank line."""
    head = ["win rate", *(f"{family} ({within.extent})" for family, within in ranking.families.items())]
    lines = ["", *_head(head)]
    for place, row in enumerate(board.rows):
        own = [within.standings[place] for within in ranking.families.values()]
        cells = [f"{value_text(one.win_rate, 'share')} {interval_text(one.low, one.high, 'share')}".rstrip() for one in own]
        lines.append(_markdown_row([_escaped(row.label), *cells]))
    return [*lines, *(f"\n{_escaped(note)}" for note in ranking.notes)]


def _head(texts: Sequence[str]) -> list[str]:
    return [_markdown_row(texts), _markdown_row(["---", *["---:"] * (len(texts) - 1)])]


def _markdown_cell(cell: LeaderboardCell | None, column: LeaderboardColumn) -> str:
    if cell is None or cell.value is None:
        return NONE
    value = value_text(cell.value, column.unit)
    mark = MARK if cell.differs else ""
    return f"{f'**{value}**' if cell.best else value}{mark} {interval_text(cell.low, cell.high, column.unit)}".rstrip()


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{char}" if char in r"\`*_[]|~" else char for char in text)
