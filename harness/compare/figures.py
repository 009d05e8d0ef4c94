"""Data behind figures, in pages and in files: reliability diagrams, and score drops under perturbation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.compare.comparability import NotComparable, SignatureParts, signature_differences
from harness.compare.groups import member_metric
from harness.compare.names import run_labels
from harness.compare.paired_tables import SCORE_NOT_REPRODUCED, LoadMeasure, agrees
from harness.errors import MetricError
from harness.stats.bootstrap import FloatArray
from harness.stats.share import wilson
from harness.store import samples
from harness.store.records import MetricRecord, PerturbationRecord, RunRecord
from harness.store.samples import StatisticsRecord

BINNED = ("ece_10_bin", "platt_ece")
"""Metrics whose statistics hold several bins."""


class Bins(Protocol):
    """Mean confidence, share of correct answers and number of items [bins] of the bins of a reliability diagram."""

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
"""From saved statistics to bins: `harness.metrics.calibration.reliability`."""


@dataclass(frozen=True, slots=True)
class Side:
    """A run with the label of its system in figures, which is unique among them."""

    label: str
    folder: Path
    record: RunRecord


@dataclass(frozen=True, slots=True)
class Point:
    """A bin. `low` and `high` are the 95 % interval of the share of correct answers, with the bin fixed."""

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
        points: its bins by rising confidence; empty where `reason` says why.
        reason: why there is no diagram.
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
        """The calibration error's name, the same for tasks and groups."""
        return self.metric.removesuffix("_micro")


@dataclass(frozen=True, slots=True)
class Drop:
    """The effect of a perturbation on a metric of a task; `variant` where the task has several templates."""

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
    """Each run with its label: the system's name, and where runs share one, the part of the folder that differs."""
    return [Side(label, folder, record) for label, (folder, record) in zip(run_labels(runs), runs, strict=True)]


def drops(record: RunRecord) -> Iterator[Drop]:
    """The effects of perturbations on every task, in the order of the results."""
    for name, task in record.tasks.items():
        yield from (Drop(name, None, perturbation) for perturbation in task.perturbations)
        for variant, record_of_variant in task.template_variants.items():
            yield from (Drop(name, variant, perturbation) for perturbation in record_of_variant.perturbations)


def diagrams(side: Side, load: LoadMeasure, bins: BinsOf) -> Iterator[Diagram]:
    """Reliability diagrams of every group and task with a calibration error, including those without points.

    Args:
        side: the run.
        load: loads metrics by name and options: `harness.metrics.load`.
        bins: from saved statistics to bins.

    Raises:
        StorageError: saved statistics cannot be read.
    """
    reader = _DiagramReader(side, load, bins)
    for name, group in side.record.groups.items():
        for key, record in group.metrics.items():
            if _is_binned(record) and not any(side.record.tasks[task].template_variants for task in group.tasks):
                yield reader.group(name, key, record)
    for name, task in side.record.tasks.items():
        template_variants: list[tuple[str | None, Mapping[str, MetricRecord]]] = [
            (variant, of_variant.metrics) for variant, of_variant in task.template_variants.items()
        ]
        for variant, metrics in template_variants or [(None, task.metrics)]:
            for key, record in metrics.items():
                if _is_binned(record):
                    yield reader.task(name, variant, key, record)


def departures(record: RunRecord, model: RunRecord, name: str, metric: str) -> tuple[str, ...]:
    """How the settings behind a number of a task or group differ from another run's; empty where they are equal, or a run lacks it."""
    mine, theirs = _signature(record, name, metric), _signature(model, name, metric)
    return signature_differences(mine, theirs) if mine and theirs else ()


def _signature(record: RunRecord, name: str, metric: str) -> SignatureParts:
    owner = record.groups.get(name) or record.tasks.get(name)
    score = owner.metrics.get(metric) if owner else None
    if score is None:
        return ()
    members = sorted(record.groups[name].tasks) if name in record.groups else [name]
    return ("", score.signature), *((member, record.tasks[member].signature) for member in members)


def _is_binned(record: MetricRecord) -> bool:
    return record.family == "calibration" and record.signature.name in BINNED


@dataclass(frozen=True)
class _DiagramReader:
    """Makes diagrams from the saved statistics of one run."""

    side: Side
    load: LoadMeasure
    bins: BinsOf
    _read: dict[str, dict[str, StatisticsRecord]] = field(default_factory=dict)

    def task(self, name: str, variant: str | None, key: str, record: MetricRecord) -> Diagram:
        place = name if variant is None else f"{name}@{variant}"
        return self._with_points(Diagram(name, variant, key, record), [self._statistics(name, place, key)])

    def group(self, name: str, key: str, record: MetricRecord) -> Diagram:
        tasks = self.side.record.groups[name].tasks
        averaged = member_metric(record, [self.side.record.tasks[task] for task in tasks])
        micro = averaged[0] if averaged and averaged[1] == "micro" else None
        statistics = [None] if micro is None else [self._statistics(task, task, micro) for task in tasks]
        return self._with_points(Diagram(name, None, key, record), statistics)

    def _statistics(self, task: str, place: str, key: str) -> StatisticsRecord | None:
        if place not in self._read:
            self._read[place] = samples.read_statistics(self.side.folder, place, self.side.record.tasks[task].files)
        return self._read[place].get(key)

    def _with_points(self, diagram: Diagram, statistics: Sequence[StatisticsRecord | None]) -> Diagram:
        if diagram.record.value is None:
            return replace(diagram, reason=diagram.record.reason)
        points = self._points(diagram.record.value, statistics)
        return replace(diagram, reason=points.reason) if isinstance(points, NotComparable) else replace(diagram, points=points)

    def _points(self, value: float, statistics: Sequence[StatisticsRecord | None]) -> tuple[Point, ...] | NotComparable:
        known = [record for record in statistics if record is not None]
        if not known or len(known) < len(statistics):
            return NotComparable("the results hold no statistics of it; run the task again")
        try:
            measure = self.load(known[0].metric, known[0].options)
        except MetricError as error:
            return NotComparable(error.what)
        table = known[0].table if len(known) == 1 else measure.gather([record.table for record in known])
        if not agrees(measure.score(table.sum(axis=0)), value):
            return SCORE_NOT_REPRODUCED
        return _points(self.bins(table))


def _points(bins: Bins) -> tuple[Point, ...]:
    low, high = wilson(bins.accuracy * bins.count, bins.count.astype(np.float64))
    columns = zip(bins.confidence, bins.accuracy, low, high, bins.count, strict=True)
    return tuple(
        Point(float(confidence), float(accuracy), float(least), float(most), int(count))
        for confidence, accuracy, least, most, count in columns
    )
