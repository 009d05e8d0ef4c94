"""Forward passes of encoder-decoder models: each source is encoded once, for all requests about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from harness.contract import TokenIds, Usage
from harness.engine.transformers.caches import KeysValues, cache_argument, contents, padded, silence_peft_warnings, to_device
from harness.engine.transformers.causal import attention_mask, consecutive
from harness.engine.transformers.logprobs import select_logits
from harness.engine.transformers.planning import SequenceRow
from harness.engine.transformers.soft_prompts import SourcePrompt


@dataclass(frozen=True)
class EncodedSources:
    """Sources as the decoder sees them after its start token.

    Attributes:
        logits: [sources, vocabulary] after the start token.
        mask: [sources, 1, 1, length], what is not padding, as the model's attention wants it; virtual tokens of the source count.
        hidden: [sources, length, width], the encoder's output.
        decoder: keys and values of the start token behind virtual tokens of the decoder, [sources, heads, virtual + 1, width] a layer.
        cross: keys and values of the sources, [sources, heads, length, width] a layer.
    """

    logits: torch.Tensor
    mask: torch.Tensor
    hidden: torch.Tensor
    decoder: KeysValues
    cross: KeysValues


@dataclass
class Seq2SeqForward:
    """Runs sources and targets of an encoder-decoder model.

    Args:
        module: the transformers (or peft) model.
        pad: token id that fills rows.
        start: first token of the decoder.
        prompted: whether peft puts a soft prompt before what it is given.
        usage: where tokens are counted.
        soft: that soft prompt, where it can be read; without it, a prompted model's encoder cannot be called apart.
    """

    module: Any
    pad: int
    start: int
    prompted: bool
    usage: Usage
    soft: SourcePrompt | None = None

    def __post_init__(self) -> None:
        self.inner = self.soft.base if self.soft else self.module
        self.virtual_source = len(self.soft.source) if self.soft else 0
        self.virtual = self.soft.content[0][0].shape[2] if self.soft and self.soft.content else 0
        self.device = next(self.module.parameters()).device
        self._boolean = self.module.config._attn_implementation == "sdpa"
        self._dtype = self.module.get_input_embeddings().weight.dtype
        self._last: tuple[TokenIds, EncodedSources] | None = None

    @torch.inference_mode()
    def score(self, rows: Sequence[SequenceRow]) -> tuple[torch.Tensor, list[list[int]]]:
        """Rows with their sources.

        Returns:
            Logits [selected, vocabulary] of the positions that are read, and for each row which of them are its own, in order.
        """
        if self.prompted and self.soft is None:
            return self.plain(rows)
        sources = list(dict.fromkeys(row.source for row in rows))
        place = {source: number for number, source in enumerate(sources)}
        source_of = [place[row.source] for row in rows]
        self.usage.requested_tokens += sum(len(row.source) + len(row.tokens) for row in rows)
        encoded = self.encode(sources)
        longer = [number for number, row in enumerate(rows) if row.selected > 1]
        where = [[source] for source in source_of]
        if not longer:
            return encoded.logits, where
        rest = self._rest([rows[number] for number in longer], encoded, [source_of[number] for number in longer])
        first = len(sources)
        for number in longer:
            selected = rows[number].selected - 1
            where[number] += range(first, first + selected)
            first += selected
        return torch.cat([encoded.logits, rest]), where

    @torch.inference_mode()
    def encode(self, sources: Sequence[TokenIds]) -> EncodedSources:
        """Encode sources and run the decoder's start token on each; a source that stood alone is kept until another is encoded."""
        alone = sources[0] if len(sources) == 1 else None
        if self._last is not None and self._last[0] == alone:
            return self._last[1]
        self._last = None
        encoded = self._encoded(sources)
        if alone is not None:
            self._last = alone, encoded
        return encoded

    def _encoded(self, sources: Sequence[TokenIds]) -> EncodedSources:
        ids, mask = padded(sources, self.pad, self.device)
        given = {"input_ids": ids}
        if self.soft and self.virtual_source:
            embeddings = self.inner.get_input_embeddings()(ids)
            given = {"inputs_embeds": torch.cat([self.soft.source.expand(len(sources), -1, -1), embeddings], dim=1)}
            mask = torch.cat([mask.new_ones((len(sources), self.virtual_source)), mask], dim=1)
        mask = attention_mask(mask[:, None, None].bool(), self._boolean, self._dtype)  # of a simpler one, transformers reads the values
        hidden = self.inner.get_encoder()(**given, attention_mask=mask).last_hidden_state
        before = _rows_of(self.soft.content if self.soft else [], torch.zeros(len(sources), dtype=torch.long, device=self.device))
        cache = EncoderDecoderCache(before, Cache(layer_class_to_replicate=DynamicLayer))
        start = torch.full((len(sources), 1), self.start, device=self.device)
        with select_logits(self.inner, lambda states: states[:, 0]):
            logits = self.inner(
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                attention_mask=mask,
                decoder_input_ids=start,
                decoder_attention_mask=self._in_order(len(sources), self.virtual, 1),
                use_cache=True,
                **cache_argument(self.inner, cache),
            ).logits
        self._count(sources)
        self._count([(self.start,)] * len(sources))
        return EncodedSources(logits[0], mask, hidden, contents(cache.self_attention_cache), contents(cache.cross_attention_cache))

    def _rest(self, rows: Sequence[SequenceRow], encoded: EncodedSources, source_of: Sequence[int]) -> torch.Tensor:
        """Logits [selected, vocabulary] of what the rows read behind the start token."""
        targets = [row.tokens[1:] for row in rows]
        ids, _ = padded(targets, self.pad, self.device)
        index = to_device(torch.tensor(source_of), self.device)
        cache = EncoderDecoderCache(_rows_of(encoded.decoder, index), _rows_of(encoded.cross, index))
        batch = to_device(torch.tensor([number for number, target in enumerate(targets) for _ in target]), self.device)
        place = to_device(torch.tensor([offset for target in targets for offset in range(len(target))]), self.device)
        with select_logits(self.inner, lambda states: states[batch, place]):
            logits: torch.Tensor = self.inner(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded.hidden[index]),
                attention_mask=encoded.mask[index],
                decoder_input_ids=ids,
                decoder_attention_mask=self._in_order(len(rows), self.virtual + 1, ids.shape[1]),
                use_cache=True,
                **cache_argument(self.inner, cache),
            ).logits
        self._count(targets)
        return logits[0]

    def _in_order(self, rows: int, before: int, new: int) -> torch.Tensor:
        """A mask [rows, 1, new, before + new]: each token sees those before it. Where it is left out, some models make one and read it."""
        seen = torch.ones((rows, 1, new, before + new), dtype=torch.bool, device=self.device).tril(before)
        return attention_mask(seen, self._boolean, self._dtype)

    @torch.inference_mode()
    def plain(self, rows: Sequence[SequenceRow]) -> tuple[torch.Tensor, list[list[int]]]:
        """Encoder and decoder in one forward of the module as it is, nothing shared or cached; see `score` for what is returned."""
        sources, targets = [row.source for row in rows], [row.tokens for row in rows]
        ids, mask = padded(sources, self.pad, self.device)
        decoder_ids, _ = padded(targets, self.pad, self.device)
        places = [(number, row.start + offset) for number, row in enumerate(rows) for offset in range(row.selected)]
        batch, place = to_device(torch.tensor(places).T.contiguous(), self.device)
        with select_logits(self.module, lambda states: states[batch, place]), silence_peft_warnings():
            logits: torch.Tensor = self.module(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False).logits
        self.usage.requested_tokens += sum(map(len, sources)) + sum(map(len, targets))
        self._count(sources)
        self._count(targets)
        return logits[0], consecutive(rows)

    def _count(self, sequences: Sequence[Sequence[int]]) -> None:
        """Add sequences that were computed together, each padded to the longest."""
        tokens = sum(map(len, sequences))
        self.usage.prefill_tokens += tokens
        self.usage.padding_tokens += len(sequences) * max(map(len, sequences)) - tokens


def _rows_of(content: KeysValues, index: torch.Tensor) -> Cache:
    """A cache that can grow, of these rows."""
    cache = Cache(layer_class_to_replicate=DynamicLayer)
    for number, (keys, values) in enumerate(content):
        cache.update(keys.index_select(0, index), values.index_select(0, index), number)
    return cache
