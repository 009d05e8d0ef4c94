"""A decoder-only model's soft prompt as keys and values that stand before every sequence, so that the base computes the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from harness.engine.caches import KeysValues, contents


@dataclass(frozen=True)
class SoftPrompt:
    """What peft puts before every input.

    Attributes:
        base: the transformers model without it.
        content: keys and values of the virtual tokens.
        length: virtual tokens, which count as positions.
    """

    base: Any
    content: KeysValues
    length: int


@torch.inference_mode()
def soft_prompt(module: Any) -> SoftPrompt | None:
    """The soft prompt of a peft model; None where it has none, or one of a kind that depends on the input.

    Prompt tuning and p-tuning give embeddings, which the base turns into keys and values; prefix tuning gives these themselves.
    """
    from peft import PeftType

    config = getattr(module, "active_peft_config", None)
    kind = getattr(config, "peft_type", None)
    if kind not in (PeftType.PROMPT_TUNING, PeftType.P_TUNING, PeftType.PREFIX_TUNING):
        return None
    base, given = module.get_base_model(), module.get_prompt(batch_size=1)
    if kind is not PeftType.PREFIX_TUNING:
        given = base(inputs_embeds=given.to(base.get_input_embeddings().weight.dtype), use_cache=True).past_key_values
    content = contents(given)
    return SoftPrompt(base, content, int(content[0][0].shape[2]))
