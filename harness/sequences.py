"""What two sequences begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

Slices = TypeVar("Slices", str, tuple[Any, ...])


def common_prefix(one: Slices, other: Slices) -> int:
    """Length of what two texts or tuples begin with; compares slices, which is fast on long equal beginnings."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def holds(sequence: Sequence[int], part: Sequence[int]) -> bool:
    """Whether `part` stands somewhere in a sequence, its elements one after the other."""
    width = len(part)
    return any(tuple(sequence[first : first + width]) == tuple(part) for first in range(len(sequence) - width + 1))
