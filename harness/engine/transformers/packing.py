"""Sequences with common prefixes, packed into one row: each token once, attending to the tokens before it in its own sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.contract import TokenIds
from harness.util.sequences import common_prefix

Indices = npt.NDArray[np.int64]

Span = tuple[int, int, Indices]
"""(first, last + 1, what the first token follows, in order): tokens of a packed row each of which follows the one before."""


@dataclass(frozen=True)
class PackedRow:
    """A row of tokens that holds several sequences.

    Attributes:
        tokens: [length] token ids.
        positions: [length] each token's place in its own sequence, the cached prefix counted.
        paths: for each sequence, in the order in which they were given, where its tokens stand; the cached prefix is left out.
        spans: they cover the row, in order.
    """

    tokens: Indices
    positions: Indices
    paths: tuple[Indices, ...]
    spans: tuple[Span, ...]

    @property
    def chain(self) -> bool:
        """Whether this is one sequence, so that plain causal attention serves."""
        return len(self.spans) == 1

    def __len__(self) -> int:
        return len(self.tokens)


def lay_out(sequences: Sequence[TokenIds], skip: int) -> PackedRow:
    """Pack sequences so that common prefixes are there once.

    Args:
        sequences: token ids; all begin with the same `skip` tokens.
        skip: length of the cached prefix.
    """
    tokens: list[int] = []
    positions: list[int] = []
    paths: dict[int, Indices] = {}
    spans: list[Span] = []
    before: TokenIds = ()
    path: Indices = np.empty(0, dtype=np.int64)
    for number in sorted(range(len(sequences)), key=lambda index: (sequences[index], index)):
        sequence = sequences[number]
        common = max(skip, common_prefix(before, sequence)) if before else skip
        new = np.arange(len(tokens), len(tokens) + len(sequence) - common)
        trunk = path[: common - skip]
        if len(new):
            spans.append((int(new[0]), int(new[-1]) + 1, trunk))
        tokens += sequence[common:]
        positions += range(common, len(sequence))
        path = paths[number] = np.concatenate([trunk, new])
        before = sequence
    return PackedRow(np.array(tokens), np.array(positions), tuple(paths[number] for number in range(len(sequences))), tuple(spans))


def attention(packed_rows: Sequence[PackedRow], prefix: int) -> npt.NDArray[np.bool_]:
    """Which key each query sees: [packed rows, longest, prefix + longest]; padding sees itself alone."""
    longest = max(map(len, packed_rows))
    seen = np.zeros((len(packed_rows), longest, prefix + longest), dtype=np.bool_)
    for table, packed_row in zip(seen, packed_rows, strict=True):
        table[: len(packed_row), :prefix] = True
        for first, end, trunk in packed_row.spans:
            table[first:end, prefix + trunk] = True
            table[first:end, prefix + first : prefix + end] = np.tri(end - first, dtype=np.bool_)
        rest = np.arange(len(packed_row), longest)
        table[rest, prefix + rest] = True
    return seen
