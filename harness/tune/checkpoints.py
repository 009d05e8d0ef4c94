"""Checkpoints that survive a kill at any moment: a checkpoint is complete once its history file exists; the previous one goes then."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.errors import InputError, StorageError
from harness.models import weight_files
from harness.tune.progress import TrainingHistory
from harness.util.atomic import storage_error, write_text

PROGRESS = "progress.json"
WEIGHTS = "trained.safetensors"
_DISK_WORDS = ("No space left", "PytorchStreamWriter failed", "File too large", "quota")


@dataclass(frozen=True)
class Workplace:
    """The folder of an unfinished training: its settings, its last checkpoint, the best weights so far.

    Args:
        folder: beside the place where the weights will be.
    """

    folder: Path

    def best(self, step: int) -> Path:
        """The file of a step's weights, written when they were the best so far."""
        return self.folder / f"best-{step}-{WEIGHTS}"

    def open(self, settings: Mapping[str, Any], *, fresh: bool) -> None:
        """Begin, or go on with what was begun with the same settings.

        Args:
            settings: everything that decides the weights.
            fresh: forget what was begun.

        Raises:
            InputError: a training with other settings was begun here.
        """
        path = self.folder / "settings.json"
        if fresh:
            self.remove()
        if path.is_file():
            begun = _object(path)
            unlike = sorted(name for name in {*begun, *settings} if begun.get(name) != settings.get(name))
            if unlike:
                raise InputError(
                    f"{self.folder} holds an unfinished training with other settings ({', '.join(unlike)}).",
                    "Give the settings it was begun with, choose another --name, or pass --fresh to forget it.",
                )
        else:
            write_text(path, json.dumps(dict(settings), indent=2) + "\n")

    def remove(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def last(self) -> Path | None:
        """The last whole checkpoint."""
        return max(self._whole(), key=step_of, default=None)

    def _whole(self) -> list[Path]:
        return [folder for folder in self.folder.glob("checkpoint-*") if (folder / PROGRESS).is_file()]

    def finish_checkpoint(self, folder: Path, history: TrainingHistory) -> None:
        """Make a written checkpoint count, and let go of the others."""
        write_text(folder / PROGRESS, history.text())
        for other in self.folder.glob("checkpoint-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        best = self.best(history.best.step) if history.best else None
        for file in self.folder.glob(f"best-*-{WEIGHTS}"):
            if file != best:
                file.unlink()


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}.", "Pass --fresh to train from the start.") from error
    if not isinstance(content, dict):
        raise StorageError(f"{path} holds no settings of a training.", "Pass --fresh to train from the start.")
    return content


def step_of(checkpoint: Path) -> int:
    """After which step a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def save_weights(parameters: Mapping[str, torch.nn.Parameter], path: Path) -> None:
    """Write parameters into one file, whole or not at all."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({name: value.detach().cpu().contiguous() for name, value in parameters.items()}, part)
    part.replace(path)


def load_weights(parameters: Mapping[str, torch.nn.Parameter], path: Path) -> None:
    """Give parameters the values in a file."""
    from safetensors.torch import load_file

    weight_files.check_whole([path], StorageError)
    stored = load_file(path)
    if stored.keys() != parameters.keys():
        raise StorageError(f"{path} holds other weights than this training has.", "Pass --fresh to train from the start.")
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(stored[name])


def check_space(folder: Path, needed: int) -> None:
    """Raise StorageError when the disk below a folder has fewer bytes left."""
    place = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageError(
            f"The training needs {needed / 1e6:,.0f} MB in {folder}, and {free / 1e6:,.0f} MB are free.",
            "Free some space, or choose another folder with --output.",
        )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, and whatever else keeps `path` from being written, into one message.

    torch and safetensors raise errors of their own, with the system's reason in the text.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error
    except Exception as error:
        if not any(word in str(error) for word in _DISK_WORDS):
            raise
        raise storage_error(path, OSError(errno.ENOSPC, "No space left on device")) from error
