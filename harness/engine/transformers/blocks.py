"""Attention of packed rows in blocks: every token to the cached prefix, every question to itself, merged by their log-sums.

Under one mask for a whole packed row each token meets the tokens of all its neighbours only to forget them. Here the prefix has no mask,
and tokens meet those of their own block alone. The softmax over both parts is exact: with log-sums a and b of the exponentials, the first
part weighs 1 / (1 + exp(b - a)), as in the merging of partial softmaxes of FlashAttention (Dao et al., 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface

from harness.engine.transformers.caches import KeysValues, to_device
from harness.engine.transformers.packing import PackedRow, Span

_NAME = "harness_blocks"

_HARMLESS = frozenset(
    {"dropout", "position_ids", "cache_position", "use_cache", "output_attentions", "sliding_window", "is_causal", "position_embeddings"}
)
"""What a model's attention may hand on beside queries, keys and values: none of it changes here what a token sees."""

_KERNEL = 1500
"""What a call of the kernel costs beside its products, in pairs of a query and a key; measured by `python -m benchmarks.engine.blocks`."""


@dataclass(frozen=True)
class Block:
    """Tokens that see the cached prefix, some of each other, and some earlier ones.

    Attributes:
        first: the first of them.
        end: one beyond the last.
        keys: [keys] places of the tokens that they see, themselves last; None for themselves alone.
        mask: [queries, keys], 0 for what is seen and negative infinity for what is not; None for each token and those before it.
    """

    first: int
    end: int
    keys: torch.Tensor | None
    mask: torch.Tensor | None


@dataclass
class Layout:
    """What the attention of one forward pass needs to know.

    Attributes:
        blocks: they cover all tokens, in order.
        prefix: keys and values of the cached prefix, a pair a layer; an empty list for none.
        token: stands in the place of the attention mask.
    """

    blocks: Sequence[Block]
    prefix: KeysValues
    token: torch.Tensor


_current: list[Layout] = []


def lay_blocks(packed_rows: Sequence[PackedRow], prefix: KeysValues, dtype: torch.dtype, device: torch.device) -> Layout:
    """Blocks of packed rows that stand in one row, one after another."""
    blocks: list[Block] = []
    offset = 0
    for packed_row in packed_rows:
        blocks += [_block(spans, offset, dtype, device) for spans in grouped(packed_row.spans)]
        offset += len(packed_row)
    return Layout(blocks, prefix, torch.zeros((1, 1, 1, 1), dtype=dtype, device=device))


def grouped(spans: Sequence[Span]) -> list[list[Span]]:
    """Neighbouring spans that are computed together: those whose products cost less so than apart."""
    groups: list[list[Span]] = []
    tokens = seen = 0
    for span in spans:
        first, end, trunk = span
        own, inside = end - first, 0
        if groups:
            inside = int(len(trunk) - np.searchsorted(trunk, groups[-1][0][0]))
        outside = len(trunk) - inside
        joined = (tokens + own) * (max(seen, outside) + tokens + own)
        apart = tokens * (seen + tokens) + own * (len(trunk) + own) + _KERNEL
        if groups and joined <= apart:
            groups[-1].append(span)
            tokens, seen = tokens + own, max(seen, outside)
        else:
            groups.append([span])
            tokens, seen = own, len(trunk)
    return groups


def _block(spans: Sequence[Span], offset: int, dtype: torch.dtype, device: torch.device) -> Block:
    """A block of neighbouring spans; `offset` is where their packed row begins."""
    first, end = spans[0][0], spans[-1][1]
    earlier = np.unique(np.concatenate([trunk[trunk < first] for _, _, trunk in spans]))
    if len(spans) == 1 and not len(earlier):
        return Block(offset + first, offset + end, None, None)
    unseen = np.full((end - first, len(earlier) + end - first), -np.inf, dtype=np.float32)
    for low, high, trunk in spans:
        rows = slice(low - first, high - first)
        before = np.searchsorted(trunk, first)
        unseen[rows, np.searchsorted(earlier, trunk[:before])] = 0
        unseen[rows, len(earlier) + trunk[before:] - first] = 0
        unseen[rows, len(earlier) + low - first : len(earlier) + high - first] = np.triu(np.full((high - low, high - low), -np.inf), 1)
    keys = to_device(torch.from_numpy(np.concatenate([earlier, np.arange(first, end)]) + offset), device) if len(earlier) else None
    return Block(offset + first, offset + end, keys, to_device(torch.from_numpy(unseen).to(dtype), device))


@contextmanager
def attending(config: Any, layout: Layout) -> Iterator[None]:
    """While active, a model's attention follows a layout.

    Args:
        config: the text configuration of the model, which its attention layers read.
        layout: of the forward pass.
    """
    before = config._attn_implementation
    config._attn_implementation = _NAME
    _current.append(layout)
    try:
        yield
    finally:
        _current.pop()
        config._attn_implementation = before


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers' layers call it: queries [1, heads, tokens, width]; returns [1, tokens, heads, width].

    Raises:
        NotImplementedError: the layer wants more than this knows.
    """
    layout = _current[-1]
    unknown = [name for name, given in others.items() if name not in _HARMLESS and given is not None]
    if unknown or attention_mask is not layout.token or query.shape[0] != 1:
        raise NotImplementedError(f"attention with {', '.join(unknown) or 'a mask of its own'}")
    heads, tokens, width = query.shape[1:]
    shared = key.shape[1]
    queries = query[0].reshape(shared, heads // shared, tokens, width)
    keys, values = key[0].unsqueeze(1), value[0].unsqueeze(1)
    scale = width**-0.5 if scaling is None else scaling
    before = _before(layout, module.layer_idx, queries, scale)
    result = query.new_empty((tokens, shared, heads // shared, width))
    places = result.permute(1, 2, 0, 3)
    for block in layout.blocks:
        part = slice(block.first, block.end)
        if block.keys is None:
            seen = keys[:, :, part], values[:, :, part]
        else:
            seen = keys.index_select(2, block.keys), values.index_select(2, block.keys)
        own, own_sum = _kernel(queries[:, :, part], *seen, block.mask, block.mask is None, scale)
        if before is None:
            places[:, :, part] = own
        else:
            weight = torch.sigmoid(own_sum - before[1][:, :, part]).unsqueeze(-1).to(own.dtype)
            torch.lerp(before[0][:, :, part], own, weight, out=places[:, :, part])
    return result.view(1, tokens, heads, width), None


def _before(layout: Layout, layer: int, queries: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor] | None:
    """What all tokens see of the cached prefix, and the log-sums of its exponentials."""
    if not layout.prefix:
        return None
    keys, values = (part[0].unsqueeze(1) for part in layout.prefix[layer])
    return _kernel(queries, keys, values, None, False, scale)


def _kernel(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, causal: bool, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention [batch, group, queries, width] and log-sums [batch, group, queries]; keys and values are shared by a group."""
    group = queries.shape[1]
    keys, values = keys.expand(-1, group, -1, -1), values.expand(-1, group, -1, -1)
    result: tuple[torch.Tensor, torch.Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        queries, keys, values, 0.0, causal, attn_mask=mask, scale=scale
    )
    return result


AttentionInterface.register(_NAME, _attend)
