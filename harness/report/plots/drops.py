"""What is lost on perturbed items: a forest of paired drops, one panel for each metric of a task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.compare.figures import Drop, Side
from harness.compare.figures import drops as drops_of
from harness.report.plots.base import Drawable, FigureRequest, FigureSource, Plot, file_name, notes, title_of
from harness.report.plots.style import FAINT, SMALL, ink, marker, panels, wrapped
from harness.store.signature import Signature
from harness.util.text import interval_text, plain, value_text

_WIDTH = 8.2
_LEGEND = (
    "Losses lie to the right of the line. 95 % intervals of the paired difference, over the items whose text changed. worst: over all "
    "items, the worst score of each item and its perturbed copies, so it cannot be a gain."
)


def drops(source: FigureSource, request: FigureRequest) -> Drawable:
    """A figure for each task that was perturbed."""
    drawable, by_task = Drawable(), dict[str, list[tuple[Side, list[Drop]]]]()
    for side in source.sides:
        drops_by_task: dict[str, list[Drop]] = {}
        for drop in drops_of(side.record):
            if request.wants(drop.name):
                drops_by_task.setdefault(drop.name, []).append(drop)
        for name, lost in drops_by_task.items():
            by_task.setdefault(name, []).append((side, lost))
    for name, everyone in by_task.items():
        sides = [side for side, _ in everyone]
        title = title_of(sides, f"losses on perturbed items of {plain(name)}")
        remarks = notes(sides, name, dict.fromkeys(drop.record.metric for _, lost in everyone for drop in lost))
        draw = partial(drops_figure, title, [(side.label, lost) for side, lost in everyone], remarks)
        drawable.plots.append(Plot(file_name("drops", name), title, draw))
    return drawable


def drops_figure(title: str, systems: Sequence[tuple[str, Sequence[Drop]]], remarks: Sequence[str] = ()) -> Figure:
    """A panel for each metric and template, and in it a line for each perturbation and system.

    Args:
        title: names what is shown.
        systems: each system's name and the drops of one task.
        remarks: how the measurement of the systems differs.
    """
    kinds = list(dict.fromkeys((drop.title, drop.record.metric) for _, drops in systems for drop in drops))
    lines = [_lines(systems, kind) for kind in kinds]
    tall = 0.9 + 0.36 * max(map(len, lines))
    figure, axes = panels(len(kinds), 1, _WIDTH, tall, title, "\n".join([_LEGEND, *remarks]))
    for ax, (name, metric), panel_lines in zip(axes, kinds, lines, strict=True):
        _panel(ax, panel_lines, several=len(systems) > 1)
        ax.set_xlabel(f"lost {plain(metric)} of {plain(name)}, {panel_lines[0][2].record.drop.unit}", fontsize=SMALL)
    return figure


Line = tuple[int, str, Drop]
"""Place of a system, its name, and what it lost."""


def _lines(systems: Sequence[tuple[str, Sequence[Drop]]], kind: tuple[str, str]) -> list[Line]:
    """By perturbation, then by system."""
    lines = [
        (place, name, drop) for place, (name, drops) in enumerate(systems) for drop in drops if (drop.title, drop.record.metric) == kind
    ]
    order = {key: place for place, key in enumerate(dict.fromkeys(_perturbation(drop) for _, _, drop in lines))}
    return sorted(lines, key=lambda line: (order[_perturbation(line[2])], line[0]))


def _perturbation(drop: Drop) -> tuple[Signature, str]:
    return drop.record.perturbation, drop.record.family


def _panel(ax: Axes, lines: Sequence[Line], several: bool) -> None:
    ax.axvline(0, color=FAINT, linewidth=1)
    for y, (place, _, drop) in enumerate(lines):
        lost = drop.record.drop
        if lost.value is None:
            continue
        if lost.ci:
            ax.hlines(y, *lost.ci, color=ink(place), linewidth=1.6)
        ax.plot([lost.value], [y], marker(place), color=ink(place), markersize=6)
    for y, (_, _, drop) in enumerate(lines):
        ax.annotate(_words(drop), (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, annotation_clip=False)
    ax.set_yticks(range(len(lines)), [_label(line, several) for line in lines], fontsize=SMALL)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.margins(x=0.08)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.spines["left"].set_visible(False)


def _label(line: Line, several: bool) -> str:
    _, name, drop = line
    return wrapped(f"{plain(drop.label)}, {plain(name)}" if several else plain(drop.label), 2.6)


def _words(drop: Drop) -> str:
    """Before and after, what is lost, and over how many items."""
    record = drop.record
    scores = " → ".join(value_text(score.value, score.unit) for score in (record.before, record.after))
    low, high = record.drop.ci or (None, None)
    lost = f"{value_text(record.drop.value, record.drop.unit)} {interval_text(low, high, record.drop.unit)}".rstrip()
    why = f", {record.drop.reason}" if record.drop.value is None else ""
    return f"{scores}  lost {lost}\n{record.changed:,} of {record.items:,} items changed{why}"
