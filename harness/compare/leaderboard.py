"""Who leads: systems against tasks, with intervals, win rates, and a mark on every number that is not comparable."""

from __future__ import annotations

import dataclasses
import os
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from harness.compare.columns import Key, Owner, columns_of, owners
from harness.compare.comparability import system_notes
from harness.compare.families import UNRANKED
from harness.compare.unverified import unverified
from harness.store.signature import Signature
from harness.util.text import NONE, plain, some

if TYPE_CHECKING:
    from harness.contract import Family
    from harness.store.runs import MetricRecord, RunRecord

MARK = "†"
Note = TypeVar("Note", str, tuple[str, ...])
View: TypeAlias = Literal["groups", "tasks"]
Parts: TypeAlias = tuple[tuple[str, Signature], ...]
"""What decides a number: (part, signature) for the metric, named "", and for each task that the number is over."""


@dataclass(frozen=True, slots=True)
class LeaderboardColumn:
    """A task or group under one measure.

    Attributes:
        name: of the task or group.
        metric: as results name it.
        group: whether it is a group.
        higher_is_better: direction.
        unit: of the numbers.
        signature: the one that most of the numbers carry.
        family: what it is a measure of.
        headline: whether it is what the task or group is scored by; the others were measured beside it.
    """

    name: str
    metric: str
    group: bool
    higher_is_better: bool
    unit: str
    signature: Parts
    family: Family
    headline: bool

    @property
    def label(self) -> str:
        """Task or group, metric, and an arrow to the better side."""
        return f"{plain(self.name)} {plain(self.metric)} {'↑' if self.higher_is_better else '↓'}"

    @property
    def short(self) -> str:
        """What tells it from the others: the task or group, with the metric where that is not its headline."""
        return plain(self.name) if self.headline else f"{plain(self.name)} {plain(self.metric)}"


@dataclass(frozen=True, slots=True)
class LeaderboardCell:
    """One system's number in one column.

    Attributes:
        value: the score; None where it could not be computed.
        low, high: its 95 % interval.
        reason: why there is no value.
        n: items behind it.
        ranked: whether it counts for best and win rate.
        differs: how its signature departs from the column's; such a number is shown but not ranked.
        best: whether no ranked number of the column is better.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    n: int
    ranked: bool = False
    differs: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One run's system. `label` is unique in the table; `win_rate` is None where no column ranks two systems."""

    label: str
    system: str
    digest: str
    folder: str
    win_rate: float | None
    cells: tuple[LeaderboardCell | None, ...]


@dataclass(frozen=True, slots=True)
class Footnote:
    """Numbers that are not comparable: whose, where, and in what they differ."""

    systems: tuple[str, ...]
    columns: tuple[str, ...]
    differs: tuple[str, ...]

    @property
    def text(self) -> str:
        """One sentence."""
        return f"{MARK} not ranked: {some(self.systems)} on {some(self.columns)}: {', '.join(self.differs)}"


