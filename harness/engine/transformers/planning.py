"""Which sequences are run together, decided without a model: rows, their lengths, and batches under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.contract import Generate, Request, ScoreChoices, ScoreRequest, ScoreText, TokenIds

Work = TypeVar("Work")

_CROSS = 8
"""Copies of a long source's keys and values, one a row of the decoder, that are in memory at once: their tokens, in budgets."""


@dataclass(frozen=True, slots=True)
class Read:
    """One continuation to read off a row: `tokens` follow from position `SequenceRow.start` on."""

    place: int
    tokens: TokenIds


@dataclass(frozen=True, slots=True)
class SequenceRow:
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
    def selected(self) -> int:
        """Number of positions whose logits are read; of a prompt to continue, the last one."""
        return max((len(read.tokens) for read in self.reads), default=1)


@dataclass(frozen=True, slots=True)
class Size:
    """What some rows need: how many they are, tokens of the longest, and positions whose logits are read."""

    rows: int
    longest: int
    selected: int

    @property
    def padded(self) -> int:
        """Tokens, padding included."""
        return self.rows * self.longest

    def with_more(self, other: Size) -> Size:
        """The size of both together."""
        return Size(self.rows + other.rows, max(self.longest, other.longest), self.selected + other.selected)


@dataclass(frozen=True, slots=True)
class Planned:
    """A request with its rows; it is computed and answered whole."""

    request: ScoreRequest
    rows: tuple[SequenceRow, ...]


def rows_of(request: ScoreRequest, decoder_start: int | None) -> tuple[SequenceRow, ...]:
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
        for row in _branches(context, (scored,), decoder_start, first_place=number)
    )


def _branches(context: TokenIds, choices: Sequence[TokenIds], decoder_start: int | None, first_place: int = 0) -> tuple[SequenceRow, ...]:
    grouped: list[list[Read]] = []
    for index in sorted(range(len(choices)), key=lambda i: -len(choices[i])):
        read = Read(first_place + index, choices[index])
        needed = read.tokens[:-1]
        home = next((group for group in grouped if group[0].tokens[: len(needed)] == needed), None)
        if home is None:
            grouped.append([read])
        else:
            home.append(read)
    source = context if decoder_start is not None else ()
    lead = (decoder_start,) if decoder_start is not None else context
    return tuple(SequenceRow(source, lead + group[0].tokens[:-1], len(lead) - 1, tuple(group)) for group in grouped)


def prompt_of(request: Generate) -> Planned:
    """A prompt to continue: one row, of which the logits behind its last token are read."""
    return Planned(ScoreChoices(request.id, request.context, ()), (SequenceRow((), request.context, len(request.context) - 1, ()),))


def contexts_of(request: Request) -> list[TokenIds]:
    """The tokens before what a request scores or generates: one prompt, or the context of each window of a text."""
    return [context for context, _ in request.windows] if isinstance(request, ScoreText) else [request.context]


def area(rows: Sequence[SequenceRow]) -> int:
    """Tokens of rows side by side, padding included; an encoder reads each distinct source once."""
    sources = {row.source for row in rows}
    return len(sources) * max(map(len, sources)) + len(rows) * max(len(row.tokens) for row in rows)


def plan_scoring(requests: Sequence[ScoreRequest], decoder_start: int | None, budget: int, logit_budget: int) -> list[list[Planned]]:
    """Batches of requests, longest first; the same whatever was answered before.

    A batch's rows, padded to its longest, stay within `budget` tokens, and its selected positions within `logit_budget`, unless a
    single request is larger than that.
    """
    planned = [Planned(request, rows_of(request, decoder_start)) for request in requests]

    def order(work: Planned) -> tuple[int, int, TokenIds, str]:
        longest = max(len(row.source) for row in work.rows), max(len(row.tokens) for row in work.rows)
        return -longest[0], -longest[1], work.rows[0].source, work.request.id

    return side_by_side(sorted(planned, key=order), lambda work: work.rows, budget, logit_budget)


def side_by_side(work: Sequence[Work], rows: Callable[[Work], Sequence[SequenceRow]], budget: int, logit_budget: int) -> list[list[Work]]:
    """Consecutive batches, each as long as its area and selected positions fit, with at least one piece of work.

    Args:
        work: the pieces, in order.
        rows: of one piece.
        budget: of a batch's area, see `area`.
        logit_budget: positions of a batch whose logits are read.
    """
    batches: list[list[Work]] = []
    sources: set[TokenIds] = set()
    longest_source = longest = number = selected = 0
    for piece in work:
        piece_rows = rows(piece)
        more_selected = sum(row.selected for row in piece_rows)
        extent = max(longest_source, *(len(row.source) for row in piece_rows)), max(longest, *(len(row.tokens) for row in piece_rows))
        joined = sources.union(row.source for row in piece_rows)
        fits = len(joined) * extent[0] + (number + len(piece_rows)) * extent[1] <= budget and selected + more_selected <= logit_budget
        if batches and fits:
            batches[-1].append(piece)
            sources, (longest_source, longest) = joined, extent
            number, selected = number + len(piece_rows), selected + more_selected
        else:
            batches.append([piece])
            sources = {row.source for row in piece_rows}
            longest_source, longest = max(map(len, sources)), max(len(row.tokens) for row in piece_rows)
            number, selected = len(piece_rows), more_selected
    return batches


def pieces_beside(work: Sequence[Work], row: Callable[[Work], SequenceRow], budget: int, logit_budget: int) -> list[list[Work]]:
    """The rows of one request side by side, in as many pieces as the budgets require.

    Rows about one source are divided by what the decoder reads, since the source is encoded once for all of them.

    Args:
        work: the rows, with what belongs to them.
        row: of one of them.
        budget: of a piece's area, see `area`; or of the decoder's tokens alone where the rows about one source exceed it.
        logit_budget: positions of a piece whose logits are read.
    """
    rows = [row(entry) for entry in work]
    sources = {entry.source for entry in rows}
    if len(sources) > 1 or (area(rows) <= budget and sum(entry.selected for entry in rows) <= logit_budget):
        return side_by_side(work, lambda entry: [row(entry)], budget, logit_budget)
    (source,) = sources

    def size(entry: Work) -> Size:
        return Size(1, len(row(entry).tokens), row(entry).selected)

    def fits(total: Size) -> bool:
        return total.padded <= budget and total.rows * len(source) <= _CROSS * budget and total.selected <= logit_budget

    return pack(work, size, fits)


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
        more = size(piece)
        joined = total.with_more(more)
        if batches and together(batches[-1][0], piece) and fits(joined):
            batches[-1].append(piece)
            total = joined
        else:
            batches.append([piece])
            total = more
    return batches
