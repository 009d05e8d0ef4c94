"""Check an engine with an adapter against the model's own forward pass on a few tokens, before its scores are used.

The model is called as its authors call it: with whole sequences, nothing shared and nothing cut. This detects adapters that the engine
does not compute correctly, and adapters whose logits are not finite, before anything else is computed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import torch

from harness.contract import ChoiceScores, Response, ScoreChoices, TokenIds, Usage
from harness.engine.transformers.caches import silence_peft_warnings
from harness.engine.transformers.engine import TransformersEngine
from harness.engine.transformers.probe import apart, invocation_tokens, trial_words, tried
from harness.errors import AdapterError, BrokenModelError, NumericError


def trusted(engine: TransformersEngine, name: str) -> TransformersEngine:
    """The engine if its scores match the model's own forward pass; otherwise an engine that shares nothing between prompts.

    Args:
        engine: of a base with an adapter; the check is not counted in its usage.
        name: of the adapter, for messages.

    Raises:
        AdapterError: neither engine matches, or the forward pass gives values that are not finite.
    """
    requests = _requests(engine.module)
    start = engine.module.generation_config.decoder_start_token_id if engine.architecture == "seq2seq" else None
    try:
        if _matches_probe(engine):
            return engine
        expected = _forward(engine.module, requests, start)
        if not all(map(math.isfinite, expected)):
            raise _not_finite(engine.module, name, requests, start)
        for candidate in (engine, replace(engine, share=False, usage=Usage(), notes=list(engine.notes))):
            matches = _matches(candidate, requests, expected)
            for spent in fields(Usage):
                setattr(candidate.usage, spent.name, spent.default)
            if matches:
                if candidate is not engine:
                    candidate.notes.append(f"The adapter {name} does not work with shared prompts: prompts share nothing, which is slower.")
                return candidate
    except BrokenModelError as error:
        raise _not_finite(engine.module, name, requests, start) from error
    raise AdapterError(
        f"With the adapter {name}, the scores differ from those of the model's own forward pass: PEFT computes it in a way that is not "
        "supported.",
        "Merge it into its base where it was trained, and evaluate the merged model.",
    )


@torch.inference_mode()
def _matches_probe(engine: TransformersEngine) -> bool:
    """Whether a sequence that was computed to probe sharing matches the module's own forward pass; costs only one call."""
    if engine.architecture == "seq2seq" or (probed := engine.abilities.probed) is None:
        return False
    ids = torch.tensor([probed.tokens], device=probed.logits.device)

    def difference() -> float:
        with silence_peft_warnings():
            logits = engine.module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -len(probed.tokens) :]
        return apart(probed.logits, logits[probed.start : probed.start + len(probed.logits)])

    return tried(difference, engine.module)


def _requests(module: Any) -> list[ScoreChoices]:
    """Two questions with a common beginning and one choice each; both contain the invocation tokens of an aLoRA adapter.

    They are short, because every token takes as long as in a run.
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
    ids = tensor([context if start is not None else context + choice[:-1] for context, choice in pairs])
    arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if start is not None:
        arguments["decoder_input_ids"] = tensor([(start, *choice[:-1]) for _, choice in pairs])
    with warnings.catch_warnings(), silence_peft_warnings():
        warnings.simplefilter("ignore")
        logits = module(**arguments, use_cache=False).logits.float()
    width = choices.shape[1]
    logprobs = torch.log_softmax(logits[:, -width:], dim=-1).gather(-1, choices.unsqueeze(-1)).squeeze(-1)
    sums: list[float] = logprobs.sum(dim=-1).tolist()
    return sums


def _matches(engine: TransformersEngine, requests: Sequence[ScoreChoices], expected: Sequence[float]) -> bool:
    def difference() -> float:
        try:
            scores = {response.id: response for batch in engine.score(requests) for response in batch}
        except BrokenModelError:
            raise
        except NumericError:
            return math.inf
        computed = _logprobs(scores[request.id] for request in requests)
        return max(abs(value - other) for value, other in zip(computed, expected, strict=True)) / max(1.0, *map(abs, expected))

    return tried(difference, engine.module)


def _logprobs(responses: Iterator[Response]) -> Iterator[float]:
    for response in responses:
        assert isinstance(response, ChoiceScores)
        yield from response.logprobs


def _not_finite(module: Any, name: str, requests: Sequence[ScoreChoices], start: int | None) -> AdapterError:
    dtype = str(module.get_input_embeddings().weight.dtype).removeprefix("torch.")
    without = getattr(module, "disable_adapter", nullcontext)
    with without():
        alone = _forward(module, requests, start) if without is not nullcontext else [math.nan]
    base_is_finite = all(map(math.isfinite, alone))
    return AdapterError(
        f"With the adapter {name}, the model's log-probabilities are NaN or infinite in {dtype}"
        + ("; those of the base alone are finite." if base_is_finite else "."),
        "Values overflow: check lora_alpha in its adapter_config.json, take an earlier checkpoint, or use --dtype float32.",
    )
