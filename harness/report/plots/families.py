"""The seven families of measures of one task or group: a panel for each family, a line for each system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.compare.families import FAMILIES
from harness.compare.figures import Side
from harness.contract import Family
from harness.report.measures import MeasureCell, measured, rows
from harness.report.plots.base import Drawable, FigureRequest, FigureSource, Plot, file_name, notes, title_of
from harness.report.plots.style import FAINT, SMALL, ink, marker, panels, wrapped
from harness.store.records import MetricRecord
from harness.util.text import NONE, interval_text, plain, value_text

_WIDTH = 3.1
_LEGEND = "Values with 95 % intervals and n, of the first measure in each family."

Cells = Mapping[Family, MeasureCell]


def families(source: FigureSource, request: FigureRequest) -> Drawable:
    """A figure for each task and group, where more than accuracy was measured."""
    drawable, by_name = Drawable(), dict[str, list[tuple[Side, Cells]]]()
    for side in source.sides:
        if not measured(side.record):
            drawable.missing.append(f"only accuracy was measured of {plain(side.label)}")
            continue
        for name, cells in {row.name: row.cells for row in rows(side.record) if request.wants(row.name)}.items():
            if any(map(_has_value, cells.values())):
                by_name.setdefault(name, []).append((side, cells))
    for name, measured_sides in by_name.items():
        sides = [side for side, _ in measured_sides]
        title = title_of(sides, f"families of measures on {plain(name)}")
        remarks = notes(sides, name, dict.fromkeys(cell.name for _, cells in measured_sides for cell in cells.values()))
        draw = partial(families_figure, title, [(side.label, cells) for side, cells in measured_sides], remarks)
        drawable.plots.append(Plot(file_name("families", name), title, draw))
    return drawable


def families_figure(title: str, systems: Sequence[tuple[str, Cells]], remarks: Sequence[str] = ()) -> Figure:
    """A panel for each family that has a value for some system; the caption says why others have none.

    Args:
        title: names what is shown.
        systems: each system's name and its measures.
        remarks: how the measurement of the systems differs.
    """
    shown = [family for family in FAMILIES if any(_has_value(cells.get(family)) for _, cells in systems)]
    caption = "\n".join([_LEGEND, *_reasons(systems), *remarks])
    figure, axes = panels(max(1, len(shown)), 4, _WIDTH, 1.1 + 0.42 * len(systems), title, caption)
    for family, ax in zip(shown, axes, strict=False):
        _panel(ax, family, [cells.get(family) for _, cells in systems])
    for place, ax in enumerate(axes):
        names = [wrapped(plain(name), 1.6) for name, _ in systems] if place % 4 == 0 else [""] * len(systems)
        ax.set_yticks(range(len(systems)), names)
        ax.set_ylim(len(systems) - 0.5, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    return figure


def _has_value(cell: MeasureCell | None) -> bool:
    return cell is not None and cell.record is not None and cell.record.value is not None


def _panel(ax: Axes, family: Family, cells: Sequence[MeasureCell | None]) -> None:
    first = next(cell for cell in cells if _has_value(cell))
    assert first is not None
    assert first.record is not None
    better = "more is better" if first.record.higher_is_better else "less is better"
    ax.set_title(family, loc="left", fontweight="bold")
    ax.set_xlabel(f"{plain(first.name)}, {first.record.unit}; {better}", fontsize=SMALL)
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.margins(x=0.12)
    for place, cell in enumerate(cells):
        ax.axhline(place, color=FAINT, linewidth=0.4, zorder=0)
        if cell is not None and _has_value(cell) and cell.record is not None:
            _line(ax, cell.record, place, "" if cell.name == first.name else f", {plain(cell.name)}")
        else:
            ax.annotate(NONE, (0.5, place), xycoords=("axes fraction", "data"), ha="center", va="center")


def _line(ax: Axes, record: MetricRecord, place: int, other: str) -> None:
    assert record.value is not None
    low, high = record.ci or (None, None)
    if low is not None and high is not None:
        ax.hlines(place, low, high, color=ink(place), linewidth=1.6)
    ax.plot([record.value], [place], marker(place), color=ink(place), markersize=6)
    words = f"{value_text(record.value, record.unit)} {interval_text(low, high, record.unit)}  n {record.n:,}{other}"
    ax.annotate(words, (0.0, place), (0, 7), xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=7)


def _reasons(systems: Sequence[tuple[str, Cells]]) -> list[str]:
    """Why there is no value, each reason once for all systems that share it."""
    shared: dict[tuple[str, str], list[str]] = {}
    for name, cells in systems:
        for family, cell in cells.items():
            if not _has_value(cell):
                shared.setdefault((family, cell.reason or ""), []).append(plain(name))
    return [
        f"No {family}{f' of {names[0]}' if len(names) == 1 < len(systems) else ''}: {plain(reason)}"
        for (family, reason), names in shared.items()
    ]
