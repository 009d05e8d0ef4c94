"""The section of a page that shows the seven families of measures: a table, reliability diagrams, what is lost on perturbed items."""

from __future__ import annotations

import math
from collections.abc import Container, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from harness.compare.comparison import MetricComparison, RunComparison, TaskComparison
from harness.compare.figures import BinsOf, Diagram, Drop, Side, departures, diagrams, drops, sides
from harness.compare.leaderboard_table import Leaderboard
from harness.compare.paired_tables import LoadMeasure
from harness.compare.pairing import Results
from harness.compare.ranking import Runs
from harness.report import measures
from harness.report.html.families import FAMILIES
from harness.report.html.page import number
from harness.store.records import MetricRecord, RunRecord
from harness.util.text import plain

Json = dict[str, Any]
RowKey: TypeAlias = tuple[str, str]
"""Task or group, and the group above it."""

SCRIPTS, STYLES = ("axis", "reliability", "drops", "measures"), ("measures",)
"""What the section takes beside the scatter plot's script, and the styles of the scatter plot and the forest plot."""


def of_board(board: Leaderboard, runs: Runs, load: LoadMeasure, bins: BinsOf) -> Json | None:
    """The section of a leaderboard, its systems in the board's order; None where accuracy alone was measured.

    Args:
        board: the leaderboard.
        runs: those it was made of, with their folders.
        load: finds metrics by name and options: `harness.metrics.load`.
        bins: of saved statistics: `harness.metrics.calibration.reliability`.

    Raises:
        StorageError: saved statistics cannot be read.
    """
    known = {str(side.folder): side for side in sides(runs)}
    return section([known[row.folder] for row in board.rows], load, bins)


def of_comparisons(comparisons: Sequence[RunComparison], folders: Sequence[Path], load: LoadMeasure, bins: BinsOf) -> Json | None:
    """The section of a page of what was forgotten: the base, then the candidates with their changes; None as for a leaderboard.

    Args:
        comparisons: of one base with each candidate.
        folders: of the base's results, then of each candidate's; or their `results.json`.
        load: finds metrics by name and options.
        bins: of saved statistics.

    Raises:
        StorageError: results cannot be read.
    """
    compared = {part.name for task in comparisons[0].tasks for part in (task.parts or [task])}
    results = map(Results.read, folders)
    systems = [Side(run.record.system.name, run.folder, _narrowed(run.record, compared)) for run in results]
    content = section(systems, load, bins)
    base, *candidates = [side.record for side in systems]
    changes = [_changes(comparison, (base, candidate)) for comparison, candidate in zip(comparisons, candidates, strict=True)]
    return content and content | {"changes": changes}


def section(systems: Sequence[Side], load: LoadMeasure, bins: BinsOf) -> Json | None:
    """What the scripts of the section read; None where accuracy alone was measured."""
    if not any(measures.measured(side.record) for side in systems):
        return None
    book = _Book([side.record for side in systems])
    cells = [book.cells(side.record) for side in systems]
    drawn = [_diagram(place, diagram) for place, side in enumerate(systems) for diagram in diagrams(side, load, bins)]
    lost = [_drop(place, drop) for place, side in enumerate(systems) for drop in drops(side.record)]
    return {
        "systems": [plain(side.label) for side in systems],
        "families": [{"key": family.key, "title": family.title, "about": family.about} for family in FAMILIES],
        "measures": book.measures.known,
        "texts": book.texts.known,
        "rows": book.rows,
        "cells": cells,
        "diagrams": drawn,
        "drops": lost,
        "changes": None,
    }


class _Known:
    """Each distinct value once; cells refer to it by its place."""

    def __init__(self) -> None:
        self.known: list[Any] = []
        self._places: dict[Any, int] = {}

    def place(self, key: Hashable, content: Any) -> int:
        if key not in self._places:
            self._places[key] = len(self.known)
            self.known.append(content)
        return self._places[key]

    def text(self, text: str | None) -> int | None:
        return self.place(text, plain(text)) if text else None


