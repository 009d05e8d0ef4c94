"""The table of a leaderboard: columns, rows, cells, and the notes below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.util.text import NONE, plain, some

if TYPE_CHECKING:
    from harness.compare.comparability import SignatureParts
    from harness.contract import Family

MARK = "†"
"""Marks numbers that are shown but not ranked."""


@dataclass(frozen=True, slots=True)
class LeaderboardColumn:
    """A task or group under one metric.

    Attributes:
        name: of the task or group.
        metric: as results name it.
        group: whether it is a group.
        higher_is_better: direction of the metric.
        unit: of the numbers.
        signature: the one that most of the numbers have.
        family: what it measures.
        headline: whether it is the headline of the task or group, rather than a further measure.
    """

    name: str
    metric: str
    group: bool
    higher_is_better: bool
    unit: str
    signature: SignatureParts
    family: Family
    headline: bool

    @property
    def label(self) -> str:
        """Task or group, metric, and an arrow in the direction of better scores."""
        return f"{plain(self.name)} {plain(self.metric)} {'↑' if self.higher_is_better else '↓'}"

    @property
    def short(self) -> str:
        """The task or group, with the metric where that is not its headline."""
        return plain(self.name) if self.headline else f"{plain(self.name)} {plain(self.metric)}"


@dataclass(frozen=True, slots=True)
class LeaderboardCell:
    """One system's number in one column.

    Attributes:
        value: the score; None where it could not be computed.
        low, high: its 95 % interval.
        reason: why there is no value.
        n: number of items.
        ranked: whether it counts for the best score and the win rate.
        differs: how its signature differs from the column's; such a number is shown but not ranked.
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
    """Numbers that are not comparable: of which systems, in which columns, and how they differ."""

    systems: tuple[str, ...]
    columns: tuple[str, ...]
    differs: tuple[str, ...]

    @property
    def text(self) -> str:
        """One sentence."""
        return f"{MARK} not ranked: {some(self.systems)} on {some(self.columns)}: {', '.join(self.differs)}"


@dataclass(frozen=True, slots=True)
class MissingScore:
    """Scores without a value: of which systems, in which columns, and why."""

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
        without: for families that were requested and have no column, why some task has none.
        systems: how the systems were run differently, one sentence each.
        unverified: a sentence on runs that cannot be verified; None where all can.
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
        """Sentences for below the table: how systems differ, which numbers are not ranked or missing, what cannot be verified."""
        unverified = [self.unverified] if self.unverified else []
        return [*self.systems, *(note.text for note in self.footnotes), *(note.text for note in self.missing), *unverified]
