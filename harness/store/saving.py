"""Save a run in a results folder: results, samples and statistics together, one writer at a time."""

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
        place: names the files: the task, `task@template` if it has several templates, with `~perturbation` for copies.
        samples: its items with their responses.
        statistics: by metric; None if they are not saved, as for copies.
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
    """Add a run to a results folder, and return the new content of the folder's `results.json`.

    Files are first written under temporary names; samples and statistics are renamed just before `results.json`, which records their
    SHA-256. If a process is killed between these renames, the older `results.json` refuses the new samples; saving again repairs this.

    Args:
        record: the run.
        parts: the files of its tasks. A task without an entry keeps the files in its record.
        folder: created if missing.
        say: called with a message if another process is writing.
        timeout: seconds to wait for that process.

    Raises:
        StorageError: a file cannot be written, another process does not finish, or the folder holds another system's run; the folder
            is unchanged.
    """
    with locks.locked(folder, say, timeout), contextlib.ExitStack() as stack:
        for place in (folder, samples.folder_of(folder)):
            remove_leftovers(place)
        old = runs.read(folder) if (folder / runs.FILE_NAME).exists() else None
        staged: list[Staged] = []
        tasks: dict[str, TaskRecord] = dict(record.tasks)
        for task, saved in parts.items():
            files = [stack.enter_context(_stage(path, lines)) for part in saved for path, lines in _files(part, folder)]
            staged += files
            tasks[task] = tasks[task].model_copy(update={"files": {_name(file.path, folder): file.digest for file in files}})
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
    """Refuse two tasks with the same file names: characters that some file systems refuse become dots, so names can collide."""
    owners: dict[str, str] = {}
    for task, task_record in record.tasks.items():
        for name in task_record.files or ():
            if name in owners:
                raise StorageError(
                    f"The tasks {owners[name]} and {task} would both write {name} in {folder}.",
                    "Choose another folder with --output for one of them.",
                )
            owners[name] = task


def _remove_superseded(old: RunRecord | None, new: RunRecord, folder: Path) -> None:
    """Remove files of tasks that were evaluated again with fewer templates or perturbations."""
    recorded = {name for task in new.tasks.values() for name in task.files or ()}
    for task in old.tasks.values() if old else ():
        for name in set(task.files or ()) - recorded:
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
