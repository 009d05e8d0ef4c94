"""`harness plot`: which of the requested figures there are, and where they go."""

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
    "drops": (drops, "drop on perturbed items", "Measure it: --measures robustness,fairness, or --perturb."),
}
"""How each kind is made, what it is called, and which option of a run measures it."""

_MOST = 4
"""Reasons that a message gives."""


def plots(source: FigureSource, request: FigureRequest) -> list[Plot]:
    """Every requested figure that the results have.

    Raises:
        InputError: no result has such a task, or there is nothing to draw.
        StorageError: saved statistics cannot be read.
    """
    _check_names(source, request)
    drawables = [_KINDS[kind][0](source, request) for kind in request.kinds]
    figures = [plot for drawable in drawables for plot in drawable.plots]
    if not figures:
        missing = list(dict.fromkeys(reason for drawable in drawables for reason in drawable.missing))
        what = ", no ".join(_KINDS[kind][1] for kind in request.kinds)
        where = f" of {', '.join(map(plain, request.tasks))}" if request.tasks else ""
        more = f" and {len(missing) - _MOST} more" if len(missing) > _MOST else ""
        why = f": {'; '.join(missing[:_MOST])}{more}" if missing else ""
        raise InputError(f"These results have no {what}{where}{why}.", " ".join(_KINDS[kind][2] for kind in request.kinds))
    return figures


def places(made: Sequence[Plot], out: Path) -> tuple[list[Path], Format]:
    """Where each figure goes: one file, or a folder of SVG files.

    Raises:
        InputError: several figures would go to one file, or the suffix is of neither format.
    """
    suffix = out.suffix.lower()
    if out.is_dir() or not suffix:
        return [out / f"{name}.svg" for name in _apart([plot.name for plot in made])], "svg"
    if suffix not in (".svg", ".png"):
        raise InputError(f"Figures are .svg or .png, not {suffix}.", "Name an .svg or .png file, or a folder.")
    if len(made) > 1:
        names = ", ".join(plot.name for plot in made[:4]) + (", …" if len(made) > 4 else "")
        raise InputError(
            f"{len(made)} figures do not fit into one file: {names}.", "Name a folder, or choose one figure with --what and --task."
        )
    return [out], "png" if suffix == ".png" else "svg"


def _apart(names: Sequence[str]) -> list[str]:
    """Names that are equal, numbered from the second on."""
    seen = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if times == 1 else f"{name}-{times}" for name, times in zip(names, seen, strict=True)]


def write(made: Sequence[Plot], files: Sequence[Path], form: Format) -> None:
    """Draw everything, then write it.

    Raises:
        StorageError: a file cannot be written; an earlier file stays as it was.
    """
    with style():
        contents = [saved(plot.draw(), form, plot.title) for plot in made]
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


def _check_names(source: FigureSource, request: FigureRequest) -> None:
    known = dict.fromkeys(name for side in source.sides for name in (*side.record.groups, *side.record.tasks))
    for pattern in request.tasks:
        if pattern not in known and not fnmatch.filter(known, pattern):
            raise InputError(f"No result has a task or group {pattern!r}.", f"They have {', '.join(map(plain, known))}.")
