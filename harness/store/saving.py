"""How a run gets into a results folder: results, samples and statistics together, one writer at a time."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import StorageError
from harness.store import runs, samples
from harness.util import locks
from harness.util.atomic import Staged, publish, remove_leftovers, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.store.records import RunRecord, TaskRecord
    from harness.store.samples import SampleRecord, StatisticsRecord


@dataclass(frozen=True)
class SavedSamples:
    """The items of a task with one prompt template, or perturbed copies of them.

    Attributes:
        place: names its files: the task, `task@template` where it has several, with `~perturbation` for copies.
        samples: what was asked and answered.
        statistics: by metric; None where none are kept, as of copies.
    """

    place: str
    samples: Sequence[SampleRecord]
    statistics: Mapping[str, StatisticsRecord] | None = None


def save(
    record: RunRecord,
    parts: Mapping[str, Sequence[SavedSamples]],
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
    timeout: float = locks.TIMEOUT,
) -> RunRecord:
    """Add a run to a results folder, and return what the folder's `results.json` holds then.

    Files are written under temporary names first; samples and statistics are put in place just before `results.json`, which records their
    SHA-256. A process that is killed between these renames leaves samples that the older `results.json` refuses, and saving again mends it.

    Args:
        record: the run.
        parts: files of its tasks. A task that is not named here keeps the files that its record names.
        folder: made where missing.
        say: is told when another process has to be waited for.
        timeout: seconds to wait for it.

    Raises:
        StorageError: a file cannot be written, another process does not finish, or the folder holds another system's run; the folder
            stays as it was.
    """
    with locks.locked(folder, say, timeout), contextlib.ExitStack() as stack:
        for place in (folder, samples.folder_of(folder)):
            remove_leftovers(place)
        old = runs.read(folder) if (folder / runs.FILE_NAME).exists() else None
        staged: list[Staged] = []
        tasks: dict[str, TaskRecord] = dict(record.tasks)
        for task, own in parts.items():
            files = [stack.enter_context(_stage(path, lines)) for part in own for path, lines in _files(part, folder)]
            staged += files
            tasks[task] = tasks[task].model_copy(update={"files": {_name(one.path, folder): one.digest for one in files}})
        merged = runs.merge(old, record.model_copy(update={"tasks": tasks}))
        _refuse_shared(merged, folder)
        staged.append(stack.enter_context(_stage(folder / runs.FILE_NAME, [runs.text(merged)])))
        publish(staged)
        _remove_superseded(old, merged, folder)
    return merged


@contextlib.contextmanager
def _stage(path: Path, lines: Iterable[str]) -> Iterator[Staged]:
    staged = stage(path, lines)
    try:
        yield staged
    finally:
        staged.discard()


def _files(part: SavedSamples, folder: Path) -> Iterator[tuple[Path, Iterator[str]]]:
    yield samples.path_of(folder, part.place), samples.lines(part.samples)
    if part.statistics is not None:
        yield samples.statistics_path_of(folder, part.place), samples.statistics_lines(part.statistics)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _refuse_shared(record: RunRecord, folder: Path) -> None:
    """Characters that a file system may not take become dots, so two tasks' names can become one."""
    owners: dict[str, str] = {}
    for task, own in record.tasks.items():
        for name in own.files or ():
            if name in owners:
                raise StorageError(
                    f"The tasks {owners[name]} and {task} would both keep {name} in {folder}.",
                    "Choose another folder with --output for one of them.",
                )
            owners[name] = task


def _remove_superseded(old: RunRecord | None, new: RunRecord, folder: Path) -> None:
    """Files of tasks that were scored again with fewer templates or perturbations."""
    recorded = {name for task in new.tasks.values() for name in task.files or ()}
    for task in old.tasks.values() if old else ():
        for name in set(task.files or ()) - recorded:
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
