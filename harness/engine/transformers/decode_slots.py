"""Rows that are being decoded, each in a decode slot of its own: rows that finish leave, waiting ones enter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from harness.contract import Generate, TokenIds
from harness.engine.transformers.caches import CachePosition, KeysValues, SlotLayer, buffers, cache_argument, move_row, resize, to_device
from harness.engine.transformers.causal import CausalForward, attention_mask
from harness.engine.transformers.seq2seq import Seq2SeqForward

_SPARE = 0.67
"""Decode slots are made shorter when no row needs more than this share of them."""

_WORTHWHILE = 128
"""Prompt tokens for which decoding is interrupted while few decode slots are free."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits for a decode slot, and the pieces of its prompt that are a cached prefix."""

    request: Generate
    prefix: tuple[TokenIds, ...] = ()


Rows = Callable[[int], int]
"""How many rows suit, by the tokens that the longest needs."""


class DecodeSlots(Protocol):
    """Decode slots; rows are numbered from 0, without gaps."""

    active: int
    capacity: int

    def refit(self, others: Sequence[Generate], rows: Rows) -> None:
        """Turn room that neither the rows in use nor these others need into more decode slots."""
        ...

    def admissible(self, queue: Sequence[Waiting]) -> int:
        """Number of waiting requests that should enter now, from the front of the queue."""
        ...

    def admit(self, entering: Sequence[Waiting]) -> torch.Tensor:
        """Add rows; returns logits [entering, vocabulary] for their first tokens."""
        ...

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append a token to every row; returns logits [active, vocabulary] for the next."""
        ...

    def drop(self, row: int) -> None:
        """Remove a row; the last one takes its number."""
        ...


def worth_entering(queue: Sequence[Waiting], free: int, capacity: int, budget: int, lengths: Sequence[int], *, idle: bool) -> int:
    """How many may enter in one prefill with the same cached prefix; 0 where it pays to wait for more.

    Args:
        queue: who waits.
        free: slots that are free.
        capacity: slots in all.
        budget: tokens of a prefill.
        lengths: tokens that each of the queue's first costs.
        idle: whether nothing is being decoded.
    """
    number = total = 0
    for waiting, length in zip(queue[:free], lengths, strict=False):
        if number and (total + length > budget or waiting.prefix != queue[0].prefix):
            break
        number, total = number + 1, total + length
    return number if idle or total >= _WORTHWHILE or free * 4 >= capacity else 0


@dataclass
class CausalDecodeSlots:
    """Slots of a decoder-only model. Each row stands at the left of its slot and writes at its own column.

    Args:
        forward: runs prompts.
        capacity: rows at once.
        columns: tokens of the longest prompt with its answer, behind the soft prompt.
        budget: prompt tokens of a prefill.
    """

    forward: CausalForward
    capacity: int
    columns: int
    budget: int
    active: int = 0
    _lengths: list[int] = field(default_factory=list)
    _needs: list[int] = field(default_factory=list)
    content: KeysValues = field(default_factory=list)
    _place: CachePosition = field(default_factory=CachePosition)

    def refit(self, others: Sequence[Generate], rows: Rows) -> None:
        """Make slots shorter, and more of them, once they are longer than any row needs by half."""
        longest = max([*self._needs, *map(need, others)]) + self.forward.virtual
        if not self.content or longest > _SPARE * self.columns:
            return
        self.capacity, self.columns = max(self.active, rows(longest)), longest
        resize(self._cache, self.content, self.capacity, self.columns, (self.active, max(self._lengths, default=0)))

    def admissible(self, queue: Sequence[Waiting]) -> int:
        """Number of waiting requests that should enter now."""
        free = self.capacity - self.active
        lengths = [len(waiting.request.context) - sum(map(len, waiting.prefix)) for waiting in queue[:free]]
        return worth_entering(queue, free, self.capacity, self.budget, lengths, idle=not self.active)

    @torch.inference_mode()
    def admit(self, entering: Sequence[Waiting]) -> torch.Tensor:
        """Run prompts, and keep their keys and values."""
        prompts = [waiting.request.context for waiting in entering]
        logits, contents = self.forward.prefill(prompts, entering[0].prefix)
        if not self.content:
            self.content = buffers(contents[0], self.capacity, self.columns)
            self._cache = Cache(layers=[SlotLayer(keys, values, self._place) for keys, values in self.content])
        for prompt, content in zip(prompts, contents, strict=True):
            length = self.forward.virtual + len(prompt)
            for (keys, values), (new_keys, new_values) in zip(self.content, content, strict=True):
                keys[self.active, :, :length] = new_keys[0]
                values[self.active, :, :length] = new_values[0]
            self._lengths.append(length)
            self.active += 1
        self._needs += [need(waiting.request) for waiting in entering]
        return logits

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """One token a row."""
        device, forward = self.forward.device, self.forward
        columns = to_device(torch.tensor(self._lengths), device)
        place = self._place
        place.rows, place.columns, place.end = self.active, columns, max(self._lengths) + 1
        seen = torch.arange(place.end, device=device) <= columns.unsqueeze(1)
        logits: torch.Tensor = forward.inner(
            input_ids=to_device(torch.tensor(tokens).unsqueeze(1), device),
            attention_mask=forward.mask(seen[:, None, None]),
            position_ids=columns.unsqueeze(1),
            use_cache=True,
            **cache_argument(forward.inner, self._cache),
        ).logits[:, -1]
        self._lengths = [length + 1 for length in self._lengths]
        return logits

    def drop(self, row: int) -> None:
        """The last row takes this one's slot."""
        self.active -= 1
        last, needed = self._lengths.pop(), self._needs.pop()
        if row < self.active:
            move_row(self.content, self.active, row)
            self._lengths[row], self._needs[row] = last, needed


