"""Ranks and win rates of a leaderboard, from the saved statistics of its runs, or from their intervals."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from harness.compare import groups
from harness.compare.families import FAMILIES, UNRANKED
from harness.compare.leaderboard import counted
from harness.compare.leaderboard_table import Leaderboard, LeaderboardCell, LeaderboardColumn, LeaderboardRow
from harness.compare.paired_tables import LoadMeasure, Measure
from harness.errors import MetricError
from harness.stats.bootstrap import LEVEL, FloatArray, Score, Seed, by_cluster
from harness.stats.intervals import Codes, all_clusters
from harness.stats.ranks import RESAMPLES, Contest, Estimates, Meeting, RankedSystem, standings_within
from harness.store import samples
from harness.store.records import RunRecord
from harness.store.samples import StatisticsRecord
from harness.util.text import plain, some

if TYPE_CHECKING:
    from harness.contract import Family

Runs = Sequence[tuple[Path, RunRecord]]
Tables = Sequence[Sequence[FloatArray | None]]
"""Statistics [rows, statistics] by template and system; None for a system without them."""

_ERRORS = 2 * NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Width of an interval in standard errors."""


@dataclass(frozen=True)
class Within:
    """The ranking within one family of metrics.

    Attributes:
        columns: how many are of the family.
        ranked: in how many of them at least two systems can be ranked.
        standings: one for each row of the leaderboard.
        reason: why no system is ranked; None where some are.
    """

    columns: int
    ranked: int
    standings: Sequence[RankedSystem]
    reason: str | None

    @property
    def extent(self) -> str:
        """Such as `5 columns` or, where some cannot be ranked, `3 of 5 columns`."""
        share = "" if self.ranked in (0, self.columns) else f"{self.ranked} of "
        return f"{share}{self.columns} {'column' if self.columns == 1 else 'columns'}"


@dataclass(frozen=True)
class Ranking:
    """The ranking of a leaderboard.

    Attributes:
        overall: one entry for each row, over the columns that the leaderboard's win rates are over.
        families: the same within each family that has columns, in the order of the families.
        estimated: labels of the columns whose ranks are drawn from intervals, because statistics are missing.
        resampled: how many columns resample their items.
        resamples: number of replicates.
        notes: which systems a family does not rank and why, and which families were requested and have no column.
    """

    overall: Sequence[RankedSystem]
    families: Mapping[Family, Within]
    estimated: tuple[str, ...]
    resampled: int
    resamples: int
    notes: tuple[str, ...]


def ranking(board: Leaderboard, runs: Runs, load: LoadMeasure, *, resamples: int = RESAMPLES) -> Ranking:
    """Rank the rows of a leaderboard.

    Args:
        board: the leaderboard.
        runs: those it was made from, with their folders, in any order.
        load: loads metrics by name and options.
        resamples: number of replicates.

    Raises:
        StorageError: saved statistics cannot be read.
    """
    by_folder = {str(folder): (folder, record) for folder, record in runs}
    ordered = [by_folder[row.folder] for row in board.rows]
    ranked = {number: cells for number in range(len(board.columns)) if len(cells := _ranked(board, number)) > 1}
    saved = _SavedStatistics(load, ordered, [board.columns[number] for number in ranked])
    meetings: dict[int, Meeting] = {}
    estimated = []
    for number, cells in ranked.items():
        column = board.columns[number]
        meeting = saved.meeting(column, list(cells))
        if meeting is None or not _agrees(meeting, list(cells.values())):
            estimated.append(column.label)
            meeting = _estimates(column, cells, len(ordered))
        meetings[number] = meeting
    places = {number: place for place, number in enumerate(meetings)}
    families = {family: [n for n, column in enumerate(board.columns) if column.family == family] for family in FAMILIES}
    chosen = [counted(board.columns), *families.values()]
    subsets = [[places[number] for number in numbers if number in places] for numbers in chosen]
    unranked = [[_UNRANKED] * len(board.rows)] * len(chosen)
    overall, *each = standings_within(list(meetings.values()), subsets, resamples=resamples) if meetings else unranked
    within = {
        family: Within(len(numbers), len(subset), standings, None if subset else UNRANKED.get(family, _NOT_COMPARABLE))
        for (family, numbers), subset, standings in zip(families.items(), subsets[1:], each, strict=True)
        if numbers
    }
    return Ranking(
        overall=overall,
        families=within,
        estimated=tuple(estimated),
        resampled=len(meetings) - len(estimated),
        resamples=resamples,
        notes=tuple(_notes(board, within)),
    )


_UNRANKED = RankedSystem(None, None, None, None, None, None)
_NOT_COMPARABLE = "no column has comparable numbers of two systems"


