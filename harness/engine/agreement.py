"""Whether a library's `generate` computes what full forwards compute: asked of the model itself, with a few tokens.

Several releases of transformers and peft together lose a soft prompt, or its positions, once keys and values are held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

import torch

from harness.contract import Generate, ScoreChoices, TokenIds, Usage
from harness.engine.generation import Generator, Searched
from harness.engine.planning import Row, rows_of
from harness.engine.probe import apart, trial_words, tried
from harness.errors import ModelError

NEW = 4
"""Tokens that a trial adds: the first comes of the prompt, the second of what is held, the others of what grows."""

Plain = Callable[[Sequence[Row]], tuple[torch.Tensor, list[list[int]]]]
"""Logits of rows by the model's own forward, as `CausalForward.plain` and `Seq2SeqForward.plain` give them."""


def agrees(generator: Generator, plain: Plain, start: int | None, beams: int, *, padded: bool) -> bool:
    """Whether the logits (of beams: the mean log-probability of the text found) are those of full forwards of the same tokens.

    What is compared are numbers, not texts: two ways of computing that differ by rounding may choose differently, and two that
    differ may choose alike.

    Args:
        generator: what is tried.
        plain: the model's own forward.
        start: first token of the decoder of an encoder-decoder model, None for decoder-only models.
        beams: how many beams search.
        padded: whether prompts of unlike lengths are tried in one batch.
    """
    trial = replace(generator, usage=Usage())
    words = trial_words(generator.module, 12)
    prompts = (words[:5], words[6:9] if padded else words[6:11])
    batch = [Generate(f"{number}", prompt, NEW, beams=beams) for number, prompt in enumerate(prompts)]
    forced = generator.module.generation_config.forced_bos_token_id is not None

    def difference() -> float:
        found = trial.searched(batch)
        expected = _full(plain, prompts, found.texts, start)
        return _beams_apart(found, expected, int(forced)) if found.logits is None else apart(found.logits, expected)

    return tried(difference, generator.module)


def _full(plain: Plain, prompts: Sequence[TokenIds], texts: Sequence[TokenIds], start: int | None) -> torch.Tensor:
    """Logits [rows, tokens, vocabulary] before each token of each text, a forward for each row."""
    found = []
    for prompt, text in zip(prompts, texts, strict=True):
        logits, (where,) = plain(rows_of(ScoreChoices("", prompt, (text,)), start))
        found.append(logits[where])
    return torch.stack(found)


def _beams_apart(found: Searched, expected: torch.Tensor, first: int) -> float:
    """Largest difference of mean log-probabilities, as a share of the log-probabilities' standard deviation.

    Tokens before `first` are forced, and count as certain.
    """
    table = torch.log_softmax(expected.float(), dim=-1)
    chosen = table.gather(-1, torch.tensor(found.texts, device=table.device).unsqueeze(-1)).squeeze(-1)
    assert found.scores is not None
    means = chosen[:, first:].sum(dim=-1) / chosen.shape[1]
    return float((means - found.scores).abs().max() / table.std().clamp_min(1e-6))


@lru_cache(1)
def libraries() -> str:
    """The libraries whose `generate` is tried, with their versions."""
    found = []
    for name in ("transformers", "peft"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return " with ".join(found)


def recomputed_note() -> str:
    """What is said of texts that `generate` would get wrong."""
    return (
        f"`generate` of {libraries()} differs from full forwards of this model: each token is computed from the whole text before it, "
        "which is slow."
    )


def unheld_note() -> str:
    """What is said of beams that `generate` gets right only without held keys and values."""
    return (
        f"Beam search of {libraries()} with held keys and values differs from full forwards of this model: nothing is held, which is slow."
    )


def beams_refused() -> ModelError:
    """What is said of beams that `generate` gets wrong."""
    return ModelError(
        f"Beam search of {libraries()} differs from full forwards of this model: its texts would be wrong.",
        "Set `generation.beams` to 1, or install other releases of these libraries (docs/versions.md names tested ones).",
    )
