"""How all figures look, and how they are saved: in greys and shapes, text as text, and equal bytes for equal results."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Format = Literal["svg", "png"]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INKS = ("#000000", "#5a5a5a", "#2f6db3", "#8a8a8a", "#b35a1f", "#3d3d3d", "#6b9a3d", "#a0a0a0")
"""Colours of systems, in turn; markers tell apart those that look alike in print."""

FAINT = "#9a9a9a"
SMALL = 8.0
"""Font size of captions and numbers, in points."""

_DPI = 160
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "harness",
    "text.parse_math": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Use these settings, not the user's, while figures are drawn and saved."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def saved(figure: Figure, form: Format, title: str) -> bytes:
    """The file's content; it holds neither a date nor a release, so equal results give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None, "Creator": None, "Title": title}, "png": {"Software": None, "Title": title}}[form]
    figure.savefig(buffer, format=form, dpi=_DPI, metadata=metadata)
    return buffer.getvalue()


def marker(place: int) -> str:
    """Of the system at this place."""
    return MARKERS[place % len(MARKERS)]


def ink(place: int) -> str:
    """Colour of the system at this place."""
    return INKS[place % len(INKS)]


def wrapped(text: str, width: float) -> str:
    """The text in lines that fit a width in inches."""
    return "\n".join(textwrap.fill(line, max(20, int(width * 14))) for line in text.split("\n"))


def panels(number: int, columns: int, width: float, height: float, title: str, caption: str) -> tuple[Figure, list[Axes]]:
    """A figure of panels, with a title above and a caption below.

    Args:
        number: of panels.
        columns: the most panels side by side.
        width: of a panel, in inches.
        height: of a panel, in inches.
        title: names what is shown.
        caption: what the reader must know; may be empty.
    """
    across = min(number, columns)
    rows = math.ceil(number / across)
    below = wrapped(caption, width * across)
    title = "\n".join(textwrap.wrap(title, max(24, int(width * across * 8))))
    tall = height * rows + 0.25 * (1 + title.count("\n")) + 0.16 * (1 + below.count("\n"))
    figure = Figure(figsize=(width * across, tall), layout="constrained")
    grid = figure.subplots(rows, across, squeeze=False)
    figure.suptitle(title, fontweight="bold", fontsize=11)
    if below:
        figure.supxlabel(below, fontsize=SMALL, x=0.01, ha="left")
    axes = list(grid.flat)
    for spare in axes[number:]:
        spare.remove()
    return figure, axes[:number]
