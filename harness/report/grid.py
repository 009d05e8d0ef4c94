"""A table of systems and quantities for a terminal, transposed or split into blocks where it is too wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

TOP = 16
"""Characters of a line at the top of a column."""

_GAP = 2  # of which the box draws one
_SIDE = 32
_BREAKS = "+@/_-. "


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a table shows of each system.

    Attributes:
        head: its lines at the top of a column.
        side: its name at the side of a row, where the table is transposed.
        values: one for each system.
        intervals: of the values, empty where there is none.
    """

    head: Sequence[str]
    side: str
    values: Sequence[Text]
    intervals: Sequence[str]

    def cells(self, stacked: bool) -> list[Text]:
        """Values with their intervals beside or, if `stacked`, below them."""
        return [
            Text.assemble(value, (f"{chr(10) if stacked else ' '}{interval}", "dim")) if interval else value
            for value, interval in zip(self.values, self.intervals, strict=True)
        ]


def tables(labels: Sequence[str], quantities: Sequence[Quantity], width: int, noun: str = "task") -> list[RenderableType]:
    """The blocks of the table, with a blank line below each.

    Args:
        labels: of the systems.
        quantities: at least one.
        width: of the terminal, in characters.
        noun: what a quantity is.
    """
    grid = _fitting(labels, quantities, width, noun)
    blocks: list[RenderableType] = []
    for tops in _blocks(grid, width):
        blocks += [_block(grid, tops), Text()]
    return blocks


def pieces(name: str, width: int) -> list[str]:
    """A name cut into lines of at most `width`, after one of `+@/_-. ` where there is one."""
    lines = []
    while len(name) > width:
        cut = max(name.rfind(mark, 0, width) + 1 for mark in _BREAKS) or width
        lines.append(name[:cut])
        name = name[cut:]
    return [*lines, name]


@dataclass(frozen=True, slots=True)
class _Grid:
    """A table before it is cut to width: texts at the top, at the side, and cells by [side][top]."""

    corner: str
    tops: list[Text]
    sides: list[Text]
    cells: list[list[Text]]

    def side_width(self) -> int:
        return max(_width(side) for side in self.sides)

    def top_widths(self) -> list[int]:
        return [max(map(_width, column)) for column in zip(self.tops, *self.cells, strict=True)]

    def height(self) -> int:
        """Lines of one block."""
        return sum(max(_height(side), max(map(_height, line))) for side, line in zip(self.sides, self.cells, strict=True)) + 4


def _fitting(labels: Sequence[str], quantities: Sequence[Quantity], width: int, noun: str) -> _Grid:
    """The first layout that fits in one block: systems in rows, or in columns, with intervals beside or below; else the shortest.

    Leaders are easier to spot where systems are rows, so a table in blocks is transposed only where that saves much.
    """
    choices: list[tuple[float, _Grid]] = []
    for transposed in (False, True):
        for stacked in (False, True):
            grid = _transposed(labels, quantities, stacked, noun) if transposed else _upright(labels, quantities, stacked)
            blocks = len(_blocks(grid, width))
            if blocks == 1:
                return grid
            choices.append((blocks * grid.height() * (1.2 if transposed else 1.0), grid))
    return min(choices, key=lambda choice: choice[0])[1]


def _upright(labels: Sequence[str], quantities: Sequence[Quantity], stacked: bool) -> _Grid:
    lines = [list(line) for line in zip(*(quantity.cells(stacked) for quantity in quantities), strict=True)]
    return _Grid("system", [_text(quantity.head) for quantity in quantities], [_text(pieces(label, _SIDE)) for label in labels], lines)


def _transposed(labels: Sequence[str], quantities: Sequence[Quantity], stacked: bool, noun: str) -> _Grid:
    sides = [_text(pieces(quantity.side, _SIDE)) for quantity in quantities]
    cells = [quantity.cells(stacked) for quantity in quantities]
    return _Grid(noun, [_text(pieces(label, TOP)) for label in labels], sides, cells)


def _text(lines: Sequence[str]) -> Text:
    return Text("\n".join(lines))


def _width(text: Text) -> int:
    return max(map(cell_len, text.plain.split("\n")))


def _height(text: Text) -> int:
    return text.plain.count("\n") + 1


def _blocks(grid: _Grid, width: int) -> list[range]:
    """Ranges of tops that fit beside the sides in `width` characters."""
    room = width - grid.side_width() - _GAP
    blocks, start, used = [], 0, 0
    widths = grid.top_widths()
    for top, need in enumerate(widths):
        if used + need + _GAP > room and top > start:
            blocks.append(range(start, top))
            start, used = top, 0
        used += need + _GAP
    return [*blocks, range(start, len(widths))]


def _block(grid: _Grid, tops: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    table.add_column(grid.corner, overflow="fold")
    for top in tops:
        table.add_column(grid.tops[top], justify="right", overflow="fold")
    for side, line in zip(grid.sides, grid.cells, strict=True):
        table.add_row(side, *(line[top] for top in tops))
    return table