@dataclass(frozen=True, slots=True)
class MissingScore:
    """Scores without a value: whose, where, and why."""

    systems: tuple[str, ...]
    columns: tuple[str, ...]
    reason: str

    @property
    def where(self) -> str:
        """Systems, columns and reason."""
        return f"{some(self.systems)} on {some(self.columns)}: {plain(self.reason)}"

    @property
    def text(self) -> str:
        """One sentence."""
        return f"{NONE} no value: {self.where}"


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Systems against columns.

    Attributes:
        columns: headlines, then the other families in their order.
        rows: by mean win rate, best first, then by name; their `cells` follow `columns`.
        footnotes: numbers that are not comparable.
        missing: scores without a value.
        without: of families that were asked for and have no column, why some task has none.
        systems: in what the systems were run differently, one sentence each.
        unverified: which runs cannot be verified, in a sentence; None where all can.
    """

    columns: tuple[LeaderboardColumn, ...]
    rows: tuple[LeaderboardRow, ...]
    footnotes: tuple[Footnote, ...]
    missing: tuple[MissingScore, ...]
    without: Mapping[Family, str]
    systems: tuple[str, ...] = ()
    unverified: str | None = None

    @property
    def notes(self) -> list[str]:
        """What is to be said below the table: in what systems differ, which numbers are not ranked or missing, what cannot be verified."""
        unverified = [self.unverified] if self.unverified else []
        return [*self.systems, *(note.text for note in self.footnotes), *(note.text for note in self.missing), *unverified]


@dataclass(frozen=True, slots=True)
class _Entry:
    record: MetricRecord
    signature: Parts


def leaderboard(runs: Sequence[tuple[Path, RunRecord]], columns: View = "groups") -> Leaderboard:
    """Rank runs against each other.

    Each task or group has a column for its headline, and one for each further family that some run measured: the measure that stands
    for the family in most runs. The mean win rate is HELM's (Liang et al., 2022): in each column with at least two ranked numbers, the
    share of the other systems that are strictly worse, ties counting half; then the mean over those columns. It is over the headlines,
    so that a task counts once, however many measures were taken of it.

    Args:
        runs: each run with the folder it was read from.
        columns: "groups" shows each group and hides its tasks; "tasks" shows all tasks and no groups.
    """
    owned = owners([record for _, record in runs], grouped=columns == "groups")
    keys = columns_of(owned)
    grid = [[_entry(own.get((key.name, key.group)), key) for own in owned] for key in keys]
    made = [_column(key, entries) for key, entries in zip(keys, grid, strict=True)]
    cells = [_cells(column, entries) for column, entries in zip(made, grid, strict=True)]
    labels = _labels(runs)
    rows = [
        LeaderboardRow(labels[place], record.system.name, record.system.digest, str(folder), None, tuple(line[place] for line in cells))
        for place, (folder, record) in enumerate(runs)
    ]
    reasons = [pair for own in owned for owner in own.values() for pair in owner.without.items()]
    there = {column.family for column in made}
    without = {family: reason for family, reason in reversed(reasons) if family not in there}
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
    """Places of the columns that the win rate is over: the headlines, or all where there is none."""
    return [place for place, column in enumerate(columns) if column.headline] or list(range(len(columns)))


def _picked(board: Leaderboard, places: Sequence[int], without: Mapping[Family, str]) -> Leaderboard:
    rows = [dataclasses.replace(row, cells=tuple(row.cells[place] for place in places)) for row in board.rows]
    picked = _board([board.columns[place] for place in places], rows, without)
    return dataclasses.replace(picked, systems=board.systems, unverified=board.unverified)


def _board(columns: Sequence[LeaderboardColumn], rows: Sequence[LeaderboardRow], without: Mapping[Family, str]) -> Leaderboard:
    """With win rates, in their order, and with notes."""
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


def _entry(owner: Owner | None, key: Key) -> _Entry | str | None:
    """The number of one run; the reason where it has none; None where it was not measured."""
    if owner is None:
        return None
    record = owner.metrics.get(key.metric)
    return owner.without.get(key.family) if record is None else _Entry(record, (("", record.signature), *owner.parts))


def _column(key: Key, entries: Sequence[_Entry | str | None]) -> LeaderboardColumn:
    present = [entry for entry in entries if isinstance(entry, _Entry)]
    voters = [entry for entry in present if entry.record.value is not None] or present
    signature = Counter(entry.signature for entry in voters).most_common(1)[0][0]
    model = next(entry.record for entry in voters if entry.signature == signature)
    return LeaderboardColumn(key.name, key.metric, key.group, model.higher_is_better, model.unit, signature, model.family, key.headline)


def _cells(column: LeaderboardColumn, entries: Sequence[_Entry | str | None]) -> list[LeaderboardCell | None]:
    known: dict[Parts, tuple[str, ...]] = {column.signature: ()}
    cells: list[LeaderboardCell | None] = []
    for entry in entries:
        if not isinstance(entry, _Entry):
            cells.append(None if entry is None else LeaderboardCell(None, None, None, entry, 0))
            continue
        if entry.signature not in known:
            known[entry.signature] = differences(entry.signature, column.signature)
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
    """The value, turned so that more is better; of ranked cells only."""
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


def differences(signature: Parts, reference: Parts) -> tuple[str, ...]:
    """In what a number's signature departs from another's, such as `shots: 0 instead of 5`."""
    mine, theirs = dict(signature), dict(reference)
    shared = [part for part in mine if part in theirs]
    found: defaultdict[str, list[str]] = defaultdict(list)
    for part in shared:
        for one in mine[part].difference(theirs[part]):
            found[one.field].append(f"{_short(one.mine)} instead of {_short(one.theirs)}")
    notes = [_collapsed(name, texts, tasks=len(shared) - 1) for name, texts in found.items()]
    if mine.keys() != theirs.keys():
        same_number = f"{len(mine) - 1} others" if len(mine) == len(theirs) else str(len(mine) - 1)
        notes.insert(0, f"tasks: {same_number} instead of {len(theirs) - 1}")
    return tuple(notes)


def _collapsed(name: str, texts: Sequence[str], tasks: int) -> str:
    name = name.replace("_", " ")
    where = f" in {len(texts)} of {tasks} tasks" if 0 < len(texts) < tasks else ""
    return f"{name}: {texts[0]}{where}" if len(set(texts)) == 1 else f"{name}: differs{where}"


def _short(value: str | None) -> str:
    text = "none" if value is None else plain(value)
    return text if len(text) <= 24 else f"{text[:12]}…"


def _labels(runs: Sequence[tuple[Path, RunRecord]]) -> list[str]:
    """System names; where two runs share one, with the part of the folder that tells them apart."""
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    for folder, record in runs:
        folders[record.system.name].append(folder)
    labels = []
    for folder, record in runs:
        same = folders[record.system.name]
        where = f" ({_apart(folder, same)})" if len(same) > 1 else ""
        labels.append(plain(record.system.name + where))
    return labels


def _apart(folder: Path, others: Sequence[Path]) -> str:
    paths = [Path(os.path.abspath(other)) for other in others]
    common = Path(os.path.commonpath(paths))
    common = common.parent if common in paths else common
    return str(Path(os.path.abspath(folder)).relative_to(common))


def _noted(
    columns: Sequence[LeaderboardColumn], rows: Sequence[LeaderboardRow], said: Callable[[LeaderboardCell], Note]
) -> list[tuple[tuple[str, ...], tuple[str, ...], Note]]:
    """Systems and columns of whose cells something is said; those of which the same is said share a note."""
    by_row: defaultdict[tuple[str, Note], list[str]] = defaultdict(list)
    for row in rows:
        for cell, column in zip(row.cells, columns, strict=True):
            if cell is not None and (note := said(cell)):
                by_row[row.label, note].append(column.short)
    shared: defaultdict[tuple[tuple[str, ...], Note], list[str]] = defaultdict(list)
    for (label, note), own in by_row.items():
        shared[tuple(own), note].append(label)
    return [(tuple(labels), names, note) for (names, note), labels in shared.items()]
