"""Tiny random models of several architectures, loaded as a user's folder is, and a plain reference for their scores."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from harness.contract import ScoreChoices, ScoreText, TokenIds
from harness.engine.transformers.budget import Budget
from harness.engine.transformers.engine import TransformersEngine
from harness.models import cards
from harness.models.loading import Loaded, load_model, load_tokenizer
from tests.tiny import tiny_causal, tokenizer

FIRST_WORD = 3
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _gpt2(words: int) -> Any:
    """Learned positions."""
    return hf.GPT2LMHeadModel(
        hf.GPT2Config(vocab_size=words, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.2, **SPECIAL)
    )


def _gemma2(words: int) -> Any:
    """Logits squashed by a tight cap; every second layer attends to a window."""
    caps = {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 5.0}
    config = hf.Gemma2Config(
        vocab_size=words, num_key_value_heads=2, head_dim=8, sliding_window=6, attn_implementation="eager", **caps, **SIZES, **SPECIAL
    )
    return hf.Gemma2ForCausalLM(config)


def _qwen3(words: int) -> Any:
    """Normalized queries and keys."""
    config = hf.Qwen3Config(vocab_size=words, num_key_value_heads=2, head_dim=8, max_position_embeddings=256, **SIZES, **SPECIAL)
    return hf.Qwen3ForCausalLM(config)


def _mistral(words: int) -> Any:
    """Attention within a window of six tokens."""
    config = hf.MistralConfig(vocab_size=words, num_key_value_heads=2, sliding_window=6, max_position_embeddings=256, **SIZES, **SPECIAL)
    return hf.MistralForCausalLM(config)


def _t5(words: int) -> Any:
    """Encoder-decoder with relative positions, gated activations and a head of its own; logits small enough to compare to 1e-5."""
    config = hf.T5Config(
        vocab_size=words,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        initializer_factor=0.5,
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        **SPECIAL,
    )
    model = hf.T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(torch.randn(words, 32))  # T5Config ties whatever it is told; a head of its own is set by hand
    return model


def _bart(words: int) -> Any:
    """Encoder-decoder with learned positions, a head tied to the embeddings, and a bias on its logits."""
    config = hf.BartConfig(
        vocab_size=words,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        init_std=0.2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
        **SPECIAL,
    )
    model = hf.BartForConditionalGeneration(config)
    model.final_logits_bias.copy_(torch.linspace(-1, 1, words))
    return model


_MADE: dict[str, tuple[Callable[[int], Any], bool]] = {
    "gpt2": (_gpt2, False),
    "qwen3": (_qwen3, False),
    "gemma2": (_gemma2, False),
    "mistral": (_mistral, False),
    "t5": (_t5, True),
    "bart": (_bart, True),
}
CAUSAL = ("llama", "gpt2", "qwen3", "gemma2", "mistral")
SEQ2SEQ = ("t5", "bart")


def save(name: str, folder: Path) -> Path:
    """Save a tiny model of an architecture with its tokenizer."""
    if name == "llama":
        return tiny_causal(folder)
    make, end = _MADE[name]
    words = tokenizer(end=end)
    torch.manual_seed(0)
    make(len(words)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> Loaded:
    """Load a folder as a run does."""
    source = cards.resolve(str(folder))
    return load_model(source, tokenizer=load_tokenizer(source), device="cpu", **options)


def engine(loaded: Loaded, budget: int = 4096, *, share: bool = True, **sizes: int) -> TransformersEngine:
    """An engine on a loaded model that knows already what the model's forward allows."""
    made = TransformersEngine(loaded.module, loaded.tokenizer, loaded.architecture, Budget(budget, budget, **sizes), share)
    assert made.abilities is not None
    return made


def words(rng: random.Random, length: int) -> TokenIds:
    """Random token ids without special tokens."""
    return tuple(rng.randrange(FIRST_WORD, 300) for _ in range(length))


def questions(seed: int, number: int, longest: int = 30) -> list[ScoreChoices]:
    """Questions with one to five choices of one to eight tokens, some of which begin alike; contexts of one token and more."""
    rng = random.Random(seed)
    made = []
    for index in range(number):
        stem = words(rng, 8)
        choices = [
            stem[: rng.randint(0, 7)] + words(rng, 1) if rng.random() < 0.5 else words(rng, rng.randint(1, 8))
            for _ in range(rng.randint(1, 5))
        ]
        made.append(ScoreChoices(f"q{index}", words(rng, 1 if index % 4 == 0 else rng.randint(2, longest)), tuple(choices)))
    return made


@torch.no_grad()
def naive_logprob(module: Any, architecture: str, context: Sequence[int], continuation: Sequence[int], soft_prompt: int = 0) -> float:
    """log P(continuation | context): one full forward of this sequence alone, softmax over everything in float64, a plain loop."""
    if architecture == "causal":
        logits = module(input_ids=torch.tensor([[*context, *continuation]])).logits[0]
        first = len(context) - 1 + soft_prompt
    else:
        start = module.generation_config.decoder_start_token_id
        decoder = torch.tensor([[start, *continuation[:-1]]])
        logits = module(input_ids=torch.tensor([list(context)]), decoder_input_ids=decoder).logits[0]
        first = 0
    table = torch.log_softmax(logits.double(), dim=-1)
    return sum(float(table[first + place, token]) for place, token in enumerate(continuation))


def naive_choices(loaded: Loaded, request: ScoreChoices) -> list[float]:
    """The reference for a question."""
    return [naive_logprob(loaded.module, loaded.architecture, request.context, choice) for choice in request.choices]


def naive_text(loaded: Loaded, request: ScoreText) -> list[float]:
    """The reference for the windows of a text."""
    return [naive_logprob(loaded.module, loaded.architecture, context, scored) for context, scored in request.windows]


@torch.no_grad()
def greedy_tokens(loaded: Loaded, context: Sequence[int], number: int) -> TokenIds:
    """The likeliest continuation, one full forward a token; end tokens are tokens like any other here."""
    found: list[int] = []
    for _ in range(number):
        if loaded.architecture == "causal":
            logits = loaded.module(input_ids=torch.tensor([[*context, *found]])).logits
        else:
            decoder = torch.tensor([[loaded.module.generation_config.decoder_start_token_id, *found]])
            logits = loaded.module(input_ids=torch.tensor([list(context)]), decoder_input_ids=decoder).logits
        found.append(int(logits[0, -1].argmax()))
    return tuple(found)
