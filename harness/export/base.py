"""What an exporter is: finished runs go in, and their results go to a file or a service.

To add one, write one class in one file and decorate it with `@export("name")`; `harness export RUN --to name:destination` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from harness.errors import InputError
from harness.store import runs
from harness.store.records import RunRecord
from harness.store.verifying import refuse_changed
from harness.util.plugins import Plugins


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A finished run and the folder that holds its results."""

    folder: Path
    record: RunRecord


@dataclass(kw_only=True)
class Exporter:
    """Base of all exporters. A subclass implements `export`.

    What it needs beside its destination (a package, a token) it looks for when it exports, not when it is made.

    Class attributes:
        name: as `--to` takes it.
        destination_form: what follows the colon, for messages, such as `FILE` or `OWNER/REPOSITORY`.

    Attributes:
        destination: what `--to NAME:DESTINATION` gave.
    """

    name: ClassVar[str]
    destination_form: ClassVar[str] = "DESTINATION"
    destination: str

    def export(self, exported: Sequence[ExportedRun]) -> str:
        """Send the results.

        Args:
            exported: at least one run.

        Returns:
            Where the results went, in one line.

        Raises:
            HarnessError: they could not be sent.
        """
        raise NotImplementedError


PLUGINS: Plugins[Exporter] = Plugins("exporter", "harness.export", "exports")
ExporterClass = TypeVar("ExporterClass", bound=type[Exporter])


def export(name: str) -> Callable[[ExporterClass], ExporterClass]:
    """Class decorator: make an exporter known under `name`.

    Raises:
        InputError: another class has that name.
    """

    def register(cls: ExporterClass) -> ExporterClass:
        PLUGINS.register(name, cls)
        cls.name = name
        return cls

    return register


def load(spec: str) -> Exporter:
    """The exporter that `NAME:DESTINATION` names.

    Raises:
        InputError: there is no such exporter, or the destination is missing.
    """
    name, _, destination = spec.partition(":")
    cls = PLUGINS.known().get(name)
    if cls is not None and not destination:
        raise InputError(f"--to {name} needs a destination.", f"Write --to {name}:{cls.destination_form}.")
    return PLUGINS.build(name, {"destination": destination})


def read(paths: Sequence[Path]) -> list[ExportedRun]:
    """The runs at or below these paths, verified.

    Raises:
        InputError: a path does not exist or holds no run.
        StorageError: results cannot be read, or were changed after they were written.
    """
    exported = [ExportedRun(path.parent, runs.read(path)) for path in runs.find_runs(paths)]
    for run in exported:
        refuse_changed(run.folder, run.record)
    return exported
