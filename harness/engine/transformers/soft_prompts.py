"""Soft prompts as what they are to the base, embeddings or keys and values, so that the base computes the rest by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from harness.engine.transformers.caches import KeysValues, cache_argument, contents


@dataclass(frozen=True)
class SoftPrompt:
    """What peft puts before every input of a decoder-only model.

    Attributes:
        base: the transformers model without it.
        content: keys and values of the virtual tokens.
        length: virtual tokens, which count as positions.
    """

    base: Any
    content: KeysValues
    length: int


@dataclass(frozen=True)
class SourcePrompt:
    """What peft puts before every source, or before the decoder's start token, of an encoder-decoder model.

    Attributes:
        base: the transformers model without it.
        source: embeddings of virtual tokens of the source, [virtual, width]; none where virtual is 0.
        content: keys and values of virtual tokens of the decoder; an empty list for none.
    """

    base: Any
    source: torch.Tensor
    content: KeysValues


@torch.inference_mode()
def soft_prompt(module: Any) -> SoftPrompt | None:
    """The soft prompt of a decoder-only peft model; None where it has none, or one of a kind that depends on the input.

    Prompt tuning and p-tuning give embeddings, which the base turns into keys and values; prefix tuning gives these themselves.
    """
    soft = _given(module)
    if soft is None:
        return None
    base, given, prefix = soft
    if not prefix:
        cache = Cache(layer_class_to_replicate=DynamicLayer)
        base(inputs_embeds=given.to(base.get_input_embeddings().weight.dtype), use_cache=True, **cache_argument(base, cache))
        given = cache
    content = contents(given)
    return SoftPrompt(base, content, int(content[0][0].shape[2]))


@torch.inference_mode()
def source_prompt(module: Any) -> SourcePrompt | None:
    """The soft prompt of an encoder-decoder peft model; None as with `soft_prompt`.

    Prompt tuning and p-tuning give embeddings for the encoder, of which peft uses the first of two parts (the other would be the
    decoder's); prefix tuning gives the decoder's own keys and values.
    """
    soft = _given(module)
    if soft is None:
        return None
    base, given, prefix = soft
    embeddings = base.get_input_embeddings().weight
    if prefix:
        return SourcePrompt(base, embeddings.new_zeros((0, embeddings.shape[1])), contents(given.self_attention_cache))
    virtual = module.active_peft_config.num_virtual_tokens
    return SourcePrompt(base, given[0, :virtual].to(embeddings.dtype), [])


def _given(module: Any) -> tuple[Any, Any, bool] | None:
    """The base of a peft model, what its soft prompt gives for one row, and whether these are keys and values."""
    from peft import PeftType

    kind = getattr(getattr(module, "active_peft_config", None), "peft_type", None)
    if kind not in (PeftType.PROMPT_TUNING, PeftType.P_TUNING, PeftType.PREFIX_TUNING):
        return None
    return module.get_base_model(), module.get_prompt(batch_size=1), kind is PeftType.PREFIX_TUNING
