"""Tiny random classifiers, saved as `save_pretrained` saves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import tiny


def classifier(
    folder: Path, labels: Sequence[str] = ("fine", "toxic"), *, problem: str | None = None, positions: int = 64, roberta: bool = False
) -> Path:
    """Save a classifier of two layers with random weights and its tokenizer into `folder`, and return the folder.

    Args:
        folder: where to.
        labels: of its outputs.
        problem: the configuration's `problem_type`.
        positions: size of its table of positions.
        roberta: count positions as RoBERTa does, from behind the padding's.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

    words = tiny.tokenizer()
    options: dict[str, Any] = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": positions,
        "pad_token_id": words.pad_token_id,
        "initializer_range": 0.5,
        "id2label": dict(enumerate(labels)),
        "problem_type": problem,
    }
    torch.manual_seed(0)
    model = RobertaForSequenceClassification(RobertaConfig(**options)) if roberta else BertForSequenceClassification(BertConfig(**options))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
