"""Format numbers and names for reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "—"
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def value_text(value: float | None, unit: str) -> str:
    """A score at the precision of its unit: three decimals for shares, two for points, about four digits otherwise."""
    if value is None:
        return NONE
    if unit == "share":
        return without_zero_sign(f"{value:.3f}")
    if unit == "points" or 10 <= abs(value) < 1e5:
        return without_zero_sign(f"{value:.2f}")
    if abs(value) < 1e-12:
        return "0.000"
    return f"{value:.3f}" if 1e-3 <= abs(value) < 10 or value == 0 else f"{value:.3g}"


def without_zero_sign(text: str) -> str:
    """A number as text, without its sign where it was rounded to 0: `-0.0000` becomes `0.0000`."""
    return text if text.strip("-+0.") else text.lstrip("-+")


def interval_text(low: float | None, high: float | None, unit: str) -> str:
    """An interval such as `[0.350, 0.440]`; empty without bounds."""
    return "" if low is None or high is None else f"[{value_text(low, unit)}, {value_text(high, unit)}]"


def seconds_text(seconds: float) -> str:
    """A duration such as `4.2 s`, `3 min 20 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def bytes_text(size: int) -> str:
    """A size such as `310 MiB` or `2.1 GiB`."""
    power = min(int(math.log2(size) // 10), 4) if size else 0
    return f"{size / 1024**power:.{1 if power > 2 else 0}f} {_SIZES[power]}"


def plain(name: str) -> str:
    """A name that is safe to print on one line: control characters become the replacement character."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)


def some(names: Sequence[str], most: int = 4) -> str:
    """Names separated by commas; of many, the first ones and the number of the rest."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
