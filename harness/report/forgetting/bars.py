"""An interval drawn in one line of characters, as a forest plot has them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.compare.comparison import MetricComparison
from harness.compare.highlights import ends, in_margins

_LEAST, _MOST = 3.0, 15.0


def reach(scores: Sequence[MetricComparison]) -> float:
    """How many margins the bars of these scores show to each side: enough for nearly all, and the same for all."""
    distances = [abs(in_margins(score, end)) for score in scores if (interval := ends(score)) for end in interval]
    return min(max([_LEAST, *distances]), _MOST)


def bar(score: MetricComparison, limit: float, width: int) -> str:
    """The change with its interval, better to the right: ● between the ends of ━, │ at no change, ┊ at the margin.

    Args:
        score: what is drawn, in margins.
        limit: margins to each side; what lies beyond ends in an arrow.
        width: characters, an odd number.
    """
    interval = ends(score)
    if interval is None or score.change is None:
        return ""
    low, high = (in_margins(score, end) for end in interval)
    value = in_margins(score, score.change)

    def place(margins: float) -> int:
        return round((min(max(margins, -limit), limit) + limit) / (2 * limit) * (width - 1))

    cells = [" "] * width
    cells[place(0.0)] = "│"
    cells[place(-1.0)] = "┊"
    for cell in range(place(low), place(high) + 1):
        cells[cell] = "┿" if cells[cell] == "│" else "━"
    if low < -limit:
        cells[0] = "◂"
    if high > limit:
        cells[-1] = "▸"
    cells[place(value)] = "●"
    return "".join(cells)
