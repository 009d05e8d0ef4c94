"""Read two results folders, make sure that they were measured with the same settings, and pair their items by content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.compare.comparability import signature_differences
from harness.errors import InputError
from harness.store import runs, samples
from harness.store.records import RunRecord, TaskRecord
from harness.store.samples import SampleRecord, StatisticsRecord
from harness.store.signature import Signature


@dataclass(frozen=True)
class TaskSamples:
    """Samples and statistics of one task in one template, as one run saved them."""

    samples: list[SampleRecord]
    statistics: Mapping[str, StatisticsRecord]


@dataclass(frozen=True)
class Results:
    """One results folder."""

    folder: Path
    record: RunRecord

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read the run in `path`, a folder or its `results.json`; samples are read only when needed.

        Raises:
            StorageError: there is no run, or it cannot be read.
        """
        return cls(path if path.is_dir() else path.parent, runs.read(path))

    def task_samples(self, task: str, variant: str | None) -> TaskSamples:
        """Read samples and statistics of one task; `variant` names the template where there are several.

        Raises:
            StorageError: a file is missing, or is not the one that the results record.
        """
        place = _place(task, variant)
        files = self.record.tasks[task].files
        return TaskSamples(samples.read(self.folder, place, files), samples.read_statistics(self.folder, place, files))


@dataclass(frozen=True)
class PairedSamples:
    """One task in one template in both results, joined by the items' content.

    Attributes:
        variant: name of the template, or None where there is only one.
        before, after: samples and statistics of each system.
        places: index of each shared item in `before` and in `after`.
        only_before, only_after: ids of items that the other side lacks.
    """

    variant: str | None
    before: TaskSamples
    after: TaskSamples
    places: tuple[tuple[int, int], ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    @property
    def same_items(self) -> bool:
        """Whether both sides hold the same items in the same order."""
        complete = not self.only_before and not self.only_after
        return complete and all(first == second for first, second in self.places)

    @cached_property
    def pairs(self) -> list[tuple[SampleRecord, SampleRecord]]:
        """Both samples of each shared item."""
        return [(self.before.samples[first], self.after.samples[second]) for first, second in self.places]


def join(before: TaskSamples, after: TaskSamples, variant: str | None = None) -> PairedSamples:
    """Pair items of equal content digest; of items that occur several times, the first with the first and so on."""
    unmatched = {key: place for place, key in enumerate(_keys(after.samples))}
    places = [(place, unmatched.pop(key)) for place, key in enumerate(_keys(before.samples)) if key in unmatched]
    matched = {place for place, _ in places}
    only_before = tuple(sample.id for place, sample in enumerate(before.samples) if place not in matched)
    only_after = tuple(after.samples[place].id for place in sorted(unmatched.values()))
    return PairedSamples(variant, before, after, tuple(places), only_before, only_after)


def join_task(sides: tuple[Results, Results], task: str) -> list[PairedSamples]:
    """Read and pair one task's samples, one entry for each of its template variants.

    Args:
        sides: results before and after; both have the task.
        task: its name.

    Raises:
        StorageError: samples cannot be read.
    """
    before, after = sides
    variants = _variants(before.record, task)
    return [join(before.task_samples(task, variant), after.task_samples(task, variant), variant) for variant in variants]


def joined_files(before: RunRecord, task: str) -> set[str]:
    """Paths, below both results folders, of the files that `join_task` reads and verifies."""
    places = [_place(task, variant) for variant in _variants(before, task)]
    return {path_of(Path(), place).as_posix() for place in places for path_of in (samples.path_of, samples.statistics_path_of)}


def refuse_unlike(before: Results, after: Results, tasks: Sequence[str]) -> None:
    """Make sure that tasks were measured with the same settings. Their items may differ: items are paired by content.

    Raises:
        InputError: a task or a metric of both results has another signature, or items of a task have other ids although something was
            drawn by them; says what differs.
    """
    unlike: dict[str, tuple[str, ...]] = {}
    for name in tasks:
        first, second = before.record.tasks[name], after.record.tasks[name]
        shared = [key for key in first.metrics if key in second.metrics]
        mine = [("", _without_items(second.signature)), *((key, second.metrics[key].signature) for key in shared)]
        theirs = [("", _without_items(first.signature)), *((key, first.metrics[key].signature) for key in shared)]
        notes = signature_differences(tuple(mine), tuple(theirs))
        if notes:
            unlike[name] = notes
    if unlike:
        name, notes = next(iter(unlike.items()))
        count = len(unlike) - 1
        more = f", and so {'does 1 more task' if count == 1 else f'do {count} more tasks'}" if count else ""
        raise InputError(
            f"The settings of {name} differ between {before.folder} and {after.folder} ({'; '.join(notes)}){more}.",
            f"Evaluate both systems with the same settings, or leave out these tasks: {', '.join(unlike)}.",
        )
    for name in tasks:
        _refuse_other_ids(before, after, name)


def _refuse_other_ids(before: Results, after: Results, task: str) -> None:
    """Make sure that items of equal content have equal ids where something was drawn by an item's id.

    Raises:
        InputError: ids differ, so one item was given other few-shot examples, or was sampled or perturbed differently.
    """
    first, second = before.record.tasks[task], after.record.tasks[task]
    if not _draws_by_id(first) or first.signature.get("data_digest") == second.signature.get("data_digest"):
        return
    variant = next(iter(first.template_variants), None)
    pairs = join(before.task_samples(task, variant), after.task_samples(task, variant), variant).pairs
    unlike = [(mine.id, theirs.id) for mine, theirs in pairs if mine.id != theirs.id]
    if unlike:
        mine, theirs = unlike[0]
        raise InputError(
            f"{task} gives {len(unlike)} of {len(pairs)} items other ids in {after.folder} than in {before.folder} (the first: {theirs!r} "
            f"instead of {mine!r}). Few-shot examples, samples or perturbations are drawn by an item's id.",
            "Name a field with unique ids in the task's data.id, and evaluate both systems again.",
        )


def _draws_by_id(task: TaskRecord) -> bool:
    """Whether the task's few-shot examples, samples or perturbations depend on the items' ids."""
    return any(field in task.signature for field in ("shot_seed", "sampling_seed")) or bool(task.perturbations)


def _variants(record: RunRecord, task: str) -> list[str | None]:
    return [*record.tasks[task].template_variants] or [None]


def _place(task: str, variant: str | None) -> str:
    return task if variant is None else f"{task}@{variant}"


def _keys(records: Sequence[SampleRecord]) -> list[tuple[str, int]]:
    """Digest of each sample, and how many before it have the same."""
    seen: Counter[str] = Counter()
    keys = []
    for sample in records:
        keys.append((sample.digest, seen[sample.digest]))
        seen[sample.digest] += 1
    return keys


def _without_items(signature: Signature) -> Signature:
    return signature.without("data_digest", "items")
