"""Check an engine against the model's own forward on a few tokens before its scores are trusted.

The model is called as its authors call it: whole sequences, nothing shared, nothing cut. A way of computing that an adapter does not
follow, or numbers that are none, are found out before anything is computed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch

from harness.contract import ChoiceScores, ScoreChoices, TokenIds, Usage
from harness.engine.caches import silence_peft_warnings
from harness.engine.probe import apart, invocation_tokens, trial_words, tried
from harness.errors import AdapterError, BrokenModelError, NumericError

if TYPE_CHECKING:
    from harness.engine.transformers import TransformersEngine


def trusted(engine: TransformersEngine, name: str) -> TransformersEngine:
    """The engine where it scores as the model's own forward does, else one that shares nothing between prompts.

    Args:
        engine: of a base with an adapter on it; what the check costs is not counted.
        name: of the adapter, for messages.

    Raises:
        AdapterError: neither scores so, or the forward gives values that are no numbers.
    """
    requests = _requests(engine.module)
    start = engine.module.generation_config.decoder_start_token_id if engine.architecture == "seq2seq" else None
    try:
        if _was_probed(engine):
            return engine
        expected = _forward(engine.module, requests, start)
        if not all(map(math.isfinite, expected)):
            raise _not_finite(engine.module, name, requests, start)
        for one in (engine, replace(engine, share=False, usage=Usage(), notes=[])):
            fits = _agrees(one, requests, expected)
            for spent in fields(Usage):
                setattr(one.usage, spent.name, spent.default)
            if fits:
                if one is not engine:
                    one.notes.append(f"The adapter {name} does not work with shared prompts: nothing is shared, which is slower.")
                return one
    except BrokenModelError as error:
        raise _not_finite(engine.module, name, requests, start) from error
    raise AdapterError(
        f"With the adapter {name} the scores computed here are not those of the model's own forward: peft computes it in a way that is "
        "not known here.",
        "Merge it into its base where it was trained, and score the merged model.",
    )


@torch.inference_mode()
def _was_probed(engine: TransformersEngine) -> bool:
    """Whether the sequence with which sharing was tried comes out as from the module's own forward: one call, where all else costs more."""
    if engine.architecture == "seq2seq" or (probed := engine.abilities.probed) is None:
        return False
    ids = torch.tensor([probed.tokens], device=probed.logits.device)

    def difference() -> float:
        with silence_peft_warnings():
            logits = engine.module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -len(probed.tokens) :]
        return apart(probed.logits, logits[probed.start : probed.start + len(probed.logits)])

    return tried(difference, engine.module)


def _requests(module: Any) -> list[ScoreChoices]:
    """Two questions that begin alike, with a choice each: few tokens, since each costs what it does in a run.

    Where an adapter is active only behind certain tokens, these are in both.
    """
    words, active = trial_words(module, 9), invocation_tokens(module)
    contexts = (words[:2] + active + words[2:3], words[:2] + active + words[3:4])
    choices = (words[4:6], words[6:8])
    return [ScoreChoices(f"{number}", context, (choice,)) for number, (context, choice) in enumerate(zip(contexts, choices, strict=True))]


@torch.inference_mode()
def _forward(module: Any, requests: Sequence[ScoreChoices], start: int | None) -> list[float]:
    """The log-probability of each choice of each request, from one call of the module with whole sequences of equal length."""
    pairs = [(request.context, choice) for request in requests for choice in request.choices]
    device = next(module.parameters()).device

    def tensor(rows: Sequence[TokenIds]) -> torch.Tensor:
        return torch.tensor(rows, device=device)

    choices = tensor([choice for _, choice in pairs])
    if start is None:
        ids = tensor([context + choice[:-1] for context, choice in pairs])
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        ids = tensor([context for context, _ in pairs])
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        given["decoder_input_ids"] = tensor([(start, *choice[:-1]) for _, choice in pairs])
    with warnings.catch_warnings(), silence_peft_warnings():
        warnings.simplefilter("ignore")
        logits = module(**given, use_cache=False).logits.float()
    width = choices.shape[1]
    logprobs = torch.log_softmax(logits[:, -width:], dim=-1).gather(-1, choices.unsqueeze(-1)).squeeze(-1)
    found: list[float] = logprobs.sum(dim=-1).tolist()
    return found


def _agrees(engine: TransformersEngine, requests: Sequence[ScoreChoices], expected: Sequence[float]) -> bool:
    def difference() -> float:
        try:
            scores = {one.id: one for batch in engine.score(requests) for one in batch}
        except BrokenModelError:
            raise
        except NumericError:
            return math.inf
        found = list(_values(scores[request.id] for request in requests))
        return max(abs(one - other) for one, other in zip(found, expected, strict=True)) / max(1.0, *map(abs, expected))

    return tried(difference, engine.module)


def _values(responses: Iterator[Any]) -> Iterator[float]:
    for response in responses:
        assert isinstance(response, ChoiceScores)
        yield from response.logprobs


def _not_finite(module: Any, name: str, requests: Sequence[ScoreChoices], start: int | None) -> AdapterError:
    dtype = str(module.get_input_embeddings().weight.dtype).removeprefix("torch.")
    without = getattr(module, "disable_adapter", nullcontext)
    with without():
        alone = _forward(module, requests, start) if without is not nullcontext else [math.nan]
    beside = ", where the base alone gives numbers" if all(map(math.isfinite, alone)) else ""
    return AdapterError(
        f"With the adapter {name} the model gives log-probabilities that are no numbers in {dtype}{beside}.",
        "Values overflow: check lora_alpha in its adapter_config.json and take an earlier checkpoint, or use --dtype float32.",
    )
