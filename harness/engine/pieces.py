"""Work that several workers share: whole planned batches, handed out in pieces that get smaller as less is left.

A batch's numbers depend on what is computed together, so batches are never split: every worker plans all requests, and computes the batches
of its pieces as one process would. Batches with the same few-shot header follow each other in a plan, and a worker keeps the last header,
so each worker has a range of the plan; one that has finished its own takes about half of the largest range that is left (work stealing,
Blumofe and Leiserson, 1999).
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.contract import Generate, Request, ScoreChoices, TokenIds
from harness.errors import InputError, ModelError
from harness.util.sequences import common_prefix

Batch = tuple[str, ...]
"""Ids of requests that are computed together."""

_ATTEMPTS = 3
"""Workers that may end while they compute the same batch; the batch itself is then taken for the cause."""

_PARTS = 16
"""A piece is one part in this many of what is left of a worker's range: large ones first, small ones last."""

_BISECTIONS = 50

MOST_SHARDS = 10_000
"""Most shards of a run."""


@dataclass(frozen=True, slots=True)
class WorkPiece:
    """Batches that one worker computes one after the other."""

    batches: tuple[Batch, ...]

    @property
    def ids(self) -> frozenset[str]:
        """Ids of its requests."""
        return frozenset(request_id for batch in self.batches for request_id in batch)


