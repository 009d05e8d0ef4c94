"""Numerical noise: what changes when the same system is scored again in other batches. Smaller differences mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from harness.compare.comparison import ComparisonOptions, TaskComparison, compare_runs
from harness.compare.paired_tables import LoadMeasure
from harness.compare.pairing import Results, join_task
from harness.store.samples import SampleRecord

_RESAMPLES = 200
"""Few: intervals of this comparison are not shown."""


@dataclass(frozen=True, slots=True)
class Noise:
    """One task, or a group compared as one, scored twice.

    Attributes:
        flips: items whose score in the headline metric changed.
        largest: the largest difference of a log-probability, in nats; for generated texts, of an item's score.
        difference: absolute difference of the headline score.
    """

    flips: int
    largest: float
    difference: float


NoiseByTask: TypeAlias = Mapping[str, Noise]
"""By task and group."""


def measure(before: Path, again: Path, load: LoadMeasure, options: ComparisonOptions) -> dict[str, Noise]:
    """The noise of every task that two results of one system share, and of every group.

    Args:
        before: folder of the results.
        again: folder of the second scoring.
        load: loads metrics: `harness.metrics.load`.
        options: which tasks to compare.

    Raises:
        InputError: the results cannot be compared.
        StorageError: they cannot be read.
    """
    comparison = compare_runs(before, again, load, replace(options, resamples=_RESAMPLES))
    sides = Results.read(before), Results.read(again)
    noise: dict[str, Noise] = {}
    for task in comparison.tasks:
        parts = {part.name: _noise(part, sides) for part in task.parts or (task,)}
        noise |= parts
        if task.parts:
            noise[task.name] = Noise(len(task.changes), max(part.largest for part in parts.values()), _difference(task))
    return noise


def _noise(task: TaskComparison, sides: tuple[Results, Results]) -> Noise:
    key = task.headlines[0].metric
    largest = max((_distance(first, second, key) for first, second in _pairs(task.name, sides)), default=0.0)
    return Noise(len(task.changes), largest, _difference(task))


def _difference(task: TaskComparison) -> float:
    return abs(task.headlines[0].difference or 0.0)


def _pairs(name: str, sides: tuple[Results, Results]) -> Iterator[tuple[SampleRecord, SampleRecord]]:
    for paired in join_task(sides, name):
        yield from paired.pairs


def _distance(first: SampleRecord, second: SampleRecord, key: str) -> float:
    if first.logprobs and second.logprobs:
        return max(abs(before - after) for before, after in zip(first.logprobs, second.logprobs, strict=False))
    return abs((second.metrics.get(key) or 0.0) - (first.metrics.get(key) or 0.0))
