"""Rank systems over tasks by mean win rate, and mark every number that is not comparable."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from harness.compare.columns import Key, Owner, columns_of, owners
from harness.compare.comparability import NotComparable, SignatureParts, signature_differences, system_notes
from harness.compare.families import UNRANKED
from harness.compare.leaderboard_table import (
    Footnote,
    Leaderboard,
    LeaderboardCell,
    LeaderboardColumn,
    LeaderboardRow,
    MissingScore,
)
from harness.compare.names import run_labels
from harness.compare.unverified import unverified

if TYPE_CHECKING:
    from harness.contract import Family
    from harness.store.records import MetricRecord, RunRecord

Note = TypeVar("Note", str, tuple[str, ...])
View: TypeAlias = Literal["groups", "tasks"]


@dataclass(frozen=True, slots=True)
class _Entry:
    record: MetricRecord
    signature: SignatureParts


_Entries: TypeAlias = Sequence[_Entry | NotComparable | None]


def leaderboard(runs: Sequence[tuple[Path, RunRecord]], columns: View = "groups") -> Leaderboard:
    """Rank runs against each other.

    Each task or group has a column for its headline, and one for each further family that some run measured: the metric that represents
    the family in most runs. The mean win rate is HELM's (Liang et al., 2022): in each column with at least two ranked numbers, the
    share of the other systems that are strictly worse, ties counting half; then the mean over those columns. Only headlines count,
    so that a task counts once, however many further measures were taken.

    Args:
        runs: each run with the folder it was read from.
        columns: "groups" shows each group and hides its tasks; "tasks" shows all tasks and no groups.
    """
    owned = owners([record for _, record in runs], grouped=columns == "groups")
    keys = columns_of(owned)
    grid = [[_entry(by_name.get((key.name, key.group)), key) for by_name in owned] for key in keys]
    made = [_column(key, entries) for key, entries in zip(keys, grid, strict=True)]
    cells = [_cells(column, entries) for column, entries in zip(made, grid, strict=True)]
    labels = run_labels(runs)
    rows = [
        LeaderboardRow(labels[place], record.system.name, record.system.digest, str(folder), None, tuple(line[place] for line in cells))
        for place, (folder, record) in enumerate(runs)
    ]
    reasons = [pair for by_name in owned for owner in by_name.values() for pair in owner.without.items()]
    present = {column.family for column in made}
    without = {family: reason for family, reason in reversed(reasons) if family not in present}
    systems = system_notes([(label, record.system) for label, (_, record) in zip(labels, runs, strict=True)])
    board = _board(made, rows, without)
    return dataclasses.replace(board, systems=systems, unverified=unverified(zip(labels, (record for _, record in runs), strict=True)))


def select(board: Leaderboard, families: Container[Family]) -> Leaderboard:
    """The columns of some families. Where no headline is among them, win rates are over all of them."""
    without = {family: reason for family, reason in board.without.items() if family in families}
    return _picked(board, [place for place, column in enumerate(board.columns) if column.family in families], without)


def headlines(board: Leaderboard) -> Leaderboard:
    """The columns that the win rate is over; the rows keep their order."""
    return _picked(board, counted(board.columns), {})


def ranks(board: Leaderboard) -> bool:
    """Whether any system has a win rate."""
    return any(row.win_rate is not None for row in board.rows)


def counted(columns: Sequence[LeaderboardColumn]) -> list[int]:
    """Indices of the columns that the win rate is over: the headlines, or all where there is none."""
    return [place for place, column in enumerate(columns) if column.headline] or list(range(len(columns)))


def _picked(board: Leaderboard, places: Sequence[int], without: Mapping[Family, str]) -> Leaderboard:
    rows = [dataclasses.replace(row, cells=tuple(row.cells[place] for place in places)) for row in board.rows]
    picked = _board([board.columns[place] for place in places], rows, without)
    return dataclasses.replace(picked, systems=board.systems, unverified=board.unverified)


def _board(columns: Sequence[LeaderboardColumn], rows: Sequence[LeaderboardRow], without: Mapping[Family, str]) -> Leaderboard:
    """The table with win rates, rows in their order, and notes."""
    rates = [_win_rates(columns[place], [row.cells[place] for row in rows]) for place in counted(columns)]
    rated = [dataclasses.replace(row, win_rate=_mean([line[place] for line in rates])) for place, row in enumerate(rows)]
    rated.sort(key=lambda row: (1.0 if row.win_rate is None else -row.win_rate, row.label))
    footnotes = _noted(columns, rated, lambda cell: cell.differs if cell.value is not None else ())
    missing = _noted(columns, rated, lambda cell: cell.reason or "" if cell.value is None else "")
    return Leaderboard(
        tuple(columns),
        tuple(rated),
        tuple(Footnote(*note) for note in footnotes),
        tuple(MissingScore(*note) for note in missing),
        without,
    )


def _entry(owner: Owner | None, key: Key) -> _Entry | NotComparable | None:
    """The number of one run, or why it has none; None where it was not measured."""
    if owner is None:
        return None
    record = owner.metrics.get(key.metric)
    if record is not None:
        return _Entry(record, (("", record.signature), *owner.parts))
    reason = owner.without.get(key.family)
    return None if reason is None else NotComparable(reason)


def _column(key: Key, entries: _Entries) -> LeaderboardColumn:
    present = [entry for entry in entries if isinstance(entry, _Entry)]
    voters = [entry for entry in present if entry.record.value is not None] or present
    signature = Counter(entry.signature for entry in voters).most_common(1)[0][0]
    model = next(entry.record for entry in voters if entry.signature == signature)
    return LeaderboardColumn(key.name, key.metric, key.group, model.higher_is_better, model.unit, signature, model.family, key.headline)


def _cells(column: LeaderboardColumn, entries: _Entries) -> list[LeaderboardCell | None]:
    known: dict[SignatureParts, tuple[str, ...]] = {column.signature: ()}
    cells: list[LeaderboardCell | None] = []
    for entry in entries:
        if not isinstance(entry, _Entry):
            cells.append(None if entry is None else LeaderboardCell(None, None, None, entry.reason, 0))
            continue
        if entry.signature not in known:
            known[entry.signature] = signature_differences(entry.signature, column.signature)
        record, differs = entry.record, known[entry.signature]
        low, high = record.ci or (None, None)
        ranked = record.value is not None and not differs and column.family not in UNRANKED
        cells.append(LeaderboardCell(record.value, low, high, record.reason, record.n, ranked, differs))
    values = _ranked(column, cells)
    if len(values) < 2:
        return cells
    best = max(values)
    return [cell and dataclasses.replace(cell, best=cell.ranked and _worth(column, cell) == best) for cell in cells]


def _worth(column: LeaderboardColumn, cell: LeaderboardCell) -> float:
    """The value, with its sign changed where lower is better; of ranked cells only."""
    value = 0.0 if cell.value is None else cell.value
    return value if column.higher_is_better else -value


def _ranked(column: LeaderboardColumn, cells: Sequence[LeaderboardCell | None]) -> list[float]:
    return sorted(_worth(column, cell) for cell in cells if cell is not None and cell.ranked)


def _win_rates(column: LeaderboardColumn, cells: Sequence[LeaderboardCell | None]) -> list[float | None]:
    values = _ranked(column, cells)
    others = len(values) - 1

    def rate(cell: LeaderboardCell | None) -> float | None:
        if cell is None or not cell.ranked or others < 1:
            return None
        worse, not_better = bisect_left(values, _worth(column, cell)), bisect_right(values, _worth(column, cell))
        return (worse + (not_better - worse - 1) / 2) / others

    return [rate(cell) for cell in cells]


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _noted(
    columns: Sequence[LeaderboardColumn], rows: Sequence[LeaderboardRow], note_of: Callable[[LeaderboardCell], Note]
) -> list[tuple[tuple[str, ...], tuple[str, ...], Note]]:
    """Systems and columns whose cells have a note; those with the same note share one entry."""
    by_row: defaultdict[tuple[str, Note], list[str]] = defaultdict(list)
    for row in rows:
        for cell, column in zip(row.cells, columns, strict=True):
            if cell is not None and (note := note_of(cell)):
                by_row[row.label, note].append(column.short)
    shared: defaultdict[tuple[tuple[str, ...], Note], list[str]] = defaultdict(list)
    for (label, note), names in by_row.items():
        shared[tuple(names), note].append(label)
    return [(tuple(labels), names, note) for (names, note), labels in shared.items()]
