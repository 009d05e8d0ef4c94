"""The leaderboard as a page: who leads, how certain that is, and what the responses cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.compare.families import UNRANKED
from harness.compare.leaderboard_table import Leaderboard, LeaderboardCell, LeaderboardColumn, LeaderboardRow
from harness.compare.paired_tables import LoadMeasure
from harness.compare.ranking import Ranking, Runs, ranking
from harness.report.html.families import FAMILIES, FamilySection
from harness.report.html.measures import SCRIPTS, STYLES
from harness.report.html.page import number, render
from harness.report.html.systems import described
from harness.stats.ranks import RESAMPLES, RankedSystem
from harness.store.records import EfficiencyRecord, RunRecord
from harness.util.text import plain

Json = dict[str, Any]

_COSTS = (
    ("prefill", "prefill tokens/s", True),
    ("decode", "decode tokens/s", True),
    ("memory", "peak memory", False),
    ("parameters", "parameters", False),
)


def leaderboard_page(board: Leaderboard, runs: Runs, load: LoadMeasure, *, resamples: int = RESAMPLES, measures: Json | None = None) -> str:
    """The page.

    Args:
        board: the leaderboard.
        runs: those it was made of, with their folders, in any order; ranks read their statistics.
        load: finds metrics by name and options: `harness.metrics.load`.
        resamples: of ranks and win rates.
        measures: the section of measures (`measures.of_board`), where more than accuracy was measured.

    Raises:
        StorageError: saved statistics cannot be read.
    """
    ranks = ranking(board, runs, load, resamples=resamples)
    records = {str(folder): record for folder, record in runs}
    ordered = [records[row.folder] for row in board.rows]
    texts = _Texts()
    data = {
        "families": [{"key": family.key, "title": family.title, "about": _about(family, ranks)} for family in FAMILIES],
        "columns": [_column(column) for column in board.columns],
        "costs": [{"key": key, "label": label, "higher": higher} for key, label, higher in _COSTS],
        "rows": [_row(number, row, record, ranks, texts) for number, (row, record) in enumerate(zip(board.rows, ordered, strict=True))],
        "texts": texts.known,
        "measures": measures,
    }
    return render(
        "leaderboard",
        data,
        scripts=("scatter", "columns", "costs", *SCRIPTS, "leaderboard"),
        vendors=("d3",),
        styles=("table", "leaderboard", "scatter", "forest", *STYLES),
        measures=measures,
        board=board,
        ranks=ranks,
        ranked=any(within.ranked for within in ranks.families.values()),
        families=[family for family in FAMILIES if family.key in ranks.families],
        beside=any(not column.headline for column in board.columns),
        by_family=ranks.notes,
        missing=board.missing,
        system_notes=board.systems,
        footnotes=[note.text for note in board.footnotes],
        devices=_devices(ordered),
    )


class _Texts:
    """Sentences that many cells share, each stored once."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.known)
            self.known.append(text)
        return self._places[text]


def _about(family: FamilySection, ranks: Ranking) -> str:
    """What the family is, and why it ranks no system where it could."""
    within = ranks.families.get(family.key)
    if within is None or within.reason is None or family.key in UNRANKED:
        return family.about
    return f"{family.about} Not ranked: {within.reason}."


def _column(column: LeaderboardColumn) -> Json:
    return {
        "name": plain(column.name),
        "metric": plain(column.metric),
        "isGroup": column.group,
        "family": column.family,
        "higher": column.higher_is_better,
        "unit": column.unit,
    }


def _row(place: int, row: LeaderboardRow, record: RunRecord, ranks: Ranking, texts: _Texts) -> Json:
    return {
        "label": row.label,
        "folder": plain(row.folder),
        "system": described(record.system),
        "standing": _standing(ranks.overall[place]),
        "families": {key: _standing(within.standings[place]) for key, within in ranks.families.items()} if len(ranks.families) > 1 else {},
        "cells": [_cell(cell, texts) for cell in row.cells],
        "costs": _costs(record.efficiency, record.system.parameters),
        "created": record.created,
        "command": [plain(word) for word in record.command],
    }


def _standing(rank: RankedSystem) -> Json | None:
    if rank.win_rate is None:
        return None
    return {
        "rate": number(rank.win_rate),
        "low": number(rank.low),
        "high": number(rank.high),
        "rank": rank.rank,
        "best": rank.best,
        "worst": rank.worst,
    }


def _cell(cell: LeaderboardCell | None, texts: _Texts) -> list[Any] | None:
    """[value, low, high, n, 1 if best, place of the text that says what differs or why there is no value]."""
    if cell is None:
        return None
    note = "; ".join(map(plain, cell.differs)) if cell.value is not None else plain(cell.reason or "")
    return [number(cell.value), number(cell.low), number(cell.high), cell.n, int(cell.best), texts.place(note) if note else None]


def _costs(efficiency: EfficiencyRecord, parameters: int) -> list[float | int | None]:
    """In the order of `_COSTS`."""
    speeds = efficiency.prefill_tokens_per_second, efficiency.decode_tokens_per_second
    return [*(number(speed) for speed in speeds), efficiency.peak_memory_bytes or None, parameters or None]


def _devices(records: Sequence[RunRecord]) -> list[str]:
    """The devices that the runs report."""
    names = (record.environment.get("gpu") or record.environment.get("device") for record in records)
    return sorted({plain(name) for name in names if name})
