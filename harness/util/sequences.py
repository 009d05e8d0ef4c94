"""The common prefix of two sequences, and one sequence within another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def common_prefix(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Length of the common prefix of two texts, tuples or lists.

    Slices are compared by bisection, which is fast on long equal beginnings.

    Args:
        first: a sequence whose slices are compared by content.
        second: another of the same type.
    """
    low, high = 0, min(len(first), len(second))
    if first[:high] == second[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


def contains(sequence: Sequence[int], part: Sequence[int]) -> bool:
    """Whether `part` occurs in a sequence as consecutive elements."""
    width = len(part)
    return any(tuple(sequence[first : first + width]) == tuple(part) for first in range(len(sequence) - width + 1))
