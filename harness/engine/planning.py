"""Which sequences are run together, decided without a model: rows, their lengths, and batches under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.contract import Generate, Request, ScoreChoices, ScoreRequest, ScoreText, TokenIds

Work = TypeVar("Work")


@dataclass(frozen=True, slots=True)
class Read:
    """One continuation to read off a row: `tokens` follow from position `Row.start` on."""

    slot: int
    tokens: TokenIds


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence that the decoder runs, and what is read off it.

    Attributes:
        source: what the encoder reads; empty for decoder-only models.
        tokens: what the decoder reads.
        start: position of the first logits that are read; they tell about the token after it.
        reads: continuations; their slots number the request's answers.
    """

    source: TokenIds
    tokens: TokenIds
    start: int
    reads: tuple[Read, ...]

    @property
    def kept(self) -> int:
        """How many positions' logits are read; a prompt to continue has the last one read."""
        return max((len(read.tokens) for read in self.reads), default=1)


@dataclass(frozen=True, slots=True)
class Size:
    """What some rows need: how many they are, tokens of the longest, and positions whose logits are kept."""

    rows: int
    longest: int
    kept: int

    @property
    def padded(self) -> int:
        """Tokens, padding included."""
        return self.rows * self.longest

    def with_more(self, other: Size) -> Size:
        """The size of both together."""
        return Size(self.rows + other.rows, max(self.longest, other.longest), self.kept + other.kept)


@dataclass(frozen=True, slots=True)
class Planned:
    """A request with its rows; it is computed and answered whole."""

    request: ScoreRequest
    rows: tuple[Row, ...]


def rows_of(request: ScoreRequest, decoder_start: int | None) -> tuple[Row, ...]:
    """The rows that answer a request.

    A choice needs the logits at its tokens' predecessors, so its last token is never run, and a choice whose other tokens
    begin a longer one shares that one's row: four one-token choices are one row.

    Args:
        request: choices or a text.
        decoder_start: first token of the decoder of an encoder-decoder model, None for decoder-only models.
    """
    if isinstance(request, ScoreChoices):
        return _branches(request.context, request.choices, decoder_start)
    return tuple(
        row
        for number, (context, scored) in enumerate(request.windows)
        for row in _branches(context, (scored,), decoder_start, first_slot=number)
    )


def _branches(context: TokenIds, choices: Sequence[TokenIds], decoder_start: int | None, first_slot: int = 0) -> tuple[Row, ...]:
    grouped: list[list[Read]] = []
    for index in sorted(range(len(choices)), key=lambda i: -len(choices[i])):
        read = Read(first_slot + index, choices[index])
        needed = read.tokens[:-1]
        home = next((group for group in grouped if group[0].tokens[: len(needed)] == needed), None)
        if home is None:
            grouped.append([read])
        else:
            home.append(read)
    source = context if decoder_start is not None else ()
    lead = (decoder_start,) if decoder_start is not None else context
    return tuple(Row(source, lead + group[0].tokens[:-1], len(lead) - 1, tuple(group)) for group in grouped)


def prompt_of(request: Generate) -> Planned:
    """A prompt to continue: one row, of which the logits behind its last token are read."""
    return Planned(ScoreChoices(request.id, request.context, ()), (Row((), request.context, len(request.context) - 1, ()),))


def contexts_of(request: Request) -> list[TokenIds]:
    """What a request's answers stand behind: one prompt, or one for each scored text."""
    return [context for context, _ in request.windows] if isinstance(request, ScoreText) else [request.context]


def area(rows: Sequence[Row]) -> int:
    """Tokens of rows side by side, padding included; an encoder reads each distinct source once."""
    sources = {row.source for row in rows}
    return len(sources) * max(map(len, sources)) + len(rows) * max(len(row.tokens) for row in rows)


def plan_scoring(requests: Sequence[ScoreRequest], decoder_start: int | None, budget: int, kept_budget: int) -> list[list[Planned]]:
    """Batches of requests, longest first; the same whatever was answered before.

    A batch's rows, padded to its longest, stay within `budget` tokens, and its kept positions within `kept_budget`, unless a
    single request is larger than that.
    """
    planned = [Planned(request, rows_of(request, decoder_start)) for request in requests]

    def order(one: Planned) -> tuple[int, int, TokenIds, str]:
        longest = max(len(row.source) for row in one.rows), max(len(row.tokens) for row in one.rows)
        return -longest[0], -longest[1], one.rows[0].source, one.request.id

    return side_by_side(sorted(planned, key=order), lambda one: one.rows, budget, kept_budget)


def side_by_side(work: Sequence[Work], rows: Callable[[Work], Sequence[Row]], budget: int, kept_budget: int) -> list[list[Work]]:
    """Consecutive batches, each as long as its area and kept positions fit, with at least one piece of work.

    Args:
        work: the pieces, in order.
        rows: of one piece.
        budget: of a batch's area, see `area`.
        kept_budget: positions of a batch whose logits are read.
    """
    batches: list[list[Work]] = []
    sources: set[TokenIds] = set()
    longest_source = longest = number = kept = 0
    for piece in work:
        own = rows(piece)
        own_kept = sum(row.kept for row in own)
        extent = max(longest_source, *(len(row.source) for row in own)), max(longest, *(len(row.tokens) for row in own))
        joined = sources.union(row.source for row in own)
        fits = len(joined) * extent[0] + (number + len(own)) * extent[1] <= budget and kept + own_kept <= kept_budget
        if batches and fits:
            batches[-1].append(piece)
            sources, (longest_source, longest) = joined, extent
            number, kept = number + len(own), kept + own_kept
        else:
            batches.append([piece])
            sources = {row.source for row in own}
            longest_source, longest = max(map(len, sources)), max(len(row.tokens) for row in own)
            number, kept = len(own), own_kept
    return batches


def pack(
    work: Sequence[Work],
    size: Callable[[Work], Size],
    fits: Callable[[Size], bool],
    together: Callable[[Work, Work], bool] = lambda first, piece: True,
) -> list[list[Work]]:
    """Consecutive batches, each as long as it fits, with at least one piece of work.

    Args:
        work: the pieces, in order.
        size: of one piece.
        fits: whether a batch of this size may be.
        together: whether a piece may join the batch of a first one.
    """
    batches: list[list[Work]] = []
    total = Size(0, 0, 0)
    for piece in work:
        own = size(piece)
        joined = total.with_more(own)
        if batches and together(batches[-1][0], piece) and fits(joined):
            batches[-1].append(piece)
            total = joined
        else:
            batches.append([piece])
            total = own
    return batches
