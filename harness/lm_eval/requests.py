"""From lm-eval's requests to the engine's, by lm-eval's own rules of tokenization and truncation, and back.

The rules are those of lm-eval 0.4.13 (`TemplateLM._encode_pair`, `HFLM._loglikelihood_tokens`, `HFLM.generate_until`), so that the same
model gives the same numbers. They differ from `models.encoding` where lm-eval does: a token that crosses from context to continuation
counts as context, long contexts lose their beginning, and rolling windows predict the start token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.contract import ChoiceScores, Generate, Generation, Request, Response, ScoreChoices, ScoreText, TextScore, TokenIds
from harness.errors import TaskError

ROLLING_LENGTH = 2048
"""Tokens of a rolling window for models without a longest sequence; lm-eval's default."""

MAX_GEN_TOKS = 256
"""Tokens to generate where a task does not say; lm-eval's default."""

_CHOICES = 64  # choices of one request at most: a context with thousands of continuations (the empty one) becomes several requests
_ONE = ("num_beams", "num_return_sequences")
_SAMPLED = {"use_cache", "top_p", "temperature", "do_sample", "until", "max_gen_toks", *_ONE}
_GREEDY = {*_SAMPLED, "top_k"}  # sampling settings mean nothing to greedy decoding


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A context and what continues it, in token ids; `cut` when the context's beginning was left out."""

    context: TokenIds
    continuation: TokenIds
    cut: bool = False


