"""Forward passes of decoder-only models: shared prefixes cached on the device, requests packed behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from harness.contract import TokenIds, Usage
from harness.engine.transformers.blocks import attending, lay_blocks
from harness.engine.transformers.budget import LARGEST_CHUNK, SMALLEST_CHUNK, chunk_size
from harness.engine.transformers.caches import KeysValues, cache_argument, cache_behind, contents, padded, silence_peft_warnings, to_device
from harness.engine.transformers.logprobs import select_logits
from harness.engine.transformers.memory import is_out_of_memory, release
from harness.engine.transformers.packing import PackedRow, attention, lay_out
from harness.engine.transformers.planning import SequenceRow
from harness.engine.transformers.soft_prompts import SoftPrompt


@dataclass
class PrefixCache:
    """A prefix cached on the device.

    Attributes:
        pieces: its tokens.
        content: keys and values of all pieces together, behind those of a soft prompt.
        virtual: tokens of the soft prompt, which stays.
    """

    pieces: tuple[TokenIds, ...] = ()
    content: KeysValues = field(default_factory=list)
    virtual: int = 0

    def cut(self, pieces: tuple[TokenIds, ...]) -> None:
        """Drop every piece from the first that differs from `pieces`."""
        common = 0
        for mine, other in zip(self.pieces, pieces, strict=False):
            if mine != other:
                break
            common += 1
        if common < len(self.pieces):
            self.pieces = self.pieces[:common]
            self.content = first_tokens(self.content, self.virtual + sum(map(len, self.pieces)))


def first_tokens(content: KeysValues, length: int) -> KeysValues:
    """Keys and values of the first tokens; an empty list for none."""
    return [(keys[:, :, :length].clone(), values[:, :, :length].clone()) for keys, values in content] if length else []


@dataclass
class CausalForward:
    """Runs sequences of a decoder-only model.

    Args:
        module: the transformers (or peft) model.
        pad: token id that fills rows.
        usage: where tokens are counted.
        soft: a soft prompt that stands before everything that is packed or decoded.
        budget: tokens of a forward pass; a longer prompt to continue is computed in chunks.
        blocks: whether packed rows are computed in blocks, one after another without padding; with a mask and side by side otherwise.
    """

    module: Any
    pad: int
    usage: Usage
    soft: SoftPrompt | None = None
    budget: int = LARGEST_CHUNK
    blocks: bool = False

    def __post_init__(self) -> None:
        self._chunk = chunk_size(self.budget)
        self.inner = self.soft.base if self.soft else self.module
        self.virtual = self.soft.length if self.soft else 0
        self.prefix = PrefixCache((), self.soft.content if self.soft else [], self.virtual)
        self.device = next(self.module.parameters()).device
        self._config = self.module.config.get_text_config()
        self._boolean = self._config._attn_implementation == "sdpa"
        self._dtype = self.module.get_input_embeddings().weight.dtype

    @torch.inference_mode()
    def plain(self, rows: Sequence[SequenceRow]) -> tuple[torch.Tensor, list[list[int]]]:
        """Rows side by side, padded on the right, where causal attention never looks; nothing is shared.

        Returns:
            Logits [selected, vocabulary] of the positions that are read, and for each row which of them are its own, in order.
        """
        sequences = [row.tokens for row in rows]
        ids, _ = padded(sequences, self.pad, self.device)
        places = [(number, row.start + offset) for number, row in enumerate(rows) for offset in range(row.selected)]
        batch, position = to_device(torch.tensor(places).T.contiguous(), self.device)

        def select(hidden: torch.Tensor) -> torch.Tensor:
            soft_prompt = hidden.shape[1] - ids.shape[1]
            return hidden[batch, position + soft_prompt]

        with select_logits(self.module, select), silence_peft_warnings():
            logits: torch.Tensor = self.module(input_ids=ids, use_cache=False).logits
        tokens = sum(map(len, sequences))
        self.usage.requested_tokens += tokens
        self.usage.prefill_tokens += tokens
        self.usage.padding_tokens += ids.numel() - tokens
        return logits[0], consecutive(rows)

    @torch.inference_mode()
    def packed(self, packed_rows: Sequence[Sequence[SequenceRow]], prefix: tuple[TokenIds, ...]) -> tuple[torch.Tensor, list[list[int]]]:
        """Packed rows behind a cached prefix; see `plain` for what is returned, packed row by packed row."""
        skip = self._load_prefix(prefix)
        laid = [lay_out([row.tokens for row in packed_row], skip) for packed_row in packed_rows]
        places: dict[tuple[int, int], int] = {}
        where: list[list[int]] = []
        for number, (packed_row, rows) in enumerate(zip(laid, packed_rows, strict=True)):
            for row, path in zip(rows, packed_row.paths, strict=True):
                first = row.start - skip
                read = path[first : first + row.selected].tolist()
                where.append([places.setdefault((number, place), len(places)) for place in read])
        logits, _ = self._forward(laid, self.prefix.content, list(places), keep=False)
        self.usage.requested_tokens += sum(len(row.tokens) for rows in packed_rows for row in rows)
        return logits, where

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[TokenIds], prefix: tuple[TokenIds, ...]) -> tuple[torch.Tensor, list[KeysValues]]:
        """Prompts behind a cached prefix, in one packed row; a single prompt that exceeds the budget in chunks.

        Returns:
            Logits [prompts, vocabulary] after each prompt's last token, and each prompt's keys and values, the prefix and a soft
            prompt included.
        """
        skip = self._load_prefix(prefix)
        content = self.prefix.content
        if len(prompts) == 1 and len(prompts[0]) - skip > self.budget:
            content, skip = self._extended(content, prompts[0][skip:-1], skip), len(prompts[0]) - 1
        packed_row = lay_out(prompts, skip)
        logits, computed = self._forward([packed_row], content, [(0, int(path[-1])) for path in packed_row.paths], keep=True)
        self.usage.requested_tokens += sum(map(len, prompts))
        skip += self.virtual
        before = torch.arange(skip)
        prompt_contents = []
        for path in packed_row.paths:
            index = to_device(torch.cat([before, torch.from_numpy(path) + skip]), self.device)
            prompt_contents.append([(keys.index_select(2, index), values.index_select(2, index)) for keys, values in computed])
        return logits, prompt_contents

    def _load_prefix(self, pieces: tuple[TokenIds, ...]) -> int:
        """Cache exactly this prefix; each piece is computed by forward passes of its own, so that they are always the same."""
        self.prefix.cut(pieces)
        skip = sum(map(len, self.prefix.pieces))
        for piece in pieces[len(self.prefix.pieces) :]:
            content = self._extended(self.prefix.content, piece, skip)
            self.prefix = PrefixCache((*self.prefix.pieces, piece), content, self.virtual)
            skip += len(piece)
        return skip

    def _extended(self, content: KeysValues, tokens: TokenIds, skip: int) -> KeysValues:
        """Keys and values of a cached prefix of `skip` tokens and of these behind it.

        They are computed chunk by chunk; where memory runs out, in chunks of half the size from then on.
        """
        low = 0
        while low < len(tokens):
            part = tokens[low : low + self._chunk]
            try:
                content = self._behind(content, part, skip + low)
            except Exception as error:
                if not is_out_of_memory(error) or len(part) <= SMALLEST_CHUNK:
                    raise
                self._chunk = max(SMALLEST_CHUNK, len(part) // 2)
            else:
                low += len(part)
                continue
            self.usage.out_of_memory += 1
            release()
        return content

    def _behind(self, content: KeysValues, tokens: TokenIds, skip: int) -> KeysValues:
        return self._forward([lay_out([(0,) * skip + tokens], skip)], content, [(0, 0)], keep=True)[1]

    def _forward(
        self, packed_rows: Sequence[PackedRow], content: KeysValues, read: Sequence[tuple[int, int]], *, keep: bool
    ) -> tuple[torch.Tensor, KeysValues]:
        """Logits [read, vocabulary] at (packed row, place), and keys and values of the prefix and what is new where they are kept.

        Args:
            packed_rows: what is computed; a single one where keys and values are kept.
            content: keys and values of the cached prefix.
            read: where logits are read.
            keep: whether keys and values are kept.
        """
        chains = not content and all(packed_row.chain for packed_row in packed_rows)
        if self.blocks and not (chains and len(packed_rows) == 1):
            return self._in_blocks(packed_rows, content, read, keep=keep)
        length = max(map(len, packed_rows))
        ids = torch.full((len(packed_rows), length), self.pad, dtype=torch.long)
        positions = torch.zeros((len(packed_rows), length), dtype=torch.long)
        for number, packed_row in enumerate(packed_rows):
            ids[number, : len(packed_row)] = torch.from_numpy(packed_row.tokens)
            positions[number, : len(packed_row)] = torch.from_numpy(packed_row.positions) + self.virtual
        row, place = (to_device(torch.tensor(index), self.device) for index in zip(*read, strict=True))
        # without a cache and a mask, transformers reads the positions, to look for packed rows
        cache = cache_behind(content, keep=keep or chains)
        prefix = cache.get_seq_length()
        mask = None if chains else self.mask(to_device(torch.from_numpy(attention(packed_rows, prefix)), self.device).unsqueeze(1))
        logits = self._logits(ids, mask, positions, cache, (row, place))
        tokens = sum(map(len, packed_rows))
        self.usage.prefill_tokens += tokens
        self.usage.padding_tokens += ids.numel() - tokens
        return logits, contents(cache) if keep else []

    def _in_blocks(
        self, packed_rows: Sequence[PackedRow], content: KeysValues, read: Sequence[tuple[int, int]], *, keep: bool
    ) -> tuple[torch.Tensor, KeysValues]:
        """As `_forward`; the packed rows stand in one row, one after another."""
        first = [0, *accumulate(map(len, packed_rows))]
        ids = torch.from_numpy(np.concatenate([packed_row.tokens for packed_row in packed_rows])).unsqueeze(0)
        positions = torch.from_numpy(np.concatenate([packed_row.positions for packed_row in packed_rows])).unsqueeze(0) + self.virtual
        place = to_device(torch.tensor([first[number] + place for number, place in read]), self.device)
        cache = cache_behind([], keep=True) if keep else None
        layout = lay_blocks(packed_rows, content, self._dtype, self.device)
        with attending(self._config, layout):
            logits = self._logits(ids, layout.token, positions, cache, (0, place))
        self.usage.prefill_tokens += ids.numel()
        new = contents(cache) if keep else []
        if not content or not keep:
            return logits, new
        pairs = zip(content, new, strict=True)
        return logits, [(torch.cat([keys, more], dim=2), torch.cat([values, others], dim=2)) for (keys, values), (more, others) in pairs]

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor, cache: Any, read: Any) -> torch.Tensor:
        with select_logits(self.inner, lambda hidden: hidden[read]):
            logits: torch.Tensor = self.inner(
                input_ids=to_device(ids, self.device),
                attention_mask=mask,
                position_ids=to_device(positions, self.device),
                use_cache=cache is not None,
                **cache_argument(self.inner, cache),
            ).logits
        return logits[0]

    def mask(self, seen: torch.Tensor) -> torch.Tensor:
        """What is seen, [batch, 1, queries, keys] of bool, as the model's attention wants it."""
        return attention_mask(seen, self._boolean, self._dtype)


def attention_mask(seen: torch.Tensor, boolean: bool, dtype: torch.dtype) -> torch.Tensor:
    """A mask of what is seen as an attention implementation wants it: true or false, or a number that is added.

    Args:
        seen: [batch, 1, queries, keys] of bool.
        boolean: whether the implementation takes it so.
        dtype: of the number otherwise.
    """
    if boolean:
        return seen
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def consecutive(rows: Sequence[SequenceRow]) -> list[list[int]]:
    """For each row which of the positions read are its own, where they are read row by row."""
    first = 0
    places = []
    for row in rows:
        places.append(list(range(first, first + row.selected)))
        first += row.selected
    return places
