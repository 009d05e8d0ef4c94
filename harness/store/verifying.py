"""Verify that results folders hold what their runs wrote: `harness results verify`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from harness.errors import InputError, StorageError
from harness.store import runs, samples
from harness.store.records import RunRecord

State: TypeAlias = Literal["verified", "not verified", "changed"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A missing or changed file.

    Attributes:
        file: path relative to the results folder.
        task: the task of the file; None for `results.json`.
        what: one sentence.
    """

    file: str
    task: str | None
    what: str


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """The verification of a results folder.

    Attributes:
        tasks: number of tasks.
        files: number of verified files of samples and statistics.
        faults: problems of `results.json`, and files that are missing or changed.
        unverified: tasks that an earlier version wrote without digests.
        unrecorded: files in the folder of samples that belong to no task; nothing reads them.
    """

    folder: Path
    tasks: int = 0
    files: int = 0
    faults: tuple[Fault, ...] = ()
    unverified: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """The result: "changed" if there is any fault, "not verified" if something could not be checked, otherwise "verified"."""
        return "changed" if self.faults else "not verified" if self.unverified else "verified"


def verify(paths: Iterable[Path]) -> Iterator[FolderCheck]:
    """Verify every results folder at or below the given paths, noise folders included, one after the other.

    Raises:
        InputError: a path does not exist or has no run.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        below = [path.parent] if path.is_file() else sorted(_below(path))
        if not below:
            what = f"{path} has no {runs.FILE_NAME}." if path.exists() else f"{path} does not exist."
            raise InputError(what, "Give folders of finished runs, or a folder above them.")
        for folder in below:
            folders.setdefault(folder.resolve(), folder)
    yield from map(verify_folder, folders.values())


def verify_folder(folder: Path) -> FolderCheck:
    """Read every file of a results folder and compare it with its recorded digest."""
    try:
        record = runs.read(folder)
    except StorageError as error:
        return FolderCheck(folder, faults=(Fault(runs.FILE_NAME, None, error.what),))
    recorded = {name for task_record in record.tasks.values() for name in task_record.files or ()}
    faults = tuple(_faults(folder, record))
    return FolderCheck(
        folder=folder,
        tasks=len(record.tasks),
        files=len(recorded) - len(faults),
        faults=faults,
        unverified=tuple(record.unverified),
        unrecorded=() if record.unverified else tuple(sorted(_beside(folder) - recorded)),
    )


def refuse_changed(folder: Path, record: RunRecord, verified: Container[str] = ()) -> None:
    """Check that the samples and statistics of a run are the recorded ones, and that none is missing.

    Args:
        folder: the results folder.
        record: its `results.json`.
        verified: paths below the folder of files that were verified already; they are not read again.

    Raises:
        StorageError: a file is missing, changed after it was written, or belongs to another run.
    """
    for task, task_record in record.tasks.items():
        for name in task_record.files or ():
            if name in verified:
                continue
            path = folder / name
            try:
                samples.checked(folder, path, task, task_record.files)
            except FileNotFoundError as error:
                raise samples.missing(path, task) from error
            except OSError as error:
                raise StorageError(f"{path} ({task}) cannot be read: {error.strerror or error}.", "Check its permissions.") from error


def lines(checked: FolderCheck) -> Iterator[str]:
    """A line on the folder, then a line for each fault and each remark."""
    yield f"{checked.state:<12}  {checked.folder}" + (f": {_counted(checked)}" if checked.tasks else "")
    for fault in checked.faults:
        yield f"  {fault.what}"
    if checked.unverified:
        yield f"  Written by an earlier version, without digests: {', '.join(checked.unverified)}."
    for name in checked.unrecorded:
        yield f"  {name} is not recorded; no report reads it."


def as_json(checks: Iterable[FolderCheck]) -> dict[str, Any]:
    """The checks as JSON."""
    folders = [{"state": check.state, **dataclasses.asdict(check), "folder": str(check.folder)} for check in checks]
    return {"verified": all(folder["state"] == "verified" for folder in folders), "folders": folders}


def _counted(checked: FolderCheck) -> str:
    tasks, files = checked.tasks, checked.files
    return f"{tasks} {'task' if tasks == 1 else 'tasks'}, {files} {'file' if files == 1 else 'files'} verified"


def _faults(folder: Path, record: RunRecord) -> Iterator[Fault]:
    for task, task_record in record.tasks.items():
        for name in task_record.files or ():
            try:
                samples.checked(folder, folder / name, task, task_record.files)
            except StorageError as error:
                yield Fault(name, task, error.what)
            except FileNotFoundError:
                yield Fault(name, task, f"{folder / name} ({task}) is missing.")
            except OSError as error:
                yield Fault(name, task, f"{folder / name} ({task}) cannot be read: {error.strerror or error}.")


def _below(path: Path) -> Iterator[Path]:
    for parent, _, files in os.walk(path):
        if runs.FILE_NAME in files:
            yield Path(parent)


def _beside(folder: Path) -> set[str]:
    """Files in the folder of samples, without hidden ones, which belong to a run that is writing or was killed."""
    place = samples.folder_of(folder)
    files = place.iterdir() if place.is_dir() else ()
    return {path.relative_to(folder).as_posix() for path in files if not path.name.startswith(".")}
