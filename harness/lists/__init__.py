"""Word lists: the files in this folder, or a user's `lists/NAME.yaml` below a folder of HARNESS_PATH, which replaces one.

In: the name of a list. Out: its content, and its digest for signatures.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import yaml

from harness.errors import InputError
from harness.util import paths

_BUILT_IN = Path(__file__).resolve().parent


def read(name: str) -> Any:
    """Read a word list.

    Raises:
        InputError: there is no such list, or its file is not YAML.
    """
    path = _path(name)
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"The word list {path} is not YAML: {error}.", "Fix the file.") from error


def digest(name: str) -> str:
    """SHA-256 of a list's file (hex, 8 characters), for signatures."""
    return _digest(_path(name))


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def _path(name: str) -> Path:
    places = [folder / f"{name}.yaml" for folder in (*paths.added("lists"), _BUILT_IN)]
    for place in places:
        if place.is_file():
            return place
    known = ", ".join(sorted({path.stem for folder in {place.parent for place in places} for path in folder.glob("*.yaml")}))
    raise InputError(f"There is no word list {name!r}.", f"Known lists: {known}.")