@dataclass
class Seq2SeqDecodeSlots:
    """Slots of an encoder-decoder model. All rows write the same column; each reads from where it began.

    Where the decoder knows only distances between tokens (T5), a row may begin at any column, and so enter at any time. Where it
    knows their places (BART), rows enter together and leave one by one.

    Args:
        forward: encodes sources.
        capacity: rows at once.
        longest: tokens of the longest source, virtual ones included.
        new: most tokens that a row is continued by.
        budget: source tokens of a prefill, padding included.
        anytime: whether rows may enter while others are being decoded.
        boolean: whether attention masks are true or false, not numbers that are added.
    """

    forward: Seq2SeqForward
    capacity: int
    longest: int
    new: int
    budget: int
    anytime: bool
    boolean: bool
    active: int = 0
    _begins: list[int] = field(default_factory=list)
    _sources: list[int] = field(default_factory=list)
    _column: int = field(init=False)
    _cross: KeysValues = field(default_factory=list)
    _own: KeysValues = field(default_factory=list)
    _place: CachePosition = field(default_factory=CachePosition)

    def __post_init__(self) -> None:
        self._column = self._first

    def refit(self, others: Sequence[Generate], rows: Rows) -> None:
        """Make slots for shorter sources, and more of them, once they are longer than any row needs by half."""
        longest = max([*self._sources, *(len(request.context) + self.forward.virtual_source for request in others)])
        if not self._cross or longest > _SPARE * self.longest:
            return
        self.capacity, self.longest = max(self.active, rows(longest + self.new)), longest
        columns = self._columns
        resize(self._read, self._cross, self.capacity, self.longest, (self.active, self.longest))
        resize(self._cache.self_attention_cache, self._own, self.capacity, columns, (self.active, columns))

    def admissible(self, queue: Sequence[Waiting]) -> int:
        """How many of those who wait should enter now; the queue's longest sources come first."""
        if not self.active:
            self._column = self._first
        elif not self.anytime and self._column > self._first:
            return 0
        free = self.capacity - self.active
        longest = len(queue[0].request.context) + self.forward.virtual_source if queue else 0
        return worth_entering(queue, free, self.capacity, self.budget, [longest] * free, idle=not self.active)

    @torch.inference_mode()
    def admit(self, entering: Sequence[Waiting]) -> torch.Tensor:
        """Encode sources and run the decoder's start token, which stands in the column before the next."""
        sources = [waiting.request.context for waiting in entering]
        distinct = list(dict.fromkeys(sources))
        encoded = self.forward.encode(distinct)
        self.forward.usage.requested_tokens += sum(map(len, sources)) + len(sources)
        if not self._own:
            self._allot(encoded.decoder, encoded.cross, encoded.hidden)
        places = {source: number for number, source in enumerate(distinct)}
        index = [places[source] for source in sources]
        for number, source in zip(index, sources, strict=True):
            row, length = self.active, len(source) + self.forward.virtual_source
            began = self._column - self._first
            for (keys, values), (new_keys, new_values) in zip(self._cross, encoded.cross, strict=True):
                keys[row, :, :length] = new_keys[number, :, :length]
                values[row, :, :length] = new_values[number, :, :length]
            for (keys, values), (new_keys, new_values) in zip(self._own, encoded.decoder, strict=True):
                keys[row, :, began : self._column] = new_keys[number]
                values[row, :, began : self._column] = new_values[number]
            self._begins.append(began)
            self._sources.append(length)
            self.active += 1
        return encoded.logits[index]

    @property
    def content(self) -> KeysValues:
        """Keys and values of the sources."""
        return self._cross

    @property
    def _first(self) -> int:
        """Columns of what stands before an answer: virtual tokens and the start token."""
        return self.forward.virtual + 1

    @property
    def _columns(self) -> int:
        """Columns of the decoder's buffers: room for two answers one after another."""
        return self._first + 2 * self.new + 1

    def _allot(self, decoder: KeysValues, cross: KeysValues, hidden: torch.Tensor) -> None:
        self._own = buffers(decoder, self.capacity, self._columns)
        self._cross = buffers(cross, self.capacity, self.longest)
        self._hidden = hidden.new_zeros((1, 1, hidden.shape[2]))
        decoder = Cache(layers=[SlotLayer(keys, values, self._place) for keys, values in self._own])
        self._read = Cache(layers=[SlotLayer(keys, values, self._place) for keys, values in self._cross])
        self._cache = EncoderDecoderCache(decoder, self._read)
        self._cache.is_updated = dict.fromkeys(range(len(self._cross)), True)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """One token a row."""
        device, place = self.forward.device, self._place
        if self._column >= self._columns:
            self._to_the_left()
        place.rows, place.columns, place.first, place.end = self.active, self._column, min(self._begins), self._column + 1
        begins = to_device(torch.tensor(self._begins), device)
        lengths = to_device(torch.tensor(self._sources), device)
        longest = max(self._sources)
        seen = torch.arange(place.first, place.end, device=device) >= begins.unsqueeze(1)
        readable = torch.arange(longest, device=device) < lengths.unsqueeze(1)
        for layer, (keys, values) in zip(self._read.layers, self._cross, strict=True):
            layer.keys, layer.values = keys[: self.active, :, :longest], values[: self.active, :, :longest]
        dtype = self._hidden.dtype
        logits: torch.Tensor = self.forward.inner(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._hidden.expand(self.active, longest, -1)),
            attention_mask=attention_mask(readable[:, None, None], self.boolean, dtype),
            decoder_input_ids=to_device(torch.tensor(tokens).unsqueeze(1), device),
            decoder_attention_mask=attention_mask(seen[:, None, None], self.boolean, dtype),
            use_cache=True,
            **cache_argument(self.forward.inner, self._cache),
        ).logits[:, -1]
        self._column += 1
        return logits

    def _to_the_left(self) -> None:
        """Make room for new columns by moving those in use to the front; distances stay."""
        shift = min(self._begins)
        for keys, values in self._own:
            for buffer in (keys, values):
                used = buffer[: self.active, :, shift : self._column].clone()
                buffer[: self.active, :, : self._column - shift] = used
        self._begins = [begin - shift for begin in self._begins]
        self._column -= shift

    def drop(self, row: int) -> None:
        """The last row takes this one's slot."""
        self.active -= 1
        begin, length = self._begins.pop(), self._sources.pop()
        if row < self.active:
            move_row(self._own, self.active, row)
            move_row(self._cross, self.active, row)
            self._begins[row], self._sources[row] = begin, length


def need(request: Generate) -> int:
    """Tokens of a prompt with its answer."""
    return len(request.context) + request.max_new_tokens
