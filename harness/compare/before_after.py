"""Compare the results of a base model with those of systems fine-tuned from it: everything a forgetting report needs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import metrics
from harness.compare.comparison import ComparisonOptions, RunComparison, compare_runs
from harness.compare.names import expand_globs
from harness.compare.noise import NoiseByTask, measure
from harness.compare.same_system import is_same_system
from harness.errors import InputError
from harness.store import runs
from harness.store.verifying import refuse_changed
from harness.tasks.registry import TaskRegistry


@dataclass(frozen=True)
class ForgettingComparisons:
    """What forgetting reports show: the base against each system, and the noise of scoring the base again in other batches.

    Attributes:
        comparisons: the base with each system, in the order given.
        noise: by task and group; None where the base was scored once.
        folders: of the base's results, then of each system's.
    """

    comparisons: tuple[RunComparison, ...]
    noise: NoiseByTask | None
    folders: tuple[Path, ...]


def compare(before: Path, after: Sequence[Path], options: ComparisonOptions, noise: Path | None = None) -> ForgettingComparisons:
    """Compare the base's results with those of every system.

    Args:
        before: the base's folder.
        after: the systems' folders.
        options: names of tasks and targets may be globs, and paths of task files.
        noise: folder of the base's second scoring.

    Raises:
        InputError: a name is unknown, or results were measured with different settings.
        StorageError: results cannot be read, or their files are missing or were changed.
    """
    for folder in (before, *after, *([] if noise is None else [noise])):
        refuse_changed(folder if folder.is_dir() else folder.parent, runs.read(folder))
    if noise is not None:
        _refuse_another_system(before, noise)
    comparisons = tuple(compare_runs(before, folder, metrics.load, _resolved(options, before, folder)) for folder in after)
    folders = (before, *after)
    if noise is None:
        return ForgettingComparisons(comparisons, None, folders)
    return ForgettingComparisons(comparisons, measure(before, noise, metrics.load, _resolved(options, before, noise)), folders)


def check_margins(margins: Iterable[str], tasks: Sequence[str]) -> None:
    """Refuse margins for unknown tasks and metrics before anything is scored.

    Args:
        margins: names as `--margin` gives them: a task, a metric, or `task.metric`.
        tasks: names of tasks, groups and task files of the harness. Metrics of lm-eval's tasks are known only once the tasks are built;
            `compare` checks margins as well.

    Raises:
        InputError: a margin names no task and no metric, or a task is unknown.
    """
    if margins:
        entries = TaskRegistry.default().select(tasks).entries
        _refuse_unknown_margins(margins, {entry.task.task: [spec.key for spec in entry.task.metrics] for entry in entries})


def _refuse_another_system(before: Path, noise: Path) -> None:
    """Make sure that a second scoring is one of the same system: flips of another system would be reported as noise.

    Raises:
        InputError: it is not.
    """
    base, second = runs.read(before).system, runs.read(noise).system
    if not is_same_system(base, second):
        raise InputError(
            f"The second scoring in {noise} is of another system ({second.name}) than {before} ({base.name}).",
            "Score the base again: harness forgetting --model … --adapter … --noise.",
        )


def noise_folder(before: Path) -> Path:
    """The folder of the second scoring of these results.

    Raises:
        InputError: there is none.
    """
    folder = (before if before.is_dir() else before.parent) / runs.NOISE_FOLDER
    if not (folder / runs.FILE_NAME).is_file():
        raise InputError(f"{before} has no second scoring in {folder}.", "Make one: harness forgetting --model … --adapter … --noise.")
    return folder


def _resolved(options: ComparisonOptions, before: Path, after: Path) -> ComparisonOptions:
    """The options with names of tasks and targets as the results have them."""
    records = runs.read(before), runs.read(after)
    _refuse_unknown_margins(options.margins, {name: task.metrics for record in records for name, task in record.tasks.items()})
    targets = expand_globs(_tasks_of(options.targets), records)
    tasks = None if options.tasks is None else expand_globs(_tasks_of(options.tasks), records)
    return replace(options, targets=targets, tasks=tasks)


def _refuse_unknown_margins(margins: Iterable[str], tasks: Mapping[str, Iterable[str]]) -> None:
    """Refuse a margin that applies to nothing: it would be ignored silently.

    Args:
        margins: their names.
        tasks: each with its metrics.
    """
    known = {name for task, keys in tasks.items() for key in keys for name in (task, key, f"{task}.{key}")}
    for name in margins:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"Did you mean {', '.join(near)}?" if near else "Name a task, a metric, or TASK.METRIC."
            raise InputError(f"--margin {name!r} names none of the tasks and metrics compared.", hint)


def _tasks_of(names: Sequence[str]) -> list[str]:
    """The names, with paths of task files replaced by what the files define."""
    tasks: list[str] = []
    for name in names:
        tasks += TaskRegistry().add_file(Path(name)) if name.endswith((".yaml", ".yml")) else [name]
    return tasks
