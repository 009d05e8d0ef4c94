"""Where the results of each system go, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.contract import System
from harness.errors import InputError, StorageError
from harness.store import runs, samples
from harness.store.records import SystemRecord, system_record
from harness.util.writable import check_files


def output_folders(output: Path | None, systems: Sequence[System]) -> dict[str, Path]:
    """The results folder of each system, by the system's name.

    Args:
        output: the folder that the user names; with several systems, each has a folder in it. None for `results/SYSTEM`.
        systems: the systems of a run.

    Raises:
        InputError: two systems have the same name.
        StorageError: a folder cannot be written, or holds the run of another system.
    """
    if len({system.name for system in systems}) < len(systems):
        raise InputError("Two of the adapters have the same name.", "Rename one of the folders, or evaluate them in two runs.")
    folders = {}
    for system in systems:
        root = output or Path("results") / system.name
        folder = root / system.name if output and len(systems) > 1 else root
        check_files([folder / runs.FILE_NAME, samples.path_of(folder, "task")])
        if (folder / runs.FILE_NAME).exists():
            _check_system(folder, system)
        folders[system.name] = folder
    return folders


def _check_system(folder: Path, system: System) -> None:
    earlier = runs.read(folder).system
    if earlier.digest != system_record(system).digest:
        raise StorageError(
            f"The output folder {folder} holds the run of another system: {earlier.name} ({_difference(earlier, system)}).",
            "Choose another folder with --output, or remove that one.",
        )


def _difference(old: SystemRecord, new: System) -> str:
    """How two systems differ, in words."""
    words = {
        "model_digest": "other weights",
        "adapter_digest": "another adapter",
        "dtype": f"dtype {old.dtype}",
        "quantization": f"quantization {old.quantization or 'none'}",
        "chat_template_digest": "another chat template, or none",
        "tokenizer_digest": "another tokenizer",
        "engine": f"engine {old.engine}",
        "engine_args": f"engine arguments {old.engine_args or 'none'}",
    }
    differences = [text for name, text in words.items() if getattr(old, name) != getattr(new, name)]
    return ", ".join(differences) or "another identity"