class _Book:
    """Rows, measures and texts that all systems share."""

    def __init__(self, records: Sequence[RunRecord]) -> None:
        self.records = records
        self.measures, self.texts = _Known(), _Known()
        keyed = {key: row for record in records for key, row in _keyed(record)}
        self.keys = list(keyed)
        self.rows = [{"name": plain(row.name), "group": row.group, "member": row.member} for row in keyed.values()]

    def cells(self, record: RunRecord) -> list[Json | None]:
        """The measures of a system in each row, by family; the measure that stands for the family first."""
        rows = dict(_keyed(record))
        return [self._row(record, rows[key]) if key in rows else None for key in self.keys]

    def _row(self, record: RunRecord, row: measures.MeasureRow) -> Json:
        owner = record.groups[row.name] if row.group else record.tasks[row.name]
        cells: Json = {}
        for family, cell in row.cells.items():
            if cell.record is None:
                cells[family] = [[None, None, None, None, 0, self.texts.text(cell.reason), None, {}]]
                continue
            names = [name for name, score in owner.metrics.items() if score.family == family and name != cell.name]
            cells[family] = [self._measure(record, row.name, name, owner.metrics[name]) for name in (cell.name, *names)]
        return cells

    def _measure(self, record: RunRecord, name: str, key: str, score: MetricRecord) -> list[Any]:
        """[place of the measure, value, low, high, n, place of the reason, place of what differs, what stands beside it]."""
        content = [plain(key), score.unit, int(score.higher_is_better), score.family]
        model = next(other for other in self.records if _has(other, name, key))
        differs = "; ".join(map(plain, departures(record, model, name, key)))
        low, high = score.ci or (None, None)
        beside = {plain(what): number(value) for what, value in score.beside.items()}
        numbers = [number(score.value), number(low), number(high), score.n]
        place = self.measures.place(tuple(content), content)
        return [place, *numbers, self.texts.text(score.reason), self.texts.text(differs), beside]


def _keyed(record: RunRecord) -> Iterator[tuple[RowKey, measures.MeasureRow]]:
    group = ""
    for row in measures.rows(record):
        if row.group:
            group = row.name
        yield (row.name, group if row.member else ""), row


def _has(record: RunRecord, name: str, metric: str) -> bool:
    owner = record.groups.get(name) or record.tasks.get(name)
    return owner is not None and metric in owner.metrics


def _diagram(system: int, diagram: Diagram) -> Json:
    low, high = diagram.record.ci or (None, None)
    return {
        "system": system,
        "task": plain(diagram.title),
        "measure": plain(diagram.measure),
        "metric": plain(diagram.metric),
        "value": number(diagram.record.value),
        "low": number(low),
        "high": number(high),
        "n": diagram.record.n,
        "chance": number(diagram.record.beside.get("by chance")),
        "reason": plain(diagram.reason) if diagram.reason else None,
        "points": [[*map(number, (point.confidence, point.accuracy, point.low, point.high)), point.count] for point in diagram.points],
    }


def _drop(system: int, drop: Drop) -> Json:
    lost = drop.record.drop
    low, high = lost.ci or (None, None)
    return {
        "system": system,
        "task": plain(drop.title),
        "metric": plain(drop.record.metric),
        "perturbation": plain(drop.label),
        "signature": plain(drop.record.perturbation.long),
        "family": drop.record.family,
        "items": drop.record.items,
        "changed": drop.record.changed,
        "unit": lost.unit,
        "before": number(drop.record.before.value),
        "after": number(drop.record.after.value),
        "lost": number(lost.value),
        "low": number(low),
        "high": number(high),
        "reason": plain(lost.reason) if lost.reason else None,
    }


def _changes(comparison: RunComparison, records: tuple[RunRecord, RunRecord]) -> dict[str, dict[str, list[Any]]]:
    """By task or group and measure: [change, low, high, verdict, why there is no interval], turned so that more is better."""
    tasks = [part for task in comparison.tasks for part in (task, *task.parts)]
    return {plain(task.name): {plain(key): _change(task, score, records) for key, score in task.scores.items()} for task in tasks}


def _change(task: TaskComparison, score: MetricComparison, records: tuple[RunRecord, RunRecord]) -> list[Any]:
    if not (task.only_before or task.only_after) and not _agrees(task.name, score, records):
        return [None, None, None, score.verdict, "the scores over the compared items are not those of the results"]
    ends = (score.low, score.high) if score.higher_is_better else (_turned(score.high), _turned(score.low))
    return [number(score.change), *map(number, ends), score.verdict, plain(score.reason) if score.reason else None]


def _agrees(name: str, score: MetricComparison, records: tuple[RunRecord, RunRecord]) -> bool:
    """Whether a comparison of the same items has the scores beside which the page shows its change."""
    owners = [record.groups.get(name) or record.tasks[name] for record in records]
    pairs = [(owner.metrics[score.metric].value, value) for owner, value in zip(owners, (score.before, score.after), strict=True)]
    return all(left is None or right is None or math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9) for left, right in pairs)


def _turned(value: float | None) -> float | None:
    return None if value is None else -value


def _narrowed(record: RunRecord, tasks: Container[str]) -> RunRecord:
    """The run without the tasks that were not compared, and the groups of these."""
    compared = {name: task for name, task in record.tasks.items() if name in tasks}
    groups = {name: group for name, group in record.groups.items() if all(task in compared for task in group.tasks)}
    return record.model_copy(update={"tasks": compared, "groups": groups})
