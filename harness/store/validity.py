"""Validate responses against their requests, whether computed or cached."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.contract import ChoiceScores, Generate, Generation, ScoreChoices, ScoreText, TextScore

if TYPE_CHECKING:
    from harness.contract import Request, Response

HIGHEST = 1e-3
"""Largest valid log-probability in nats. Log-softmax in float32 can round a certain token to a few 1e-7 above 0, and a text sums
thousands of tokens; a mistake (a logit, a probability) is far larger."""

_FINISHES = frozenset({"eos", "stop", "length"})
_TOKENS = 2**31
"""Token ids are below this in every tokenizer."""


def fault(request: Request, response: Response) -> str | None:
    """Why `response` is not a valid response to `request`; None if it is valid.

    Args:
        request: the request.
        response: the response; its id does not matter.
    """
    if isinstance(request, ScoreChoices):
        return _scores(response, len(request.choices), "choices") if isinstance(response, ChoiceScores) else _kind(request, response)
    if isinstance(request, ScoreText):
        return _scores(response, len(request.windows), "texts") if isinstance(response, TextScore) else _kind(request, response)
    return _generation(request, response) if isinstance(response, Generation) else _kind(request, response)


def expected(request: Request) -> str:
    """What a valid response to a request is, for whoever writes a backend."""
    if isinstance(request, Generate):
        return f"Generation: text, at most {request.max_new_tokens} token ids in tokens, and finish one of {', '.join(sorted(_FINISHES))}"
    number = len(request.choices if isinstance(request, ScoreChoices) else request.windows)
    kind, what = ("ChoiceScores", "choices") if isinstance(request, ScoreChoices) else ("TextScore", "windows")
    return f"{kind}: a finite natural-log probability of at most 0 in logprobs for each of {number} {what}; greedy empty or as long"


def _kind(request: Request, response: Response) -> str:
    return f"{type(response).__name__} is not a response to {type(request).__name__}"


def _scores(response: ChoiceScores | TextScore, expected: int, what: str) -> str | None:
    logprobs, greedy = response.logprobs, response.greedy
    if len(logprobs) != expected:
        return f"{len(logprobs)} log-probabilities for {expected} {what}"
    for value in logprobs:
        if not -math.inf < value <= HIGHEST:
            return f"a log-probability of {value}" + (", which is not finite" if not math.isfinite(value) else ", which is above 0")
    if greedy and len(greedy) != expected:
        return f"{len(greedy)} greedy flags for {expected} {what}"
    return None


def _generation(request: Generate, response: Generation) -> str | None:
    tokens = response.tokens
    if len(tokens) > request.max_new_tokens:
        return f"{len(tokens)} new tokens, more than the maximum of {request.max_new_tokens}"
    if tokens and not (min(tokens) >= 0 and max(tokens) < _TOKENS):
        return f"a token id of {min(tokens) if min(tokens) < 0 else max(tokens)}"
    if response.finish not in _FINISHES:
        return f"the finish reason {response.finish!r}"
    return None