@dataclass
class Rules:
    """lm-eval's tokenization for one tokenizer.

    Args:
        tokenizer: a transformers tokenizer.
        architecture: encoder-decoder models read context and continuation apart.
        max_length: longest sequence the model takes, None for no limit.
    """

    tokenizer: Any
    architecture: Literal["causal", "seq2seq"]
    max_length: int | None
    prefix: int = field(init=False)
    _prefix_text: str = field(init=False)

    def __post_init__(self) -> None:
        bos = self.tokenizer.bos_token_id
        self.prefix = int(self.tokenizer.eos_token_id if bos is None else bos)
        self._prefix_text = str(self.tokenizer.decode([self.prefix]))

    def encode(self, texts: Sequence[str], *, special: bool | None = None) -> list[list[int]]:
        """Token ids of texts. Special tokens are added as the tokenizer does, unless the text starts with one or `special` decides."""
        distinct = list(dict.fromkeys(texts))
        bare = {text for text in distinct if special is False or (special is None and text.startswith(self._prefix_text))}
        ids = dict(zip([t for t in distinct if t in bare], self._tokenize([t for t in distinct if t in bare], special=False), strict=True))
        framed = [text for text in distinct if text not in bare]
        ids |= dict(zip(framed, self._tokenize(framed, special=True), strict=True))
        return [ids[text] for text in texts]

    def pairs(self, texts: Sequence[tuple[str, str]]) -> list[TokenPair]:
        """Contexts with continuations, cut to the model's length. An empty context is the model's start token.

        Raises:
            TaskError: a continuation has no tokens of its own, or is longer than the model takes.
        """
        moved = [_moved(context, continuation) for context, continuation in texts]
        contexts = self.encode([context for context, _ in moved])
        if self.architecture == "causal":
            wholes = self.encode([context + continuation for context, continuation in moved])
            ends = [whole[len(context) :] for whole, context in zip(wholes, contexts, strict=True)]
        else:
            ends = self.encode([continuation for _, continuation in moved], special=False)
        alone = iter(self.encode([continuation for context, continuation in texts if not context], special=False))
        pairs = []
        for (text, continuation), context, end in zip(texts, contexts, ends, strict=True):
            start, scored = (context, end) if text else self._started(next(alone))
            pairs.append(self.fitted(tuple(start), tuple(scored), f"{text[-60:]!r} + {continuation[:60]!r}"))
        return pairs

    def fitted(self, context: TokenIds, continuation: TokenIds, what: str = "a request") -> TokenPair:
        """Cut a context from its beginning until it fits the model together with what continues it."""
        if not continuation or not context:
            raise TaskError(
                f"lm-eval's rules leave no tokens of their own for the {'continuation' if context else 'context'} of {what}.",
                "A token crosses from context to continuation: the task needs another target_delimiter.",
            )
        if self.max_length is None:
            return TokenPair(context, continuation)
        if len(continuation) > self.max_length:
            raise TaskError(f"The continuation of {what} is longer than the model's {self.max_length} tokens.", "Use a longer model.")
        room = self.max_length + 1 - len(continuation) if self.architecture == "causal" else self.max_length
        return TokenPair(context[-room:], continuation, len(context) > room)

    def windows(self, text: str) -> tuple[tuple[TokenIds, TokenIds], ...]:
        """Disjoint windows (context, scored) over a whole text, as lm-eval makes them for perplexity; none for a text without tokens."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        length = self.max_length or ROLLING_LENGTH
        tokens = self.encode([text])[0]
        rolled = get_rolling_token_windows(token_list=tokens, prefix_token=self.prefix, max_seq_len=length, context_len=1)
        return tuple((tuple(context), tuple(scored)) for context, scored in map(make_disjoint_window, rolled))

    def prompts(self, texts: Sequence[str], new_tokens: Sequence[int]) -> list[tuple[TokenIds, bool]]:
        """Prompts to continue, cut from the beginning so that `new_tokens` more fit; and whether they were cut.

        Raises:
            TaskError: the requested number of new tokens leaves no room for a prompt.
        """
        bos = self.tokenizer.bos_token
        bare = [bool(bos) and text.startswith(bos) for text in texts]
        framed = iter(self._tokenize([text for text, skip in zip(texts, bare, strict=True) if not skip], special=True))
        plain = iter(self._tokenize([text for text, skip in zip(texts, bare, strict=True) if skip], special=False))
        prompts = []
        for text, skip, new in zip(texts, bare, new_tokens, strict=True):
            ids = tuple(next(plain if skip else framed)) or (self.prefix,)
            room = len(ids) if self.max_length is None else self.max_length - (new if self.architecture == "causal" else 0)
            if room < 1:
                raise TaskError(
                    f"The task asks for {new} new tokens, but the model takes {self.max_length} in all (prompt {text[:40]!r}).",
                    "Use a model with a longer context, or a smaller max_gen_toks.",
                )
            prompts.append((ids[-room:], len(ids) > room))
        return prompts

    def _started(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        return (tokens[:1], tokens[1:]) if tokens[:1] == [self.prefix] else ([self.prefix], tokens)

    def _tokenize(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=special, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )["input_ids"]
        return encoded


def _moved(context: str, continuation: str) -> tuple[str, str]:
    """The context without its trailing white space, which goes to the continuation."""
    seam = len(context.rstrip())
    return context[:seam], context[seam:] + continuation


@dataclass(frozen=True, slots=True)
class AnswerPlace:
    """Where the answer to one of lm-eval's requests stands: a request of ours (None: nothing to ask) and a choice of it."""

    request: str | None
    choice: int = 0


@dataclass
class RequestPlan:
    """The engine's requests for a list of lm-eval's, and where each one's answer will stand.

    Attributes:
        requests: ids unique.
        places: [lm-eval's requests].
        cut: ids of requests whose text did not fit whole.
    """

    requests: list[Request] = field(default_factory=list)
    places: list[AnswerPlace] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)

    def answers(self, responses: Mapping[str, Response]) -> list[Any]:
        """What lm-eval expects for each of its requests, in their order: (log-likelihood, greedy), log-likelihood, or text."""
        return [_answer(place, responses) for place in self.places]


def _answer(place: AnswerPlace, responses: Mapping[str, Response]) -> Any:
    if place.request is None:
        return 0.0
    response = responses[place.request]
    if isinstance(response, ChoiceScores):
        return response.logprobs[place.choice], response.greedy[place.choice]
    if isinstance(response, TextScore):
        return sum(response.logprobs)
    assert isinstance(response, Generation)
    return response.text


def plan_choices(rules: Rules, texts: Sequence[tuple[str, str]], groups: Sequence[Hashable], name: str) -> RequestPlan:
    """Requests for log-likelihoods; those of one group with the same context are asked together, so that it is computed once.

    Args:
        rules: tokenization.
        texts: [n] context and continuation.
        groups: [n] what may be asked together, an item for example.
        name: beginning of the requests' ids.
    """
    return plan_pairs(rules.pairs(texts), groups, name)


