"""The results of a base and of systems that were fine-tuned from it, compared: all that a report on forgetting needs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import metrics
from harness.compare.comparison import Comparison, ComparisonOptions, compare_runs
from harness.compare.names import opened
from harness.compare.noise import NoiseOf, measure
from harness.errors import InputError
from harness.lm_eval import task_names
from harness.store import runs
from harness.tasks.registry import TaskRegistry


@dataclass(frozen=True)
class ForgettingComparisons:
    """What the reports show: the base against each system, and what scoring the base again in other batches changes.

    Attributes:
        folders: of the base's results, then of each system's.
    """

    comparisons: tuple[Comparison, ...]
    noise: NoiseOf | None
    folders: tuple[Path, ...]


def compare(before: Path, after: Sequence[Path], plan: ComparisonOptions, noise: Path | None = None) -> ForgettingComparisons:
    """Compare the base's results with those of every system.

    Args:
        before: the base's folder.
        after: the systems' folders.
        plan: names of tasks and targets may be globs, and paths of task files.
        noise: folder of the base's second scoring.

    Raises:
        InputError: a name is unknown, or results were not measured alike.
        StorageError: results cannot be read.
    """
    comparisons = tuple(compare_runs(before, one, metrics.load, _named(plan, before, one)) for one in after)
    places = (before, *after)
    if noise is None:
        return ForgettingComparisons(comparisons, None, places)
    return ForgettingComparisons(comparisons, measure(before, noise, metrics.load, _named(plan, before, noise)), places)


def check_margins(margins: Iterable[str], tasks: Sequence[str]) -> None:
    """Refuse margins that name nothing of the tasks asked for, before anything is scored.

    What tasks of lm-eval measure is known only once they are built; `compare` checks margins as well.

    Raises:
        InputError: a margin names no task and no metric, or a task is unknown.
    """
    own, theirs = task_names.split(tasks)
    if margins and not theirs:
        entries = TaskRegistry.default().select(own).entries
        _refuse_unknown_margins(margins, {entry.task.task: [spec.key for spec in entry.task.metrics] for entry in entries})


def noise_folder(before: Path) -> Path:
    """Where the second scoring of these results lies.

    Raises:
        InputError: there is none.
    """
    folder = (before if before.is_dir() else before.parent) / runs.NOISE_FOLDER
    if not (folder / runs.FILE_NAME).is_file():
        raise InputError(f"{before} has no second scoring in {folder}.", "Make one: harness forgetting --model … --adapter … --noise.")
    return folder


def _named(plan: ComparisonOptions, before: Path, after: Path) -> ComparisonOptions:
    records = runs.read(before), runs.read(after)
    _refuse_unknown_margins(plan.margins, {task: one.metrics for record in records for task, one in record.tasks.items()})
    targets = opened(_tasks_of(plan.targets), records)
    return replace(plan, targets=targets, tasks=None if plan.tasks is None else opened(_tasks_of(plan.tasks), records))


def _refuse_unknown_margins(margins: Iterable[str], tasks: Mapping[str, Iterable[str]]) -> None:
    """Refuse a margin of something that no task has: it would count for nothing in silence.

    Args:
        margins: their names.
        tasks: each with its metrics.
    """
    known = {name for task, metrics_ in tasks.items() for key in metrics_ for name in (task, key, f"{task}.{key}")}
    for name in margins:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"Did you mean {', '.join(near)}?" if near else "Name a task, a metric, or TASK.METRIC."
            raise InputError(f"--margin names {name!r}, which is none of these tasks and metrics.", hint)


def _tasks_of(names: Sequence[str]) -> list[str]:
    """The names, with paths of task files replaced by what the files define."""
    found: list[str] = []
    for name in names:
        found += TaskRegistry().add_file(Path(name)) if name.endswith((".yaml", ".yml")) else [name]
    return found
