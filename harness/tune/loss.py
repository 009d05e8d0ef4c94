"""The loss: cross-entropy of the completion's tokens, computed at their positions alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from harness.engine.transformers.caches import silence_peft_warnings
from harness.tune.batches import IGNORED, Batch

Architecture = Literal["causal", "seq2seq"]


def completion_loss(module: Any, batch: Batch, architecture: Architecture) -> torch.Tensor:
    """Summed cross-entropy (nats) of the labelled tokens, a scalar in float32.

    The output head sees only the positions that predict a label. It is a large part of a small model, and most positions of a
    decoder-only model are prompt.

    Args:
        module: a transformers model, or a peft model around one.
        batch: `input_ids` and `attention_mask` [pairs, length], `labels` [pairs, length of the same or of the completions].
        architecture: whether labels are part of the input, or the decoder's.
    """
    labels = batch["labels"]
    if architecture == "causal":
        where = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
        given: dict[str, Any] = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        targets = labels[:, 1:][where]
        read = batch["input_ids"].shape[1]
    else:
        where = (labels != IGNORED).nonzero(as_tuple=True)
        given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "decoder_input_ids": _shifted(module, labels)}
        targets = labels[where]
        read = labels.shape[1]
    with _only(module, where, read), silence_peft_warnings():
        logits = module(**given, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[0].float(), targets, reduction="sum")


def _shifted(module: Any, labels: torch.Tensor) -> torch.Tensor:
    """What the decoder reads: its start token, then the labels but the last."""
    config = module.generation_config
    start = torch.full_like(labels[:, :1], config.decoder_start_token_id)
    before = labels[:, :-1]
    return torch.cat([start, before.masked_fill(before == IGNORED, config.pad_token_id)], dim=1)


def completion_tokens(batch: Batch, architecture: Architecture) -> int:
    """How many tokens `completion_loss` sums over; the first token of a decoder-only sequence has no prediction."""
    labels = batch["labels"][:, 1:] if architecture == "causal" else batch["labels"]
    return int((labels != IGNORED).sum())


@contextmanager
def _only(module: Any, where: tuple[torch.Tensor, ...], read: int) -> Iterator[None]:
    """While active, the output head sees hidden states [1, selected, width]: those at `where`, moved by a soft prompt before the input."""

    def pick(_: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = arguments[0]
        return (hidden[where[0], where[1] + hidden.shape[1] - read].unsqueeze(0), *arguments[1:])

    handle = module.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