def plan_pairs(pairs: Sequence[TokenPair], groups: Sequence[Hashable], name: str) -> RequestPlan:
    """`plan_choices` for what is already tokenized."""
    plan = RequestPlan()
    contexts: list[TokenIds] = []
    choices: list[list[TokenIds]] = []
    current: dict[tuple[Hashable, TokenIds], int] = {}
    for pair, group in zip(pairs, groups, strict=True):
        number = current.get((group, pair.context))
        if number is None or len(choices[number]) == _CHOICES:
            number = current[group, pair.context] = len(choices)
            contexts.append(pair.context)
            choices.append([])
        plan.places.append(AnswerPlace(f"{name}/{number}", len(choices[number])))
        choices[number].append(pair.continuation)
        if pair.cut:
            plan.cut.add(f"{name}/{number}")
    plan.requests = [
        ScoreChoices(f"{name}/{number}", context, tuple(ends)) for number, (context, ends) in enumerate(zip(contexts, choices, strict=True))
    ]
    return plan


def plan_rolling(rules: Rules, texts: Sequence[str], name: str) -> RequestPlan:
    """Requests for the log-likelihoods of whole texts."""
    plan = RequestPlan()
    for number, text in enumerate(texts):
        windows = rules.windows(text)
        request = f"{name}/{number}" if windows else None
        plan.places.append(AnswerPlace(request))
        if request:
            plan.requests.append(ScoreText(request, windows))
    return plan


def plan_generation(
    rules: Rules,
    prompts_and_kwargs: Sequence[tuple[str, Mapping[str, Any]]],
    name: str,
    *,
    seed: int = 0,
    default_tokens: int = MAX_GEN_TOKS,
) -> RequestPlan:
    """Requests to continue prompts with lm-eval's generation settings; each sampled one has a seed of its own.

    Raises:
        TaskError: a setting is not supported, or leaves no room for a prompt.
    """
    settings = [GenerationKwargs.of(kwargs, rules.tokenizer, default_tokens) for _, kwargs in prompts_and_kwargs]
    prompts = rules.prompts([text for text, _ in prompts_and_kwargs], [generation.new_tokens for generation in settings])
    plan = RequestPlan()
    for number, (generation, (context, cut)) in enumerate(zip(settings, prompts, strict=True)):
        request = f"{name}/{number}"
        seed_of_request = int(hashlib.sha256(f"{seed}/{request}".encode()).hexdigest()[:8], 16)
        plan.requests.append(
            Generate(request, context, generation.new_tokens, generation.stop, generation.temperature, generation.top_p, seed_of_request)
        )
        plan.places.append(AnswerPlace(request))
        if cut:
            plan.cut.add(request)
    return plan


@dataclass(frozen=True, slots=True)
class GenerationKwargs:
    """How a task wants text to be generated."""

    new_tokens: int
    stop: tuple[str, ...]
    temperature: float
    top_p: float

    @classmethod
    def of(cls, kwargs: Mapping[str, Any], tokenizer: Any, default_tokens: int) -> GenerationKwargs:
        """Read lm-eval's generation_kwargs; the end-of-sequence token's text is a stop too.

        Raises:
            TaskError: a setting would change the text, and the engine does not support it.
        """
        from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

        given = dict(normalize_gen_kwargs(dict(kwargs), default_tokens))
        temperature = float(given.get("temperature") or 0.0) if given.get("do_sample") else 0.0
        _check_settings(given, sampled=temperature > 0)
        stops = handle_stop_sequences(list(given["until"]), eos=tokenizer.decode(tokenizer.eos_token_id))
        top_p = float(given.get("top_p") or 1.0) if temperature else 1.0
        return cls(int(given["max_gen_toks"]), tuple(stop for stop in stops if stop), temperature, top_p)


def _check_settings(given: Mapping[str, Any], *, sampled: bool) -> None:
    for name, value in given.items():
        fits = name in (_SAMPLED if sampled else _GREEDY) and (name not in _ONE or value in (None, 1))
        if not fits and value is not None:
            raise TaskError(
                f"The generation setting {name}={value!r} is not supported.",
                "Supported: greedy decoding, and sampling with temperature and top_p.",
            )
