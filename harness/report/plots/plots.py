"""`harness plot`: which figures there are of what is asked, and where they go."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.errors import InputError
from harness.report.plots.base import Drawable, FigureRequest, FigureSource, Plot, What
from harness.report.plots.drops import drops
from harness.report.plots.families import families
from harness.report.plots.reliability import reliability
from harness.report.plots.style import Format, saved, style
from harness.util.atomic import storage_error, temporary_name
from harness.util.text import plain

_KINDS: Mapping[What, tuple[Callable[[FigureSource, FigureRequest], Drawable], str, str]] = {
    "reliability": (reliability, "reliability diagram", "Measure it: --measures calibration, with --small-samples for few items."),
    "families": (families, "families of measures", "Measure them: --measures all."),
    "drops": (drops, "drop on disturbed copies", "Measure it: --measures robustness,fairness, or --perturb."),
}
"""How each kind is found, what it is called, and what a run takes to have it."""

_MOST = 4
"""Reasons that a message gives."""


def plots(source: FigureSource, asked: FigureRequest) -> list[Plot]:
    """Every figure that the results have of what is asked.

    Raises:
        InputError: no result has such a task, or there is nothing to draw.
        StorageError: kept statistics cannot be read.
    """
    _check_names(source, asked)
    found = {kind: _KINDS[kind][0](source, asked) for kind in asked.kinds}
    made = [plot for one in found.values() for plot in one.plots]
    if not made:
        missing = list(dict.fromkeys(reason for one in found.values() for reason in one.missing))
        what = ", no ".join(_KINDS[kind][1] for kind in asked.kinds)
        where = f" of {', '.join(map(plain, asked.tasks))}" if asked.tasks else ""
        more = f" and {len(missing) - _MOST} more" if len(missing) > _MOST else ""
        why = f": {'; '.join(missing[:_MOST])}{more}" if missing else ""
        raise InputError(f"These results hold no {what}{where}{why}.", " ".join(_KINDS[kind][2] for kind in asked.kinds))
    return made


def places(made: Sequence[Plot], out: Path) -> tuple[list[Path], Format]:
    """Where each figure goes: one file, or a folder of SVG files.

    Raises:
        InputError: several figures would go to one file, or the suffix is of neither format.
    """
    suffix = out.suffix.lower()
    if out.is_dir() or not suffix:
        return [out / f"{name}.svg" for name in _apart([one.name for one in made])], "svg"
    if suffix not in (".svg", ".png"):
        raise InputError(f"Figures are .svg or .png, not {suffix}.", "Name a file of one of these, or a folder.")
    if len(made) > 1:
        names = ", ".join(one.name for one in made[:4]) + (", …" if len(made) > 4 else "")
        raise InputError(f"{len(made)} figures do not go into one file: {names}.", "Name a folder, or choose with --what and --task.")
    return [out], "png" if suffix == ".png" else "svg"


def _apart(names: Sequence[str]) -> list[str]:
    """Names that are equal, numbered from the second on."""
    seen = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if times == 1 else f"{name}-{times}" for name, times in zip(names, seen, strict=True)]


def write(made: Sequence[Plot], files: Sequence[Path], form: Format) -> None:
    """Draw everything, then write it.

    Raises:
        StorageError: a file cannot be written; it stays as it was.
    """
    with style():
        contents = [saved(one.draw(), form, one.title) for one in made]
    for file, content in zip(files, contents, strict=True):
        _write(file, content)


def _write(file: Path, content: bytes) -> None:
    temporary = file.with_name(temporary_name(file.name))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, file)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise storage_error(file, error) from error


def _check_names(source: FigureSource, asked: FigureRequest) -> None:
    known = dict.fromkeys(name for side in source.sides for name in (*side.record.groups, *side.record.tasks))
    for wanted in asked.tasks:
        if wanted not in known and not fnmatch.filter(known, wanted):
            raise InputError(f"No result has a task or group {wanted!r}.", f"They have {', '.join(map(plain, known))}.")
