"""Whether results folders hold what their runs wrote: `harness results verify`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from harness.errors import InputError, StorageError
from harness.store import runs, samples
from harness.store.runs import RunRecord

State: TypeAlias = Literal["verified", "not verified", "changed"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one file.

    Attributes:
        file: below the results folder.
        task: that it is of; None for `results.json`.
        what: one sentence.
    """

    file: str
    task: str | None
    what: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One results folder.

    Attributes:
        tasks: number of tasks.
        files: number of files of samples and statistics that are what was recorded.
        faults: of `results.json`, or of files that are missing or are not those that were recorded.
        unverified: tasks that an earlier version wrote without recording digests.
        unrecorded: files beside the samples that no task has; nothing reads them.
    """

    folder: Path
    tasks: int = 0
    files: int = 0
    faults: tuple[Fault, ...] = ()
    unverified: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """What is known of it: "changed" where anything is wrong, "not verified" where something could not be checked."""
        return "changed" if self.faults else "not verified" if self.unverified else "verified"


def verify(paths: Iterable[Path]) -> Iterator[Checked]:
    """Check every results folder at or below the given paths, second scorings included, one after the other.

    Raises:
        InputError: a path does not exist or holds no run.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        found = [path.parent] if path.is_file() else sorted(_below(path))
        if not found:
            what = f"{path} holds no {runs.FILE_NAME}." if path.exists() else f"{path} does not exist."
            raise InputError(what, "Give folders of finished runs, or a folder above them.")
        for folder in found:
            folders.setdefault(folder.resolve(), folder)
    yield from map(verify_folder, folders.values())


def verify_folder(folder: Path) -> Checked:
    """Read every file of one results folder and compare it with what is recorded."""
    try:
        record = runs.read(folder)
    except StorageError as error:
        return Checked(folder, faults=(Fault(runs.FILE_NAME, None, error.what),))
    recorded = {name: task for task, one in record.tasks.items() for name in one.files or ()}
    faults = tuple(_faults(folder, record))
    return Checked(
        folder=folder,
        tasks=len(record.tasks),
        files=len(recorded) - len(faults),
        faults=faults,
        unverified=tuple(record.unverified),
        unrecorded=() if record.unverified else tuple(sorted(_beside(folder) - set(recorded))),
    )


def refuse_changed(folder: Path, record: RunRecord) -> None:
    """Make sure that the samples and statistics beside a run are those that it recorded, and that all of them are there.

    Raises:
        StorageError: a file is missing, was changed after it was written, or belongs to another run.
    """
    for task, one in record.tasks.items():
        for name in one.files or ():
            try:
                samples.checked(folder, folder / name, task, one.files)
            except FileNotFoundError as error:
                raise samples.missing(folder / name, task) from error
            except OSError as error:
                raise StorageError(
                    f"{folder / name} ({task}) cannot be read: {error.strerror or error}.", "Check its permissions."
                ) from error


def lines(checked: Checked) -> Iterator[str]:
    """A line on the folder, then one for each thing that is wrong or worth knowing."""
    yield f"{checked.state:<12}  {checked.folder}" + (f": {_counted(checked)}" if checked.tasks else "")
    for fault in checked.faults:
        yield f"  {fault.what}"
    if checked.unverified:
        yield f"  Written by an earlier version, without digests: {', '.join(checked.unverified)}."
    for name in checked.unrecorded:
        yield f"  {name} is recorded nowhere; no report reads it."


def as_json(found: Iterable[Checked]) -> dict[str, Any]:
    """All of it as JSON."""
    folders = [{"state": one.state, **dataclasses.asdict(one), "folder": str(one.folder)} for one in found]
    return {"verified": all(one["state"] == "verified" for one in folders), "folders": folders}


def _counted(checked: Checked) -> str:
    tasks, files = checked.tasks, checked.files
    return f"{tasks} {'task' if tasks == 1 else 'tasks'}, {files} {'file' if files == 1 else 'files'} verified"


def _faults(folder: Path, record: RunRecord) -> Iterator[Fault]:
    for task, one in record.tasks.items():
        for name in one.files or ():
            try:
                samples.checked(folder, folder / name, task, one.files)
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
    """Files in the folder of samples; hidden ones are of a run that is writing, or was killed."""
    place = samples.folder_of(folder)
    found = place.iterdir() if place.is_dir() else ()
    return {path.relative_to(folder).as_posix() for path in found if not path.name.startswith(".")}
