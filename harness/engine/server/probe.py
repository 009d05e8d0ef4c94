"""Probes a server before its numbers are believed. Some servers ignore what they do not know, and answer with status 200."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.contract import TokenIds
from harness.engine.server.client import RefusedRequestError
from harness.engine.server.dialects import PromptScores, ServerDialect
from harness.errors import ModelError

TEXT = "The capital of France is Paris, and the capital of Italy is"
LABELS = (" Rome", " Milan", " Berlin", " the")
TOKENIZED = "Hello, world. 1234567 naïve façades: Größe, 東京, Москва\n\tdef f(x): return [x]*2"
"""Few tokenizers that differ make equal numbers of tokens of this text."""
REPEATED = 0.05
"""Nats by which a log-probability may differ when the same prompt is scored again; batches round differently in half precision."""
_START_AND_END = 2
"""Tokens that a server may add to a text, or count, where the local tokenizer does not; they are not added to token ids."""
_SLACK = 0.02
"""How far a sum of probabilities may exceed 1, from rounding."""


def check_scores(dialect: ServerDialect, tokenizer: Any, where: str) -> None:
    """Raise ModelError unless a server's log-probabilities of prompts can be believed.

    Checked are: as many positions as tokens, none for the first token, finite and not positive, not constant, equal on repetition, a
    sum of at most 1 over different continuations, and the tokenizer, on a short text that the server tokenizes itself.

    Args:
        dialect: how the server is asked.
        tokenizer: the local one.
        where: names the server.
    """
    ids = _ids(tokenizer, TEXT)
    try:
        first = dialect.score(ids)
    except RefusedRequestError as error:
        words = f"it refuses token ids as a prompt ({error.what.rstrip('.')})"
        try:
            silent = not dialect.score(TEXT).logprobs
        except RefusedRequestError:
            silent = False
        raise _refused(where, words + ", and gives text no log-probabilities" if silent else words) from error
    _check_positions(first, ids, where)
    values = [value for value in first.logprobs[1:] if value is not None]
    if len({round(value, 6) for value in values}) == 1:
        raise _refused(where, f"the log-probability is {values[0]:.4g} at every position")
    again = dialect.score(ids)
    _check_positions(again, ids, where)
    pairs = zip(first.logprobs[1:], again.logprobs[1:], strict=True)
    furthest = max(abs((before or 0.0) - (after or 0.0)) for before, after in pairs)
    if furthest > REPEATED:
        raise _refused(where, f"the same prompt scored twice differs by {furthest:.3g} nats")
    labels = list(dict.fromkeys(_ids(tokenizer, label, special=False)[0] for label in LABELS))
    masses = []
    for label in labels:
        scores = dialect.score((*ids, label))
        _check_positions(scores, (*ids, label), where)
        masses.append(math.exp(scores.logprobs[-1] or 0.0))
    if sum(masses) > 1 + _SLACK:
        raise _refused(where, f"the probabilities of {len(labels)} different next tokens add up to {sum(masses):.3g}")
    check_tokenizer(dialect, tokenizer, where, tolerance=0)


def check_tokenizer(dialect: ServerDialect, tokenizer: Any, where: str, tolerance: int = _START_AND_END) -> None:
    """Raise ModelError where a server tokenizes otherwise than the local tokenizer, so that token ids would mean something else to it.

    Args:
        dialect: how the server is asked.
        tokenizer: the local one.
        where: names the server.
        tolerance: by how much the number of tokens may differ, where the server does not report ids.
    """
    difference = _difference(dialect, tokenizer, tolerance)
    if difference:
        raise ModelError(f"{where} has another tokenizer than --model: {difference}.", "Give --model the model that the server serves.")


def _difference(dialect: ServerDialect, tokenizer: Any, tolerance: int) -> str:
    """How the server's tokens of a text differ from the local ones, where their number differs by more than the tolerance."""
    expected, reported = _ids(tokenizer, TOKENIZED), dialect.tokenized(TOKENIZED)
    if reported.ids is not None and reported.ids != expected:
        return f"it tokenizes {TOKENIZED!r} into the ids {_start(reported.ids)}, and the local tokenizer into {_start(expected)}"
    if reported.number is not None and abs(reported.number - len(expected)) > tolerance:
        return f"it tokenizes {TOKENIZED!r} into {reported.number} tokens, and the local tokenizer into {len(expected)}"
    return ""


def _start(ids: TokenIds) -> str:
    return ", ".join(map(str, ids[:8])) + ", …"


def _check_positions(scores: PromptScores, ids: Sequence[int], where: str) -> None:
    if not scores.logprobs:
        raise _refused(where, "it returns no log-probabilities of the prompt")
    if len(scores.logprobs) != len(ids):
        raise _refused(where, f"it returns {len(scores.logprobs)} log-probabilities for {len(ids)} tokens")
    if scores.prompt_tokens is not None and scores.prompt_tokens != len(ids):
        raise _refused(where, f"it counts {scores.prompt_tokens} prompt tokens where {len(ids)} were sent")
    if scores.logprobs[0] is not None:
        raise _refused(where, "it gives the first token a log-probability, which nothing precedes")
    if any(value is None or not math.isfinite(value) or value > 1e-6 for value in scores.logprobs[1:]):
        raise _refused(where, "a log-probability is missing, infinite or positive")


def _refused(where: str, what: str) -> ModelError:
    return ModelError(
        f"{where} cannot score choices or texts: {what}.",
        "Use it for tasks that generate text only, or serve the model with vLLM, or evaluate it with --engine transformers.",
    )


def _ids(tokenizer: Any, text: str, *, special: bool = True) -> TokenIds:
    return tuple(tokenizer([text], add_special_tokens=special)["input_ids"][0])