def _ranked(board: Leaderboard, number: int) -> dict[int, LeaderboardCell]:
    """The ranked cells of a column, by the index of their row."""
    cells = {place: row.cells[number] for place, row in enumerate(board.rows)}
    return {place: cell for place, cell in cells.items() if cell is not None and cell.ranked}


def _notes(board: Leaderboard, families: Mapping[Family, Within]) -> Iterator[str]:
    """One sentence for each reason."""
    for family, within in families.items():
        if within.reason:
            yield f"{family} is not ranked: {within.reason}"
            continue
        out: dict[str, list[str]] = {}
        for row, standing in zip(board.rows, within.standings, strict=True):
            if standing.win_rate is None:
                out.setdefault(_why(board, row, family), []).append(row.label)
        for reason, labels in out.items():
            yield f"{family} does not rank {some(labels)}: {reason}"
    for family, reason in board.without.items():
        yield f"{family} has no column: {plain(reason)}"


def _why(board: Leaderboard, row: LeaderboardRow, family: Family) -> str:
    """Why a row is not ranked in a family: the first reason of its cells there."""
    cells = [cell for cell, column in zip(row.cells, board.columns, strict=True) if cell and column.family == family]
    if any(cell.ranked for cell in cells):
        return "no other system has comparable numbers there"
    reasons = [cell.reason if cell.value is None else ", ".join(cell.differs) for cell in cells]
    return plain(next(filter(None, reasons), "not measured"))


def _estimates(column: LeaderboardColumn, cells: Mapping[int, LeaderboardCell], systems: int) -> Estimates:
    """Normal distributions as wide as the intervals; a score without an interval counts as exact."""
    scores: list[float | None] = [None] * systems
    errors = [0.0] * systems
    for place, cell in cells.items():
        scores[place] = cell.value
        errors[place] = 0.0 if cell.low is None or cell.high is None else (cell.high - cell.low) / _ERRORS
    return Estimates(scores, errors, column.higher_is_better)


def _agrees(meeting: Meeting, cells: Sequence[LeaderboardCell]) -> bool:
    """Whether the statistics reproduce the scores on the leaderboard."""
    values = np.array([cell.value for cell in cells], dtype=np.float64)
    return bool(np.allclose(meeting.observed(), values, rtol=1e-9, atol=1e-9))


@dataclass(frozen=True)
class _Average:
    """A group's score: the mean of its tasks' scores over the same systems, each task's items resampled separately."""

    tasks: Sequence[Contest]

    @property
    def systems(self) -> int:
        return self.tasks[0].systems

    @property
    def present(self) -> list[int]:
        return self.tasks[0].present

    @property
    def higher_is_better(self) -> bool:
        return self.tasks[0].higher_is_better

    def observed(self) -> FloatArray:
        result: FloatArray = np.mean([task.observed() for task in self.tasks], axis=0)
        return result

    def replicates(self, *, seed: Seed, resamples: int) -> FloatArray:
        stem = (seed,) if isinstance(seed, int) else tuple(seed)
        drawn = np.zeros((len(self.present), resamples))
        for number, task in enumerate(self.tasks):
            drawn += task.replicates(seed=(*stem, number), resamples=resamples)
        return drawn / len(self.tasks)


