"""Checks of arguments that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def check_places(files: Mapping[str, Path | None]) -> None:
    """Make sure that files can be written, before anything is computed.

    Args:
        files: by the option that names them; None where the option is not given.

    Raises:
        StorageError: a file cannot be written.
    """
    from harness.util.writable import check_files

    for option, path in files.items():
        if path is not None:
            check_files([path], option)
