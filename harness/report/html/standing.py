"""Ranks and win rates of a leaderboard, from the statistics that its runs keep, or from their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from harness.errors import MetricError
from harness.report import groups
from harness.report.kept import LoadMeasure, Measure
from harness.report.leaderboard import Cell, Column, Leaderboard
from harness.stats.bootstrap import LEVEL, FloatArray, Score, Seed
from harness.stats.ranks import RESAMPLES, Contest, Estimates, Meeting, Standing, standings_within
from harness.store import samples
from harness.store.runs import RunRecord
from harness.store.samples import StatisticsRecord

Runs = Sequence[tuple[Path, RunRecord]]

_ERRORS = 2 * NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Width of an interval in standard errors."""


@dataclass(frozen=True)
class Ranking:
    """Who leads.

    Attributes:
        overall: a standing for each row, over all columns that rank two systems.
        families: the same over the columns of one family, where there are several families.
        estimated: labels of the columns whose ranks are drawn from intervals, because statistics are missing.
        resampled: how many columns resample their items.
        resamples: number of replicates.
    """

    overall: Sequence[Standing]
    families: Mapping[str, Sequence[Standing]]
    estimated: tuple[str, ...]
    resampled: int
    resamples: int


def ranking(
    board: Leaderboard, runs: Runs, load: LoadMeasure, family_of: Callable[[Column], str], *, resamples: int = RESAMPLES
) -> Ranking:
    """Rank the rows of a leaderboard.

    Args:
        board: the leaderboard.
        runs: those it was made of, with their folders, in any order.
        load: finds metrics by name and options.
        family_of: key of a column's family.
        resamples: number of replicates.

    Raises:
        StorageError: kept statistics cannot be read.
    """
    by_folder = {str(folder): (folder, record) for folder, record in runs}
    ordered = [by_folder[row.folder] for row in board.rows]
    meetings: dict[int, Meeting] = {}
    estimated = []
    for number, column in enumerate(board.columns):
        cells = [_ranked(row.cells[number]) for row in board.rows]
        if sum(cell is not None for cell in cells) < 2:
            continue
        kept = _Kept(load, [run if cell else None for run, cell in zip(ordered, cells, strict=True)]).column(column)
        if kept is None or not _agrees(kept, cells):
            estimated.append(column.label)
            kept = _estimates(column, cells)
        meetings[number] = kept
    families: dict[str, list[int]] = {}
    for place, number in enumerate(meetings):
        families.setdefault(family_of(board.columns[number]), []).append(place)
    subsets = [range(len(meetings)), *(families.values() if len(families) > 1 else [])]
    overall, *within = standings_within(list(meetings.values()), subsets, resamples=resamples)
    return Ranking(
        overall=overall or [_NOWHERE] * len(board.rows),
        families=dict(zip(families, within, strict=False)),
        estimated=tuple(estimated),
        resampled=len(meetings) - len(estimated),
        resamples=resamples,
    )


_NOWHERE = Standing(None, None, None, None, None, None)


def _ranked(cell: Cell | None) -> Cell | None:
    return cell if cell is not None and cell.ranked else None


def _estimates(column: Column, cells: Sequence[Cell | None]) -> Estimates:
    """Normal distributions as wide as the intervals; a score without one counts as exact."""
    errors = [0.0 if cell is None or cell.low is None or cell.high is None else (cell.high - cell.low) / _ERRORS for cell in cells]
    return Estimates([cell.value if cell else None for cell in cells], errors, column.higher_is_better)


def _agrees(meeting: Meeting, cells: Sequence[Cell | None]) -> bool:
    """Whether the statistics give the scores on the board."""
    values = [cell.value for cell in cells if cell is not None]
    return bool(np.allclose(meeting.observed(), np.array(values, dtype=np.float64), rtol=1e-9, atol=1e-9))


@dataclass(frozen=True)
class _Average:
    """A group's score: the mean of its tasks' scores over the same systems, each task's items resampled by themselves."""

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
class _Kept:
    """Reads the statistics of the runs that a column ranks; None stands for a run that it does not."""

    load: LoadMeasure
    runs: Sequence[tuple[Path, RunRecord] | None]

    @property
    def _first(self) -> RunRecord:
        return next(run for run in self.runs if run is not None)[1]

    def column(self, column: Column) -> Meeting | None:
        """None where some run keeps no statistics, or they do not fit together."""
        if not column.group:
            return self._task(column.name, column.metric, column.higher_is_better)
        group = self._first.groups[column.name]
        own = groups.member_metric(group.metrics[column.metric], [self._first.tasks[name] for name in group.tasks])
        if own is None:
            return None
        metric, average = own
        tasks = []
        for name in group.tasks:
            contest = self._task(name, metric, column.higher_is_better)
            if contest is None:
                return None
            tasks.append(contest)
        return _Average(tasks) if average == "macro" else _pooled(tasks)

    def _task(self, task: str, metric: str, higher_is_better: bool) -> Contest | None:
        wordings = list(self._first.tasks[task].wordings)
        places = [f"{task}@{wording}" for wording in wordings] or [task]
        kept = [self._statistics(place, metric) for place in places]
        known = [record for line in kept for record in line or () if record is not None]
        if not all(kept) or len({len(record.table) for record in known}) > 1:
            return None
        try:
            measure = self.load(known[0].metric, known[0].options)
        except MetricError:
            return None
        if any(measure.no_interval(record.table) for record in known):
            return None
        return _contest(measure, [line for line in kept if line], higher_is_better)

    def _statistics(self, place: str, metric: str) -> list[StatisticsRecord | None] | None:
        """Of each run that the column ranks; None where one of these keeps none."""
        found: list[StatisticsRecord | None] = []
        for run in self.runs:
            record = samples.read_statistics(run[0], place).get(metric) if run else None
            if run and record is None:
                return None
            found.append(record)
        return found


def _contest(measure: Measure, kept: Sequence[Sequence[StatisticsRecord | None]], higher_is_better: bool) -> Contest:
    """All wordings side by side, whose mean is the score."""
    pooled = measure.pool([record.table for line in kept for record in line if record is not None])
    blocks = iter(np.split(pooled, sum(record is not None for line in kept for record in line)))
    tables = [[next(blocks) if record is not None else None for record in line] for line in kept]
    systems = [[own for own in system if own is not None] for system in zip(*tables, strict=True)]
    return Contest([np.concatenate(own, axis=1) if own else None for own in systems], _mean(measure, len(kept)), higher_is_better)


def _mean(measure: Measure, wordings: int) -> Score:
    def score(totals: FloatArray) -> FloatArray:
        result: FloatArray = np.mean([measure.score(part) for part in np.split(totals, wordings, axis=-1)], axis=0)
        return result

    return measure.score if wordings == 1 else score


def _pooled(tasks: Sequence[Contest]) -> Contest | None:
    """All items of the tasks as one task's; None where their statistics are of different kinds."""
    if len({table.shape[1] for task in tasks for table in task.statistics if table is not None}) > 1:
        return None
    systems = list(zip(*(task.statistics for task in tasks), strict=True))
    tables = [[table for table in own if table is not None] for own in systems]
    return Contest([np.concatenate(own) if own else None for own in tables], tasks[0].score, tasks[0].higher_is_better)
