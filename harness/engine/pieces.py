"""Work that several workers share: whole planned batches, handed out in pieces that get smaller as less is left.

A batch's numbers depend on what is computed together, so batches are never split: every worker plans all requests, and computes the batches
of its pieces as one process would.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.contract import Generate, Request, ScoreChoices
from harness.errors import InputError, ModelError

Batch = tuple[str, ...]
"""Ids of requests that are computed together."""

_ATTEMPTS = 3
"""Workers that may end while they compute the same batch; the batch itself is then taken for the cause."""

_SHARE = 2
"""A piece is one part in this many for each worker of what is left: large ones first, small ones last (guided self-scheduling,
Polychronopoulos and Kuck, 1987)."""


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
        costs: of each request, in any unit.
        workers: how many take pieces.
        done: ids of requests that are answered already.
    """

    def __init__(self, batches: Iterable[Batch], costs: Mapping[str, float], workers: int, done: Container[str] = ()) -> None:
        self._costs = {batch: sum(costs[name] for name in batch if name not in done) for batch in batches}
        self._waiting = deque(batch for batch, cost in self._costs.items() if cost > 0)
        self._left = sum(self._costs[batch] for batch in self._waiting)
        self._open = set(self._waiting)
        self._unanswered = {name for batch in self._waiting for name in batch if name not in done}
        self._failures: Counter[Batch] = Counter()
        self._workers = workers

    @property
    def waiting(self) -> bool:
        """Whether there is a piece to take."""
        return bool(self._waiting)

    @property
    def finished(self) -> bool:
        """Whether every request is answered."""
        return not self._unanswered

    def take(self) -> WorkPiece | None:
        """The next piece, or None where nothing waits; what other workers compute may still come back."""
        if not self._waiting:
            return None
        size = self._left / (_SHARE * self._workers)
        batches: list[Batch] = []
        taken = 0.0
        while self._waiting and (not batches or taken + self._costs[self._waiting[0]] <= size):
            batch = self._waiting.popleft()
            batches.append(batch)
            taken += self._costs[batch]
        self._left -= taken
        return WorkPiece(tuple(batches))

    def answered(self, ids: Iterable[str]) -> None:
        """Note that requests are answered."""
        self._unanswered.difference_update(ids)

    def lost(self, piece: WorkPiece) -> None:
        """Take back what a worker did not answer before it ended.

        Its first batch without an answer is what it was computing; that batch comes last, when all others are answered.

        Raises:
            ModelError: several workers ended while they computed that batch; names its first item.
        """
        back = [batch for batch in piece.batches if not self._unanswered.isdisjoint(batch)]
        if not back:
            return
        self._failures[back[0]] += 1
        if self._failures[back[0]] >= _ATTEMPTS:
            names = sorted(self._unanswered.intersection(back[0]))
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(
                f"{_ATTEMPTS} workers ended while they computed {names[0]}{more}.",
                "It may need more memory than a worker has: try a smaller --batch-tokens, or leave it out with --limit.",
            )
        self._waiting.extendleft(reversed(back[1:]))
        self._waiting.append(back[0])
        self._left += sum(self._costs[batch] for batch in back)


def cost(request: Request) -> float:
    """An estimate of what a request costs, in tokens."""
    if isinstance(request, Generate):
        return len(request.context) + request.max_new_tokens * request.beams
    if isinstance(request, ScoreChoices):
        return len(request.context) + sum(map(len, request.choices))
    return sum(len(context) + len(scored) for context, scored in request.windows)


def shares(batches: Sequence[Batch], costs: Mapping[str, float], number: int) -> list[list[Batch]]:
    """Whole batches in shares of nearly equal cost, the same on every machine: the costliest batch goes to the cheapest share.

    Args:
        batches: all planned batches.
        costs: of each request.
        number: of shares.
    """
    parts: list[list[Batch]] = [[] for _ in range(number)]
    totals = [0.0] * number
    for batch in sorted(batches, key=lambda batch: (-sum(costs[name] for name in batch), batch)):
        place = min(range(number), key=lambda place: (totals[place], place))
        parts[place].append(batch)
        totals[place] += sum(costs[name] for name in batch)
    return parts


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
        costs = {request.id: cost(request) for request in requests}
        return frozenset(name for batch in shares(batches, costs, self.count)[self.number - 1] for name in batch)
