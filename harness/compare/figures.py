"""What figures of measures show, in pages and in files: reliability diagrams, and what disturbed copies cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.compare.groups import member_metric
from harness.compare.leaderboard import Parts, differences, leaderboard
from harness.compare.pairing import LoadMeasure
from harness.errors import MetricError
from harness.stats.bootstrap import FloatArray
from harness.stats.share import wilson
from harness.store import samples
from harness.store.runs import MetricRecord, PerturbationRecord, RunRecord
from harness.store.samples import StatisticsRecord

BINNED = ("ece_10_bin", "platt_ece")
"""Metrics that keep their bins, of which there are several."""

_TOLERANCE = 1e-9


class Bins(Protocol):
    """Mean confidence, share of right answers and number of items [bins] of the bins of a reliability diagram."""

    @property
    def confidence(self) -> FloatArray:
        """Between 0 and 1."""
        ...

    @property
    def accuracy(self) -> FloatArray:
        """Between 0 and 1."""
        ...

    @property
    def count(self) -> NDArray[np.int64]:
        """At least 1 each."""
        ...


BinsOf: TypeAlias = Callable[[FloatArray], Bins]
"""From kept statistics to bins: `harness.metrics.calibration.reliability`."""


@dataclass(frozen=True, slots=True)
class Side:
    """A run under the name that figures give its system, which is unique among them."""

    label: str
    folder: Path
    record: RunRecord


@dataclass(frozen=True, slots=True)
class Point:
    """A bin. `low` and `high` are the 95 % interval of the share of right answers, the bin taken as given."""

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Diagram:
    """A reliability diagram.

    Attributes:
        name: the task or group.
        variant: of the task, where it has several.
        metric: the calibration error, as results name it.
        record: its score.
        points: its bins by rising confidence; none where `reason` says why.
    """

    name: str
    variant: str | None
    metric: str
    record: MetricRecord
    points: tuple[Point, ...] = ()
    reason: str | None = None

    @property
    def title(self) -> str:
        """Task or group, and template."""
        return titled(self.name, self.variant)

    @property
    def measure(self) -> str:
        """The error's name in tasks and groups alike."""
        return self.metric.removesuffix("_micro")


@dataclass(frozen=True, slots=True)
class Drop:
    """What a perturbation did to a metric of a task; `variant` where the task has several."""

    name: str
    variant: str | None
    record: PerturbationRecord

    @property
    def title(self) -> str:
        """Task and template."""
        return titled(self.name, self.variant)

    @property
    def label(self) -> str:
        """The perturbation's name; "worst of fairness" for the worst case of a family."""
        name = self.record.perturbation.name
        return f"{name} of {self.record.family}" if name == "worst" else name


def titled(name: str, variant: str | None) -> str:
    """A task in one of its template variants."""
    return name if variant is None else f"{name} ({variant})"


def sides(runs: Sequence[tuple[Path, RunRecord]]) -> list[Side]:
    """Each run under its system's name; where two share one, with what tells their folders apart."""
    labels = {row.folder: row.label for row in leaderboard(runs, "tasks").rows}
    return [Side(labels[str(folder)], folder, record) for folder, record in runs]


def drops(record: RunRecord) -> Iterator[Drop]:
    """Those of every task, in the order of the results."""
    for name, task in record.tasks.items():
        yield from (Drop(name, None, one) for one in task.perturbations)
        for variant, own in task.template_variants.items():
            yield from (Drop(name, variant, one) for one in own.perturbations)


def diagrams(side: Side, load: LoadMeasure, bins: BinsOf) -> Iterator[Diagram]:
    """Those of every group and task that has a calibration error, also where none can be drawn.

    Args:
        side: the run.
        load: finds metrics by name and options: `harness.metrics.load`.
        bins: of kept statistics.

    Raises:
        StorageError: kept statistics cannot be read.
    """
    reader = _DiagramReader(side, load, bins)
    for name, group in side.record.groups.items():
        for key, record in group.metrics.items():
            if _is_binned(record) and not any(side.record.tasks[task].template_variants for task in group.tasks):
                yield reader.group(name, key, record)
    for name, task in side.record.tasks.items():
        template_variants: list[tuple[str | None, Mapping[str, MetricRecord]]] = [
            (variant, own.metrics) for variant, own in task.template_variants.items()
        ]
        for variant, metrics in template_variants or [(None, task.metrics)]:
            for key, record in metrics.items():
                if _is_binned(record):
                    yield reader.task(name, variant, key, record)


def departures(record: RunRecord, model: RunRecord, name: str, metric: str) -> tuple[str, ...]:
    """In what a number of a task or group was measured otherwise than another run's; empty where it was not, or one has none."""
    mine, theirs = _signature(record, name, metric), _signature(model, name, metric)
    return differences(mine, theirs) if mine and theirs else ()


def _signature(record: RunRecord, name: str, metric: str) -> Parts:
    owner = record.groups.get(name) or record.tasks.get(name)
    found = owner.metrics.get(metric) if owner else None
    if found is None:
        return ()
    members = sorted(record.groups[name].tasks) if name in record.groups else [name]
    return ("", found.signature), *((member, record.tasks[member].signature) for member in members)


def _is_binned(record: MetricRecord) -> bool:
    return record.family == "calibration" and record.signature.name in BINNED


@dataclass(frozen=True)
class _DiagramReader:
    """Makes diagrams of what one run keeps."""

    side: Side
    load: LoadMeasure
    bins: BinsOf
    _read: dict[str, dict[str, StatisticsRecord]] = field(default_factory=dict)

    def task(self, name: str, variant: str | None, key: str, record: MetricRecord) -> Diagram:
        place = name if variant is None else f"{name}@{variant}"
        return self._drawn(Diagram(name, variant, key, record), [self._kept(name, place, key)])

    def group(self, name: str, key: str, record: MetricRecord) -> Diagram:
        tasks = self.side.record.groups[name].tasks
        own = member_metric(record, [self.side.record.tasks[task] for task in tasks])
        kept = [self._kept(task, task, own[0]) for task in tasks] if own and own[1] == "micro" else [None]
        return self._drawn(Diagram(name, None, key, record), kept)

    def _kept(self, task: str, place: str, key: str) -> StatisticsRecord | None:
        if place not in self._read:
            self._read[place] = samples.read_statistics(self.side.folder, place, self.side.record.tasks[task].files)
        return self._read[place].get(key)

    def _drawn(self, made: Diagram, kept: Sequence[StatisticsRecord | None]) -> Diagram:
        found = made.record.reason if made.record.value is None else self._points(made.record.value, kept)
        return replace(made, points=found) if isinstance(found, tuple) else replace(made, reason=found)

    def _points(self, value: float, kept: Sequence[StatisticsRecord | None]) -> tuple[Point, ...] | str:
        known = [one for one in kept if one is not None]
        if not known or len(known) < len(kept):
            return "these results keep no statistics of it; run the task again"
        try:
            measure = self.load(known[0].metric, known[0].options)
        except MetricError as error:
            return error.what
        table = known[0].table if len(known) == 1 else measure.gather([one.table for one in known])
        if not math.isclose(float(measure.score(table.sum(axis=0))), value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
            return "the statistics kept do not give the score beside them; run the task again"
        return _points(self.bins(table))


def _points(bins: Bins) -> tuple[Point, ...]:
    low, high = wilson(bins.accuracy * bins.count, bins.count.astype(np.float64))
    columns = zip(bins.confidence, bins.accuracy, low, high, bins.count, strict=True)
    return tuple(Point(float(sure), float(right), float(least), float(most), int(items)) for sure, right, least, most, items in columns)
