"""What can be an answer to a request, whoever computed it and wherever it was kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.contract import ChoiceScores, Generation, ScoreChoices, ScoreText, TextScore

if TYPE_CHECKING:
    from harness.contract import Generate, Request, Response

HIGHEST = 1e-3
"""Highest log-probability that counts as one, in nats. Log-softmax in float32 can round a sure token to a few 1e-7 above 0, and a text sums
thousands of tokens; a mistake (a logit, a probability) is far above."""

_FINISHES = frozenset({"eos", "stop", "length"})
_TOKENS = 2**31
"""Token ids lie below this in every tokenizer."""


def fault(request: Request, response: Response) -> str | None:
    """Why `response` cannot be the answer to `request`, or None where it can be.

    Args:
        request: what was asked.
        response: its answer; its id does not matter.
    """
    if isinstance(request, ScoreChoices):
        return _scores(response, len(request.choices), "choices") if isinstance(response, ChoiceScores) else _kind(request, response)
    if isinstance(request, ScoreText):
        return _scores(response, len(request.windows), "texts") if isinstance(response, TextScore) else _kind(request, response)
    return _generation(request, response) if isinstance(response, Generation) else _kind(request, response)


def _kind(request: Request, response: Response) -> str:
    return f"{type(response).__name__} does not answer {type(request).__name__}"


def _scores(response: ChoiceScores | TextScore, asked: int, what: str) -> str | None:
    logprobs, greedy = response.logprobs, response.greedy
    if len(logprobs) != asked:
        return f"{len(logprobs)} log-probabilities for {asked} {what}"
    for value in logprobs:
        if not -math.inf < value <= HIGHEST:
            return f"a log-probability of {value}" + (", which is not finite" if not math.isfinite(value) else ", which is above 0")
    if greedy and len(greedy) != asked:
        return f"{len(greedy)} greedy marks for {asked} {what}"
    return None


def _generation(request: Generate, response: Generation) -> str | None:
    tokens = response.tokens
    if len(tokens) > request.max_new_tokens:
        return f"{len(tokens)} new tokens where at most {request.max_new_tokens} were asked for"
    if tokens and not (min(tokens) >= 0 and max(tokens) < _TOKENS):
        return f"a token id of {min(tokens) if min(tokens) < 0 else max(tokens)}"
    if response.finish not in _FINISHES:
        return f"an ending of {response.finish!r}"
    return None