@dataclass(frozen=True)
class _SavedStatistics:
    """Saved statistics of the runs for some columns; each file is read once."""

    load: LoadMeasure
    runs: Runs
    columns: Sequence[LeaderboardColumn]
    _read: dict[tuple[Path, str], dict[str, StatisticsRecord]] = field(default_factory=dict)

    def meeting(self, column: LeaderboardColumn, places: Sequence[int]) -> Meeting | None:
        """The runs at these places in one column; None where a run has no statistics, or they cannot be combined."""
        average, members = self._members(column, self.runs[places[0]][1])
        tasks = [read for task, metric in members if (read := self._task(task, metric, places)) is not None]
        if not members or len(tasks) < len(members):
            return None
        if average == "macro":
            return _Average([_contest(*task, column.higher_is_better) for task in tasks])
        measure, tables, clusters = tasks[0]
        if average:
            gathered = _gathered(measure, [table for _, table, _ in tasks])
            if gathered is None:
                return None
            tables, clusters = gathered, all_clusters([(codes, _rows(table)) for _, table, codes in tasks])
        return _contest(measure, tables, clusters, column.higher_is_better)

    def _members(self, column: LeaderboardColumn, record: RunRecord) -> tuple[str, list[tuple[str, str]]]:
        """How a column averages its tasks, and the tasks with their metric; no tasks where their metrics differ."""
        if not column.group:
            return "", [(column.name, column.metric)]
        group = record.groups[column.name]
        averaged = groups.member_metric(group.metrics[column.metric], [record.tasks[name] for name in group.tasks])
        return (averaged[1], [(name, averaged[0]) for name in group.tasks]) if averaged else ("", [])

    def _task(self, task: str, metric: str, places: Sequence[int]) -> tuple[Measure, Tables, Codes | None] | None:
        template_variants = list(self.runs[places[0]][1].tasks[task].template_variants)
        names = [f"{task}@{variant}" for variant in template_variants] or [task]
        records = [[self._statistics(self.runs[place], task, name).get(metric) for place in places] for name in names]
        known = [record for line in records for record in line if record is not None]
        if len(known) < len(names) * len(places) or len({len(record.table) for record in known}) > 1:
            return None
        try:
            measure = self.load(known[0].metric, known[0].options)
        except MetricError:
            return None
        if any(measure.no_interval(record.table) for record in known):
            return None
        tables: list[list[FloatArray | None]] = [[None] * len(self.runs) for _ in names]
        for line, of_template in zip(tables, records, strict=True):
            for place, record in zip(places, of_template, strict=True):
                line[place] = record.table if record else None
        return measure, tables, next((record.clusters for record in known if record.clusters is not None), None)

    def _statistics(self, run: tuple[Path, RunRecord], task: str, name: str) -> Mapping[str, StatisticsRecord]:
        folder, record = run
        if (folder, name) not in self._read:
            statistics = samples.read_statistics(folder, name, record.tasks[task].files)
            self._read[folder, name] = {metric: saved for metric, saved in statistics.items() if metric in self._metrics}
        return self._read[folder, name]

    @cached_property
    def _metrics(self) -> Collection[str]:
        """Names of the metrics behind the columns."""
        averages = (self._members(column, record) for column in self.columns for _, record in self.runs if _has(record, column))
        return {metric for _, members in averages for _, metric in members}


def _has(record: RunRecord, column: LeaderboardColumn) -> bool:
    owner = (record.groups if column.group else record.tasks).get(column.name)
    return owner is not None and column.metric in owner.metrics


def _gathered(measure: Measure, tasks: Sequence[Tables]) -> Tables | None:
    """All items of the tasks as one task's, by template and system; None where the tasks differ in their number of template variants."""
    if len({len(tables) for tables in tasks}) > 1:
        return None
    return [[_all_of(measure, parts) for parts in zip(*variant, strict=True)] for variant in zip(*tasks, strict=True)]


def _all_of(measure: Measure, parts: Sequence[FloatArray | None]) -> FloatArray | None:
    known = [part for part in parts if part is not None]
    return measure.gather(known) if known else None


def _rows(tables: Tables) -> int:
    return next(len(table) for line in tables for table in line if table is not None)


def _contest(measure: Measure, tables: Tables, clusters: Codes | None, higher_is_better: bool) -> Contest:
    """All template variants side by side, whose mean is the score; statistics of equal width, summed over clusters where there are any."""
    known = [table for line in tables for table in line if table is not None]
    pooled = measure.pool(known)
    scales = _scales(pooled, len(known[0]))
    blocks = iter(np.split(np.rint(pooled * scales), len(known)))
    systems = [[next(blocks) if table is not None else None for table in line] for line in tables]
    by_system = [[table for table in system if table is not None] for system in zip(*systems, strict=True)]
    score = _mean(measure, len(tables), scales)
    sides = [np.concatenate(blocks_of_system, axis=1) if blocks_of_system else None for blocks_of_system in by_system]
    if clusters is not None and len(clusters) == len(known[0]):
        sides = [None if side is None else by_cluster(side, clusters.tolist()) for side in sides]
    return Contest(sides, score, higher_is_better)


def _scales(table: FloatArray, items: int) -> FloatArray:
    """Powers of two [columns] that turn fractions into whole numbers, as fine as sums over this many items stay exact.

    Whole numbers add up exactly in any order, so that resamples are one matrix product instead of a gather per column, and equal
    systems stay equal.
    """
    largest = np.abs(table).max(axis=0) * items
    whole = (table == np.rint(table)).all(axis=0) | (largest == 0)
    powers = np.clip(52 - np.ceil(np.log2(np.where(largest > 0, largest, 1.0))), -1000, 1000)
    result: FloatArray = np.where(whole, 1.0, 2.0**powers)
    return result


def _mean(measure: Measure, template_variants: int, scales: FloatArray) -> Score:
    def score(totals: FloatArray) -> FloatArray:
        parts = np.split(totals, template_variants, axis=-1)
        result: FloatArray = np.mean([measure.score(part / scales) for part in parts], axis=0)
        return result

    return score
