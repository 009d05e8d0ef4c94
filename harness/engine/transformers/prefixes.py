"""Shared prefixes computed once: which are cached on the device, and which requests run behind them, planned without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby

from harness.contract import TokenIds
from harness.engine.transformers.planning import Planned, SequenceRow, Work
from harness.util.sequences import common_prefix

PREFIX_COST = 32
"""What a forward pass of its own costs beside its tokens, in tokens; a prefix is cached where that saves more."""

_WHOLE = 16
"""Requests that share this many tokens behind the cached prefix go into one packed row if they fit."""

_DEEPEST = 64
"""Levels of prefixes within prefixes that are considered."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass: packed rows of requests behind a prefix that is cached on the device.

    A request that exceeds the budget even behind its prefix is alone in its pass, which then is several, see `pieces`.

    Attributes:
        prefix: the prefix in the pieces in which it is computed, each once, before all passes that begin with it.
        packed_rows: requests whose sequences are laid out in one row of the forward pass.
        packed: False where the sequences stand side by side instead, padded, each in a row of its own.
    """

    prefix: tuple[TokenIds, ...]
    packed_rows: tuple[tuple[Planned, ...], ...]
    packed: bool = True

    @property
    def skip(self) -> int:
        """Tokens of the prefix."""
        return sum(map(len, self.prefix))

    @property
    def requests(self) -> list[Planned]:
        """The requests, packed row by packed row."""
        return [planned for packed_row in self.packed_rows for planned in packed_row]


def flat_size(rows: Sequence[TokenIds], before: TokenIds = ()) -> int:
    """Tokens of sequences laid out in this order, each sharing its common prefix with the one before."""
    size = 0
    for row in rows:
        size += len(row) - common_prefix(before, row)
        before = row
    return size


def ordered_rows(packed_row: Sequence[Planned]) -> list[TokenIds]:
    """The sequences of some requests in the order in which they are laid out."""
    return sorted(row.tokens for planned in packed_row for row in planned.rows)


def pieces(work: Sequence[Work], row: Callable[[Work], SequenceRow], skip: int, budget: int, logit_budget: int) -> list[list[Work]]:
    """The rows of one request in as many forward passes as the budgets require; a row that exceeds them is a pass of its own.

    Args:
        work: the rows, with what belongs to them.
        row: of one of them.
        skip: tokens of the cached prefix.
        budget: tokens of a forward pass.
        logit_budget: positions of a forward pass whose logits are read.
    """
    split: list[list[Work]] = []
    size = selected = 0
    before: TokenIds = ()
    for entry in sorted(work, key=lambda entry: row(entry).tokens):
        tokens = row(entry).tokens
        more = len(tokens) - max(skip, common_prefix(before, tokens))
        if split and size + more <= budget and selected + row(entry).selected <= logit_budget:
            split[-1].append(entry)
            size, selected = size + more, selected + row(entry).selected
        else:
            split.append([entry])
            size, selected = len(tokens) - skip, row(entry).selected
        before = tokens
    return split if len(split) > 1 else [list(work)]


def plan_passes(planned: Sequence[Planned], budget: int, packed_row: int, logit_budget: int, *, own_prefixes: bool = True) -> list[Pass]:
    """Plan forward passes over requests of a decoder-only model, in an order in which common prefixes follow each other.

    Within a packed row nothing is computed twice. A prefix that the requests of several packed rows share is cached if that saves more
    than computing it apart costs; so is the context of a request that exceeds the budget, for this request alone. The plan does not
    depend on the order of the input.

    Args:
        planned: requests with rows; each is computed within one packed row, unless it exceeds the budget, see `pieces`.
        budget: tokens of a forward pass, padding included.
        packed_row: tokens of a packed row.
        logit_budget: positions of a forward pass whose logits are read.
        own_prefixes: whether a request may have a prefix of its own.
    """
    if not planned:
        return []
    ordered = sorted(planned, key=lambda entry: (entry.rows[0].tokens, entry.request.id))
    plan = _Plan(ordered, min(packed_row, budget), logit_budget, budget if own_prefixes else None)
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
    """Walks through sorted requests and places them in packed rows.

    Args:
        items: the requests, sorted.
        limit: tokens of a packed row.
        logit_limit: positions of a forward pass whose logits are read.
        budget: tokens beyond which a request has a prefix of its own; None where none has.
    """

    items: Sequence[Planned]
    limit: int
    logit_limit: int
    budget: int | None
    _done: list[Pass] = field(default_factory=list)
    _own: list[Pass] = field(default_factory=list)
    _begin: int = 0
    _open: list[Planned] = field(default_factory=list)
    _room: int = 0
    _logit_room: int = 0
    _last: int = -1

    def __post_init__(self) -> None:
        rows = [sorted(row.tokens for row in item.rows) for item in self.items]
        self.stems = [_stem(item) for item in self.items]
        before = [(), *(group[-1] for group in rows[:-1])]
        self.alone = [flat_size(group) for group in rows]
        self.behind = [flat_size(group, last) for group, last in zip(rows, before, strict=True)]
        pairs = zip(self.stems, self.stems[1:], strict=False)
        self.shared = [0, *(common_prefix(stem, next_stem) for stem, next_stem in pairs)]
        self.sums = [0, *accumulate(self.behind)]

    def packed_rows(self) -> list[Pass]:
        self._walk(0, len(self.items), (), 0, 0)
        self._leave(())
        return self._done

    def _size(self, low: int, high: int, skip: int) -> int:
        """Tokens of a range of items in a packed row of their own."""
        return self.alone[low] - skip + self.sums[high] - self.sums[low + 1]

    def _walk(self, low: int, high: int, prefix: tuple[TokenIds, ...], skip: int, depth: int) -> None:
        """Place a range of items that all begin with the cached prefix."""
        size = self._size(low, high, skip)
        common = len(self.stems[low]) if high - low == 1 else min(self.shared[low + 1 : high])
        if high - low == 1 or depth == _DEEPEST:
            for index in range(low, high):
                self._single(index, prefix, skip)
        elif size <= self.limit:
            self._place(low, high, prefix, skip, whole=common - skip >= _WHOLE)
        elif self._saved(high - low, size, common - skip) > PREFIX_COST:
            self._leave(prefix)
            inner = (*prefix, self.stems[low][skip:common])
            self._split(low, high, common, inner, common, depth)
            self._leave(inner)
        else:
            self._split(low, high, common, prefix, skip, depth)

    def _saved(self, items: int, size: int, shared: int) -> int:
        """Tokens that a cached prefix saves: without it, each packed row but the first begins with what is shared once more."""
        room = self.limit - shared
        return shared * (min(items, -(-(size - shared) // room)) - 1 if room > 0 else items - 1)

    def _single(self, index: int, prefix: tuple[TokenIds, ...], skip: int) -> None:
        """Place an item; one that exceeds the budget behind its own context, where that saves more than it costs or bounds memory."""
        item, stem = self.items[index], self.stems[index]
        if self.budget is not None and len(stem) - skip > 0:
            number = len(pieces(item.rows, lambda row: row, skip, self.budget, self.logit_limit))
            if len(stem) - skip > max(self.budget, PREFIX_COST) or (number - 1) * (len(stem) - skip) > PREFIX_COST:
                self._own.append(Pass((*prefix, stem[skip:]), ((item,),)))
                return
        self._place(index, index + 1, prefix, skip, whole=False)

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
        """Whether a range of items goes into the open packed row."""
        selected = sum(map(_selected, self.items[low:high]))
        return bool(self._open) and self.sums[high] - self.sums[low] <= self._room and selected <= self._logit_room

    def _close(self, prefix: tuple[TokenIds, ...]) -> None:
        if self._open:
            self._done.append(Pass(prefix, (tuple(self._open),)))
            self._open = []

    def _leave(self, prefix: tuple[TokenIds, ...]) -> None:
        """Close what stands behind a prefix: first the requests with prefixes of their own, the longest first, then the others."""
        self._close(prefix)
        self._done[self._begin : self._begin] = sorted(self._own, key=lambda entry: -entry.skip)
        self._own, self._begin = [], len(self._done)


def packed_row_size(packed_row: Sequence[Planned], skip: int) -> int:
    """Tokens of a packed row behind a cached prefix."""
    return flat_size(ordered_rows(packed_row)) - skip


def _side_by_side(packed_rows: Sequence[Pass], budget: int, logit_budget: int) -> Iterator[Pass]:
    """Packed rows behind the same prefix, the longest first, as many in one forward pass as fit."""
    for prefix, group in groupby(packed_rows, key=lambda entry: entry.prefix):
        skip = sum(map(len, prefix))
        sized = sorted(
            ((packed_row_size(entry.packed_rows[0], skip), entry.packed_rows[0]) for entry in group), key=lambda entry: -entry[0]
        )
        batch: list[tuple[Planned, ...]] = []
        longest = selected = 0
        for size, packed_row in sized:
            more = sum(map(_selected, packed_row))
            if batch and ((len(batch) + 1) * longest > budget or selected + more > logit_budget):
                yield Pass(prefix, tuple(batch))
                batch, selected = [], 0
            longest = longest if batch else size
            batch.append(packed_row)
            selected += more
        yield Pass(prefix, tuple(batch))
