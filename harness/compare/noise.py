"""What scoring the same system again in other batches changes: the floor below which a difference says nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from harness.compare.comparison import ComparisonOptions, TaskComparison, compare_runs
from harness.compare.pairing import LoadMeasure, Results, join
from harness.store.samples import SampleRecord

_RESAMPLES = 200
"""Few: intervals of this comparison are not shown."""


@dataclass(frozen=True, slots=True)
class Noise:
    """One task, or a group that stands as one, scored twice.

    Attributes:
        flips: items whose own score at the headline is another.
        largest: the largest difference of a log-probability, in nats; where texts are generated, of an item's own score.
        difference: of the headline score.
    """

    flips: int
    largest: float
    difference: float


NoiseOf: TypeAlias = Mapping[str, Noise]
"""By task and group."""


def measure(before: Path, again: Path, load: LoadMeasure, plan: ComparisonOptions) -> dict[str, Noise]:
    """The noise of every task that both results of one system have, and of every group.

    Args:
        before: folder of the results.
        again: folder of the second ones.
        load: finds metrics.
        plan: which tasks.

    Raises:
        InputError: the results do not fit each other.
        StorageError: they cannot be read.
    """
    comparison = compare_runs(before, again, load, replace(plan, resamples=_RESAMPLES))
    sides = Results.read(before), Results.read(again)
    found: dict[str, Noise] = {}
    for task in comparison.tasks:
        parts = {part.name: _noise(part, sides) for part in task.parts or (task,)}
        found |= parts
        if task.parts:
            found[task.name] = Noise(len(task.changes), max(part.largest for part in parts.values()), _difference(task))
    return found


def _noise(task: TaskComparison, sides: tuple[Results, Results]) -> Noise:
    key = task.headlines[0].metric
    largest = max((_distance(one, other, key) for one, other in _pairs(task.name, sides)), default=0.0)
    return Noise(len(task.changes), largest, _difference(task))


def _difference(task: TaskComparison) -> float:
    return abs(task.headlines[0].difference or 0.0)


def _pairs(name: str, sides: tuple[Results, Results]) -> Iterator[tuple[SampleRecord, SampleRecord]]:
    for variant in sides[0].record.tasks[name].template_variants or [None]:
        yield from join(sides[0].kept(name, variant), sides[1].kept(name, variant), variant).pairs


def _distance(one: SampleRecord, other: SampleRecord, key: str) -> float:
    if one.logprobs and other.logprobs:
        return max(abs(first - second) for first, second in zip(one.logprobs, other.logprobs, strict=False))
    return abs((other.metrics.get(key) or 0.0) - (one.metrics.get(key) or 0.0))
