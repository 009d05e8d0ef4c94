"""What a run's sequences have in common, computed once: which prefixes are held, and what is run behind them, decided without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby

from harness.contract import TokenIds
from harness.engine.transformers.planning import Planned
from harness.util.sequences import common_prefix

PREFIX_COST = 32
"""Tokens of work that a forward of its own costs beside its tokens; a prefix is held where that saves more."""

_WHOLE = 16
"""Requests that share this many tokens behind the held prefix go into one strip if they fit."""

_DEEPEST = 64
"""Levels of prefixes within prefixes that are looked at."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward: strips of requests behind a prefix that is on the device already.

    Attributes:
        held: the prefix in the pieces in which it is computed, each once, before all passes that begin with it.
        strips: requests whose rows are laid side by side in one sequence; a strip is one row of the forward.
    """

    prefix: tuple[TokenIds, ...]
    packed_rows: tuple[tuple[Planned, ...], ...]

    @property
    def skip(self) -> int:
        """Tokens held."""
        return sum(map(len, self.prefix))

    @property
    def requests(self) -> list[Planned]:
        """The requests, strip by strip."""
        return [planned for packed_row in self.packed_rows for planned in packed_row]


def flat_size(rows: Sequence[TokenIds], before: TokenIds = ()) -> int:
    """Tokens of sequences laid out in this order, each sharing what it begins with with the one before."""
    size = 0
    for row in rows:
        size += len(row) - common_prefix(before, row)
        before = row
    return size


def ordered_rows(packed_row: Sequence[Planned]) -> list[TokenIds]:
    """The sequences of some requests in the order in which they are laid out."""
    return sorted(row.tokens for planned in packed_row for row in planned.rows)


def plan_passes(planned: Sequence[Planned], budget: int, packed_row: int, logit_budget: int) -> list[Pass]:
    """Forwards over requests of a decoder-only model, in an order in which equal beginnings follow each other.

    Within a strip nothing is computed twice. A prefix that the requests of several strips share is held if that saves more than
    computing it apart costs. The plan does not depend on the order of the input.

    Args:
        planned: requests with rows; each is computed within one strip, however long.
        budget: tokens of a forward, padding included.
        strip: tokens of a strip.
        kept_budget: positions of a forward whose logits are read.
    """
    if not planned:
        return []
    plan = _Plan(sorted(planned, key=lambda one: (one.rows[0].tokens, one.request.id)), min(packed_row, budget), logit_budget)
    return list(_side_by_side(plan.packed_rows(), budget, logit_budget))


def _selected(planned: Planned) -> int:
    return sum(row.selected for row in planned.rows)


def _stem(planned: Planned) -> TokenIds:
    """What all the request's rows begin with, before the first position that is read."""
    first = planned.rows[0]
    length = min(row.start for row in planned.rows)
    return first.tokens[: min((common_prefix(first.tokens[:length], row.tokens) for row in planned.rows[1:]), default=length)]


@dataclass
class _Plan:
    items: Sequence[Planned]
    limit: int
    logit_limit: int
    _done: list[Pass] = field(default_factory=list)
    _open: list[Planned] = field(default_factory=list)
    _room: int = 0
    _logit_room: int = 0
    _last: int = -1

    def __post_init__(self) -> None:
        rows = [sorted(row.tokens for row in one.rows) for one in self.items]
        self.stems = [_stem(one) for one in self.items]
        before = [(), *(group[-1] for group in rows[:-1])]
        self.alone = [flat_size(group) for group in rows]
        self.behind = [flat_size(group, last) for group, last in zip(rows, before, strict=True)]
        pairs = zip(self.stems, self.stems[1:], strict=False)
        self.shared = [0, *(common_prefix(one, other) for one, other in pairs)]
        self.sums = [0, *accumulate(self.behind)]

    def packed_rows(self) -> list[Pass]:
        self._walk(0, len(self.items), (), 0, 0)
        self._close(())
        return self._done

    def _size(self, low: int, high: int, skip: int) -> int:
        """Tokens of a range of items in one strip of their own."""
        return self.alone[low] - skip + self.sums[high] - self.sums[low + 1]

    def _walk(self, low: int, high: int, prefix: tuple[TokenIds, ...], skip: int, depth: int) -> None:
        """Place a range of items that all begin with what is held."""
        size = self._size(low, high, skip)
        common = len(self.stems[low]) if high - low == 1 else min(self.shared[low + 1 : high])
        if high - low == 1 or depth == _DEEPEST:
            self._place(low, high, prefix, skip, whole=False)
        elif size <= self.limit:
            self._place(low, high, prefix, skip, whole=common - skip >= _WHOLE)
        else:
            saved = ((size - common + skip) // self.limit) * (common - skip)
            if saved > PREFIX_COST:
                self._close(prefix)
                inner = (*prefix, self.stems[low][skip:common])
                self._split(low, high, common, inner, common, depth)
                self._close(inner)
            else:
                self._split(low, high, common, prefix, skip, depth)

    def _split(self, low: int, high: int, common: int, prefix: tuple[TokenIds, ...], skip: int, depth: int) -> None:
        """Walk through the parts of a range that share more than all of it does."""
        begin = low
        for index in range(low + 1, high + 1):
            if index == high or self.shared[index] == common:
                self._walk(begin, index, prefix, skip, depth + 1)
                begin = index

    def _place(self, low: int, high: int, prefix: tuple[TokenIds, ...], skip: int, *, whole: bool) -> None:
        if whole and not self._fits(low, high):
            self._close(prefix)
        for index in range(low, high):
            if not self._fits(index, index + 1):
                self._close(prefix)
            if self._open:
                self._room -= self.behind[index]
            else:
                self._room, self._logit_room = self.limit - self.alone[index] + skip, self.logit_limit
            self._logit_room -= _selected(self.items[index])
            self._open.append(self.items[index])

    def _fits(self, low: int, high: int) -> bool:
        """Whether a range of items goes into the open strip."""
        kept = sum(map(_selected, self.items[low:high]))
        return bool(self._open) and self.sums[high] - self.sums[low] <= self._room and kept <= self._logit_room

    def _close(self, prefix: tuple[TokenIds, ...]) -> None:
        if self._open:
            self._done.append(Pass(prefix, (tuple(self._open),)))
            self._open = []


def packed_row_size(packed_row: Sequence[Planned], skip: int) -> int:
    """Tokens of a strip behind a held prefix."""
    return flat_size(ordered_rows(packed_row)) - skip


def _side_by_side(packed_rows: Sequence[Pass], budget: int, logit_budget: int) -> Iterator[Pass]:
    """Strips behind the same prefix, the longest first, as many in one forward as fit."""
    for prefix, group in groupby(packed_rows, key=lambda one: one.prefix):
        skip = sum(map(len, prefix))
        sized = sorted(((packed_row_size(one.packed_rows[0], skip), one.packed_rows[0]) for one in group), key=lambda one: -one[0])
        batch: list[tuple[Planned, ...]] = []
        longest = kept = 0
        for size, packed_row in sized:
            own = sum(map(_selected, packed_row))
            if batch and ((len(batch) + 1) * longest > budget or kept + own > logit_budget):
                yield Pass(prefix, tuple(batch))
                batch, kept = [], 0
            longest = longest if batch else size
            batch.append(packed_row)
            kept += own
        yield Pass(prefix, tuple(batch))
