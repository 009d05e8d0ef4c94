"""Reliability diagrams: accuracy against the model's confidence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.compare.figures import Diagram, Point, Side, diagrams
from harness.report.plots.base import Drawable, FigureRequest, FigureSource, Plot, file_name, notes, title_of
from harness.report.plots.style import FAINT, SMALL, ink, marker, panels, wrapped
from harness.util.text import interval_text, plain, value_text

_WIDTH = 3.6
_LEGEND = "Points: bins of items by confidence, with their number and the 95 % interval of their accuracy. Dashed: perfect calibration."
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def reliability(source: FigureSource, request: FigureRequest) -> Drawable:
    """A figure for each task, template and group that has bins.

    Raises:
        StorageError: saved statistics cannot be read.
    """
    drawable, by_title = Drawable(), dict[str, list[tuple[Side, Diagram]]]()
    for side in source.sides:
        without = {name: task.without["calibration"] for name, task in side.record.tasks.items() if "calibration" in task.without}
        drawable.missing += [f"{plain(side.label)} on {plain(name)}: {plain(why)}" for name, why in without.items() if request.wants(name)]
        for diagram in diagrams(side, source.load, source.bins):
            if not request.wants(diagram.name) or diagram.measure != request.metric:
                continue
            if diagram.points:
                by_title.setdefault(diagram.title, []).append((side, diagram))
            else:
                drawable.missing.append(f"{plain(side.label)} on {plain(diagram.title)}: {plain(diagram.reason or '')}")
    for name, drawn in by_title.items():
        sides, first = [side for side, _ in drawn], drawn[0][1]
        title = title_of(sides, f"reliability on {plain(name)}")
        remarks = notes(sides, first.name, [first.metric])
        draw = partial(reliability_figure, title, [(side.label, diagram) for side, diagram in drawn], remarks)
        drawable.plots.append(Plot(file_name("reliability", name), title, draw))
    return drawable


def reliability_figure(title: str, systems: Sequence[tuple[str, Diagram]], remarks: Sequence[str] = ()) -> Figure:
    """One panel for each system.

    Args:
        title: names what is shown.
        systems: each system's name and its diagram.
        remarks: how the measurement of the systems differs.
    """
    figure, axes = panels(len(systems), 4, _WIDTH, 3.9, title, "\n".join([_LEGEND, *remarks]))
    for place, (ax, (name, diagram)) in enumerate(zip(axes, systems, strict=True)):
        _panel(ax, diagram, place)
        ax.set_title(plain(name) if len(systems) > 1 else "")
        ax.set_xlabel(f"confidence\n{wrapped(error_text(diagram), _WIDTH - 0.6)}", fontsize=SMALL)
    axes[0].set_ylabel("accuracy")
    return figure


def error_text(diagram: Diagram) -> str:
    """The calibration error with its interval and n, and what it would be by chance."""
    record = diagram.record
    low, high = record.ci or (None, None)
    words = [f"{plain(diagram.metric)} {value_text(record.value, record.unit)} {interval_text(low, high, record.unit)}".rstrip()]
    words.append(f"n\N{NO-BREAK SPACE}{record.n:,}")
    if "by chance" in record.beside:
        words.append(f"by\N{NO-BREAK SPACE}chance\N{NO-BREAK SPACE}{value_text(record.beside['by chance'], record.unit)}")
    return ", ".join(words)


def _panel(ax: Axes, diagram: Diagram, place: int) -> None:
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", xticks=_TICKS, yticks=_TICKS)
    ax.plot([0, 1], [0, 1], linestyle="--", color=FAINT, linewidth=1, zorder=1)
    for point in diagram.points:
        ax.vlines(point.confidence, point.low, point.high, color=ink(place), linewidth=1, alpha=0.6, zorder=2)
        ax.plot([point.confidence], [point.accuracy], marker(place), color=ink(place), markersize=5.5, zorder=3)
        _count(ax, point)


def _count(ax: Axes, point: Point) -> None:
    """How many items, upright below the interval, or above it where there is no room."""
    below = point.low > 0.12
    ax.annotate(
        f"{point.count:,}",
        (point.confidence, point.low if below else point.high),
        (0, -2 if below else 2),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        rotation="vertical",
        fontsize=6,
    )
