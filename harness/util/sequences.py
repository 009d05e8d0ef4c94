"""Common prefixes of sequences."""

from __future__ import annotations

from typing import Any, TypeVar

Slices = TypeVar("Slices", str, tuple[Any, ...])


def common_prefix(left: Slices, right: Slices) -> int:
    """Length of the common prefix of two texts or tuples; compares slices, which is fast for long prefixes."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
