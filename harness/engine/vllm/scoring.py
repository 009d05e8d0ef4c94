"""How log-probabilities are asked of vLLM: one prompt for all tokens that can follow it, and rows of the prompt for the tokens before.

A continuation c1 … cn of a context is scored with the prompt context + c1 … c(n-1): the last token is one of those that may be generated
next (`logprob_token_ids`, log-softmax over the whole vocabulary in float32), the others are read off the prompt (`prompt_logprobs`).
Continuations of one token need nothing of the prompt, so that all choices of such a question are one prompt and the prefix cache applies.

vLLM has no log-probabilities for the part of a prompt that it finds in its prefix cache: it returns unwritten memory there, or fewer rows.
A prompt of which rows are read is asked again without the cache where the cache reached into these rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contract import TokenIds

Pair = tuple[TokenIds, TokenIds]
"""A context and the tokens that are scored after it."""

_MOST_NEXT = 128
"""Most tokens in `logprob_token_ids` of one prompt (vllm.sampling_params.MAX_LOGPROB_TOKEN_IDS)."""


@dataclass(frozen=True)
class TokenScore:
    """Log-probability of one token in nats, and whether it is the likeliest."""

    logprob: float
    likeliest: bool


@dataclass(frozen=True)
class VllmAbilities:
    """What the installed vLLM offers.

    Attributes:
        next_tokens: log-probabilities of chosen next tokens (`logprob_token_ids`).
        cached_prompts: rows of a prompt although its beginning is in the prefix cache (`skip_reading_prefix_cache`).
    """

    next_tokens: bool
    cached_prompts: bool

    @classmethod
    def of(cls, parameters: Any) -> VllmAbilities:
        """What `vllm.SamplingParams` has."""
        return cls(hasattr(parameters, "logprob_token_ids"), hasattr(parameters, "skip_reading_prefix_cache"))

    @property
    def note(self) -> str:
        """How scores are computed, for the notes of a run."""
        if not self.next_tokens:
            return "scores each choice as a prompt of its own (prompt_logprobs): a newer vLLM is several times as fast"
        cached = ", the prefix cache included" if self.cached_prompts else " without the prefix cache"
        return (
            f"scores the last token of choices that share a prompt together (logprob_token_ids), earlier tokens by prompt_logprobs{cached}"
        )


@dataclass
class ScoringPrompt:
    """A prompt, and what is read of it.

    Attributes:
        tokens: the prompt.
        next: tokens of which the log-probability of coming next is read; at most `_MOST_NEXT`.
        first: place of the first token of the prompt whose log-probability is read; None where only next tokens are.
    """

    tokens: TokenIds
    next: tuple[int, ...] = ()
    first: int | None = None

    def parameters(self, kind: Any, abilities: VllmAbilities, *, cached: bool = True) -> Any:
        """`vllm.SamplingParams` for it.

        Args:
            kind: the class `vllm.SamplingParams`.
            abilities: what it offers.
            cached: the prompt's beginning may be read from the prefix cache.
        """
        chosen: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1, "detokenize": False}
        if self.next:
            chosen["logprob_token_ids"] = list(self.next)
        if self.first is not None:
            chosen["prompt_logprobs"] = 1
            if abilities.cached_prompts:
                chosen["skip_reading_prefix_cache"] = not cached
        return kind(**chosen)

    def read(self, output: Any) -> tuple[dict[int, TokenScore], dict[int, TokenScore]] | None:
        """Scores by place in the prompt, and by next token; None where the prefix cache has left out a row that is read.

        Args:
            output: `vllm.RequestOutput`.
        """
        places: dict[int, TokenScore] = {}
        if self.first is not None:
            if (output.num_cached_tokens or 0) >= self.first:
                return None
            rows = output.prompt_logprobs
            missing = len(self.tokens) - len(rows)  # some versions return no rows for what is cached
            for place in range(self.first, len(self.tokens)):
                row = rows[place - missing] if place >= missing else None
                token = self.tokens[place]
                if row is None or token not in row:
                    return None
                places[place] = TokenScore(float(row[token].logprob), all(other == token for other in row))
        answer = output.outputs[0]
        following: dict[int, TokenScore] = {}
        if self.next:
            row, chosen = answer.logprobs[0], answer.token_ids[0]
            following = {token: TokenScore(float(row[token].logprob), token == chosen) for token in self.next}
        return places, following


def plan(pairs: Iterable[Pair], abilities: VllmAbilities) -> list[ScoringPrompt]:
    """The prompts that score pairs, in the order of the pairs."""
    if not abilities.next_tokens:
        return [ScoringPrompt(context + scored, (), len(context)) for context, scored in dict.fromkeys(pairs)]
    following: dict[TokenIds, dict[int, None]] = {}
    first: dict[TokenIds, int] = {}
    for context, scored in pairs:
        prompt = context + scored[:-1]
        following.setdefault(prompt, {})[scored[-1]] = None
        if len(scored) > 1:
            first[prompt] = min(len(context), first.get(prompt, len(context)))
    return [
        ScoringPrompt(prompt, tuple(tokens)[start : start + _MOST_NEXT], first.get(prompt) if start == 0 else None)
        for prompt, tokens in following.items()
        for start in range(0, len(tokens), _MOST_NEXT)
    ]


@dataclass
class ScoredTokens:
    """Scores of tokens by what stands before them."""

    _prompts: dict[TokenIds, dict[int, TokenScore]]
    _next: dict[TokenIds, dict[int, TokenScore]]

    @classmethod
    def of(
        cls, prompts: Sequence[ScoringPrompt], outputs: Sequence[tuple[Mapping[int, TokenScore], Mapping[int, TokenScore]]]
    ) -> ScoredTokens:
        """Those of prompts and what was read of them."""
        scored = cls({}, {})
        for prompt, (places, following) in zip(prompts, outputs, strict=True):
            scored._prompts.setdefault(prompt.tokens, {}).update(places)
            scored._next.setdefault(prompt.tokens, {}).update(following)
        return scored

    def of_pair(self, pair: Pair) -> tuple[float, bool]:
        """Log-probability of the scored tokens in nats, and whether each of them is the likeliest."""
        context, scored = pair
        whole = context + scored
        following = self._next.get(whole[:-1], {}).get(whole[-1])
        prompt = whole if following is None else whole[:-1]
        tokens = [self._prompts[prompt][place] for place in range(len(context), len(prompt))]
        if following is not None:
            tokens.append(following)
        return sum(token.logprob for token in tokens), all(token.likeliest for token in tokens)
