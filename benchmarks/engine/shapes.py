"""Models of common shapes with random weights and real tokenizers, for speed on a GPU: a Llama of 1.2 billion weights, and FLAN-T5 base."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, LlamaConfig

from benchmarks.engine.workloads import CAUSAL, SEQ2SEQ

LLAMA = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rope_theta": 500_000.0,
}
"""Llama 3.2's smallest (its model card), with another vocabulary."""

T5_BASE = {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_decoder_layers": 12, "num_heads": 12, "d_kv": 64}
"""FLAN-T5 base (Chung et al., 2022; its config.json)."""


def make(models: Path, folder: Path) -> Path:
    """Write both below `folder`, under the names of the workloads' models, whose tokenizers they take; returns it.

    Args:
        models: folder that holds both workloads' models.
        folder: where the random ones go; those that are there are kept.
    """
    torch.manual_seed(0)
    for name, kind, config in (
        (CAUSAL, AutoModelForCausalLM, LlamaConfig(vocab_size=AutoConfig.from_pretrained(models / CAUSAL).vocab_size, **LLAMA)),
        (SEQ2SEQ, AutoModelForSeq2SeqLM, AutoConfig.from_pretrained(models / SEQ2SEQ, **T5_BASE)),
    ):
        if not (folder / name).exists():
            tokenizer = AutoTokenizer.from_pretrained(models / name)
            config.bos_token_id, config.eos_token_id, config.pad_token_id = (
                tokenizer.bos_token_id,
                tokenizer.eos_token_id,
                tokenizer.pad_token_id,
            )
            kind.from_config(config, dtype=torch.bfloat16).save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
    return folder
