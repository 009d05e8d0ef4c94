"""Paths of built-in files, of the user's folders and of the cache."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import DataError, InputError

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(kind: str) -> Path:
    """The folder of the built-in `tasks` or `adapters`: in the wheel, or at the top of a checkout."""
    inside = _PACKAGE / "_shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def added(kind: str) -> list[Path]:
    """The user's folders of a kind (`tasks`, `metrics`, `adapters`, `models`) below the folders of HARNESS_PATH."""
    return [root / kind for root in _roots() if (root / kind).is_dir()]


def missing_roots() -> list[Path]:
    """Folders in HARNESS_PATH that do not exist."""
    return [root for root in _roots() if not root.is_dir()]


def _roots() -> list[Path]:
    return [_of_environment("HARNESS_PATH", part) for part in os.environ.get("HARNESS_PATH", "").split(os.pathsep) if part]


def expanded(name: str | Path) -> Path:
    """Expand `~` in a path.

    Raises:
        InputError: the path starts with the home folder of an unknown user.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise InputError(f"There is no home folder for {str(name)!r}.", "Write the full path.") from error


def _of_environment(variable: str, value: str) -> Path:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(value).decode("utf-8", "backslashreplace")
        raise InputError(f"{variable} is not valid UTF-8: '{shown}'.", "Rename the folder.") from error
    return expanded(value)


def cache() -> Path:
    """The folder of cached responses, converted models and digests: HARNESS_CACHE, or `harness` in the user's cache folder."""
    chosen = os.environ.get("HARNESS_CACHE")
    if chosen:
        return _of_environment("HARNESS_CACHE", chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harness"


def data_folder(chosen: Path | None) -> Path | None:
    """The folder of local dataset and model snapshots: `--data`, or HARNESS_DATA, or None.

    Raises:
        DataError: the folder of `--data` does not exist.
    """
    if chosen is not None:
        if not chosen.is_dir():
            raise DataError(f"The data folder {chosen} does not exist.", "Correct --data.")
        return chosen
    from_environment = os.environ.get("HARNESS_DATA")
    return _of_environment("HARNESS_DATA", from_environment) if from_environment else None


def offline() -> bool:
    """Whether offline mode is on: HARNESS_OFFLINE, HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set."""
    names = ("HARNESS_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    return any(os.environ.get(name, "").lower() not in ("", "0", "false", "no") for name in names)