class Pieces:
    """Hands out the batches of a run, each to one worker at a time.

    Args:
        batches: all planned batches, in the order of one process.
        costs: of each batch, in any unit.
        workers: how many take pieces.
        done: ids of requests that are answered already.
    """

    def __init__(self, batches: Sequence[Batch], costs: Mapping[Batch, BatchCost], workers: int, done: Container[str] = ()) -> None:
        self._costs = costs
        waiting = [batch for batch in batches if any(name not in done for name in batch)]
        self._ranges = [deque(part) for part in ranges(waiting, costs, workers)]
        self._left = [sum(costs[batch].own for batch in part) for part in self._ranges]
        self._last: deque[Batch] = deque()
        self._unanswered = {name for batch in waiting for name in batch if name not in done}
        self._failures: Counter[Batch] = Counter()
        self._out: dict[int, WorkPiece] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is a piece to take."""
        return bool(self._last) or any(self._ranges)

    def take(self, worker: int) -> WorkPiece | None:
        """The next piece for a worker, or None where nothing waits; what other workers compute may still come back.

        Args:
            worker: its number, from 0.
        """
        self._out.pop(worker, None)
        if not self._ranges[worker]:
            self._steal(worker)
        piece = self._next(worker)
        if piece is not None:
            self._out[worker] = piece
        return piece

    def _next(self, worker: int) -> WorkPiece | None:
        own = self._ranges[worker]
        if not own:
            return WorkPiece((self._last.popleft(),)) if self._last else None
        size = self._left[worker] / _PARTS
        batches: list[Batch] = []
        taken = 0.0
        while own and (not batches or taken + self._costs[own[0]].own <= size):
            batches.append(own.popleft())
            taken += self._costs[batches[-1]].own
        self._left[worker] -= taken
        return WorkPiece(tuple(batches))

    def answered(self, ids: Iterable[str]) -> None:
        """Note that requests are answered."""
        self._unanswered.difference_update(ids)

    def lost(self, worker: int, piece: WorkPiece) -> None:
        """Take back what a worker did not answer before it ended.

        Its first batch without an answer is what it was computing; that batch comes last, when all others were handed out.

        Raises:
            ModelError: several workers ended while they computed that batch; names its first item.
        """
        self._out.pop(worker, None)
        back = self._open(piece)
        if not back:
            return
        self._failures[back[0]] += 1
        if self._failures[back[0]] >= _ATTEMPTS:
            names = sorted(self._unanswered.intersection(back[0]))
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(
                f"{_ATTEMPTS} workers ended while they computed {names[0]}{more}.",
                "It may need more memory than a worker has: try a smaller --batch-tokens, or run it without --workers to see what happens.",
            )
        self._last.append(back[0])
        self._ranges[worker].extendleft(reversed(back[1:]))
        self._left[worker] += sum(self._costs[batch].own for batch in back[1:])

    def _open(self, piece: WorkPiece) -> list[Batch]:
        """Batches of a piece that are not answered."""
        return [batch for batch in piece.batches if not self._unanswered.isdisjoint(batch)]

    def _steal(self, thief: int) -> None:
        """Take as much from the end of the costliest range as lets both finish together.

        Nothing is taken from a worker that will have finished the last batch sooner than the thief would.
        """
        victim = max(range(len(self._ranges)), key=lambda number: self._left[number] if self._ranges[number] else -1.0)
        theirs, mine = self._ranges[victim], self._ranges[thief]
        if not theirs:
            return
        last, computing = self._costs[theirs[-1]], self._out.get(victim)
        if computing is not None and last.own + last.entry > self._left[victim] + sum(
            self._costs[batch].own for batch in self._open(computing)
        ):
            return
        taken = 0.0
        while theirs and (not mine or taken + self._costs[theirs[-1]].own + self._costs[theirs[-1]].entry <= self._left[victim] / 2):
            mine.appendleft(theirs.pop())
            taken += self._costs[mine[0]].own
        self._left[victim] -= taken
        self._left[thief] += taken


@dataclass(frozen=True, slots=True)
class BatchCost:
    """An estimate of what a batch costs.

    Attributes:
        own: tokens that the batch before it in the plan does not begin with.
        entry: further tokens where a worker has not computed that batch.
    """

    own: float
    entry: float = 0.0


def planned_costs(batches: Iterable[Batch], requests: Sequence[Request], done: Container[str] = ()) -> dict[Batch, BatchCost]:
    """What each batch costs, in tokens; of a prompt, those that the prompt before it in the plan does not begin with.

    Args:
        batches: all planned batches, in the order of one process.
        requests: all requests.
        done: ids of requests that are answered already; they cost nothing.
    """
    by_id = {request.id: request for request in requests}
    costs: dict[Batch, BatchCost] = {}
    before: TokenIds = ()
    for batch in batches:
        own = 0.0
        entry: int | None = None
        for request in (by_id[name] for name in batch if name not in done):
            if isinstance(request, Generate | ScoreChoices):
                shared = common_prefix(before, request.context)
                entry = shared if entry is None else entry
                before = request.context
                more = request.max_new_tokens * request.beams if isinstance(request, Generate) else sum(map(len, request.choices))
                own += len(request.context) - shared + more
            else:
                own += sum(len(context) + len(scored) for context, scored in request.windows)
        costs[batch] = BatchCost(own, entry or 0)
    return costs


def ranges(batches: Sequence[Batch], costs: Mapping[Batch, BatchCost], number: int) -> list[list[Batch]]:
    """Consecutive batches in parts whose costliest costs as little as possible; some are empty where there are fewer batches.

    Args:
        batches: in the order of the plan.
        costs: of each batch.
        number: of parts.
    """
    if not batches:
        return [[] for _ in range(number)]
    before = [0.0, *itertools.accumulate(costs[batch].own for batch in batches)]
    entries = [costs[batch].entry for batch in batches]
    lowest = max(costs[batch].own + costs[batch].entry for batch in batches)
    highest = before[-1] + max(entries)
    if len(_starts(before, entries, lowest)) <= number:
        highest = lowest
    for _ in range(_BISECTIONS):
        middle = (lowest + highest) / 2
        if len(_starts(before, entries, middle)) <= number:
            highest = middle
        else:
            lowest = middle
    starts = _starts(before, entries, highest)
    parts = [list(batches[first:end]) for first, end in itertools.pairwise([*starts, len(batches)])]
    return parts + [[] for _ in range(number - len(parts))]


def _starts(before: Sequence[float], entries: Sequence[float], limit: float) -> list[int]:
    """Where as few consecutive parts as possible start, each of which costs at most the limit.

    A part that ends at a place starts best at the first place that the limit allows, because what stands before a place never needs more
    parts than what stands before a later one.

    Args:
        before: costs before each batch, and of all.
        entries: of each batch.
        limit: at least the cost of any batch with its entry.
    """
    best = [0] * len(before)
    first = 0
    for end in range(1, len(before)):
        while first < end - 1 and before[end] - before[first] + entries[first] > limit:
            first += 1
        best[end] = first
    starts: list[int] = []
    place = len(before) - 1
    while place:
        place = best[place]
        starts.append(place)
    return starts[::-1]


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of a run that are computed by processes that share nothing.

    Attributes:
        number: from 1.
        count: of all shards.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard of a text such as "2/4".

        Raises:
            InputError: it has another form, or the number is not between 1 and the count.
        """
        number, _, count = (part.strip() for part in text.partition("/"))
        if not (number.isascii() and number.isdigit() and count.isascii() and count.isdigit() and len(count) <= len(str(MOST_SHARDS))):
            raise InputError(f"--shard takes NUMBER/COUNT, not {text[:50]!r}.", "The second of four parts is 2/4.")
        shard = cls(int(number[:9]), int(count))
        if not 1 <= shard.number <= shard.count <= MOST_SHARDS:
            raise InputError(f"--shard {text[:50]}: the number is between 1 and the count, which is at most {MOST_SHARDS:,}.")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def part(self, batches: Sequence[Batch], requests: Sequence[Request]) -> frozenset[str]:
        """Ids of the requests that this shard computes: whole batches."""
        parts = ranges(batches, planned_costs(batches, requests), self.count)
        return frozenset(name for batch in parts[self.number - 1] for name in batch)
