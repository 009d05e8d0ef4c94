"""How servers are asked: OpenAI's completions by token ids (vLLM and others), SGLang's own endpoint, and chat completions by messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.contract import Generate, Prompt, TokenIds
from harness.engine.server.client import Client, RefusedRequestError
from harness.errors import ModelError


@dataclass(frozen=True, slots=True)
class PromptScores:
    """Log-probabilities that a server gives for the tokens of a prompt.

    Attributes:
        logprobs: natural-log probability of each token, None where the server gives none, as for the first.
        highest: the largest natural-log probability at the same position, None where it is not reported.
        prompt_tokens: number of tokens that the server counted, None where it does not say.
    """

    logprobs: tuple[float | None, ...]
    highest: tuple[float | None, ...]
    prompt_tokens: int | None


@dataclass(frozen=True, slots=True)
class Text:
    """A generated text.

    Attributes:
        text: as the server sent it.
        tokens: ids of the generated tokens, None where the server does not send them.
        finish: why it ended, in the server's words.
        new_tokens: number of generated tokens, None where the server does not say.
    """

    text: str
    tokens: TokenIds | None
    finish: str
    new_tokens: int | None


@dataclass(frozen=True, slots=True)
class Tokenized:
    """How a server tokenizes a text: the ids, and their number; None where it does not say."""

    ids: TokenIds | None
    number: int | None


class ServerDialect(Protocol):
    """How one kind of server is asked."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def model(self) -> str:
        """The server's name of the model."""
        ...

    def score(self, prompt: TokenIds | str) -> PromptScores:
        """Log-probabilities of the tokens of a prompt."""
        ...

    def generate(self, request: Generate) -> Text:
        """Continue a prompt."""
        ...

    def tokenized(self, text: str) -> Tokenized:
        """How the server tokenizes a text."""
        ...


_NEUTRAL = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_k": -1, "min_p": 0.0}
"""What vLLM would otherwise take from the model's generation_config.json; other backends ignore these settings of a model."""


@dataclass(frozen=True)
class Completions:
    """OpenAI's `/completions`, by token ids.

    Args:
        client: sends requests.
        model: the server's name of the model.
        vllm: the server is vLLM, which knows fields beside OpenAI's.
    """

    client: Client
    model: str
    vllm: bool = False
    name: str = "completions"

    def score(self, prompt: TokenIds | str) -> PromptScores:
        """One new token is requested as well, since some servers refuse none; it is cut off."""
        body = {"model": self.model, "prompt": _sent(prompt), "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
        content = self.client.post("/completions", body)
        choice = _first(content, self.client)
        logprobs = choice.get("logprobs")
        if not isinstance(logprobs, Mapping) or not isinstance(logprobs.get("token_logprobs"), list):
            return PromptScores((), (), _count(content, "prompt_tokens"))
        values = tuple(_number(value) for value in logprobs["token_logprobs"])
        tops = logprobs.get("top_logprobs")
        highest = tuple(_highest(top) for top in tops) if isinstance(tops, list) else ()
        counted = _count(content, "prompt_tokens")
        length = len(prompt) if not isinstance(prompt, str) else (counted if counted is not None else max(0, len(values) - 1))
        added = len(values) - length
        if added in (0, 1):
            values, highest = values[:length], highest[:length]
        return PromptScores(values, highest, counted)

    def generate(self, request: Generate) -> Text:
        """Continue token ids."""
        body = {"prompt": list(request.context), **(_NEUTRAL if self.vllm else {}), **_sampling(request, self.model)}
        content = self.client.post("/completions", {**body, "return_token_ids": True})
        choice = _first(content, self.client)
        tokens = choice.get("token_ids")
        ids = tuple(map(int, tokens)) if isinstance(tokens, list) else None
        return Text(str(choice.get("text") or ""), ids, str(choice.get("finish_reason")), _count(content, "completion_tokens"))

    def tokenized(self, text: str) -> Tokenized:
        """Ids are reported by vLLM."""
        body = {"model": self.model, "prompt": text, "max_tokens": 1, "temperature": 0, "return_token_ids": True}
        content = self.client.post("/completions", body)
        ids = _first(content, self.client).get("prompt_token_ids")
        return Tokenized(tuple(map(int, ids)) if isinstance(ids, list) else None, _count(content, "prompt_tokens"))

    def refusal(self, ids: TokenIds) -> str:
        """Why the server does not accept token ids as a prompt; empty where it does."""
        try:
            self.client.post("/completions", {"model": self.model, "prompt": list(ids), "max_tokens": 1, "temperature": 0})
        except RefusedRequestError as error:
            return error.what.rstrip(".")
        return ""


@dataclass(frozen=True)
class SGLang:
    """SGLang's `/generate`, by token ids. Its responses name the id of every token, which is compared with what was sent."""

    client: Client
    model: str
    name: str = "SGLang"

    def score(self, prompt: TokenIds | str) -> PromptScores:
        """Log-probabilities of all tokens."""
        settings = {"max_new_tokens": 1, "temperature": 0}
        given = {"text": prompt} if isinstance(prompt, str) else {"input_ids": list(prompt)}
        options = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 1}
        content = self.client.post(self.client.root("/generate"), {**given, "sampling_params": settings, **options})
        meta = content.get("meta_info") if isinstance(content, Mapping) else None
        entries = meta.get("input_token_logprobs") if isinstance(meta, Mapping) else None
        if not isinstance(meta, Mapping) or not isinstance(entries, list):
            return PromptScores((), (), None)
        if not isinstance(prompt, str) and [entry[1] for entry in entries] != list(prompt):
            raise ModelError(f"The server at {self.client.url} scored other tokens than were sent.", "Use another version of the server.")
        tops = meta.get("input_top_logprobs") or ()
        highest = tuple(_number(top[0][0]) if top else None for top in tops)
        return PromptScores(tuple(_number(entry[0]) for entry in entries), highest, meta.get("prompt_tokens"))

    def generate(self, request: Generate) -> Text:
        """Continue token ids."""
        settings = {
            "max_new_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop": list(request.stop),
            "repetition_penalty": 1.0,
            "top_k": -1,
        }
        body = {"input_ids": list(request.context), "sampling_params": settings}
        content = self.client.post(self.client.root("/generate"), body)
        meta: Mapping[str, Any] = content.get("meta_info") or {}
        reason = meta.get("finish_reason")
        finish = str(reason.get("type") if isinstance(reason, Mapping) else reason)
        ids = content.get("output_ids")
        return Text(str(content.get("text") or ""), tuple(ids) if isinstance(ids, list) else None, finish, meta.get("completion_tokens"))

    def tokenized(self, text: str) -> Tokenized:
        """Only the number of tokens is reported."""
        body = {"text": text, "sampling_params": {"max_new_tokens": 1, "temperature": 0}}
        content = self.client.post(self.client.root("/generate"), body)
        return Tokenized(None, (content.get("meta_info") or {}).get("prompt_tokens"))


@dataclass(frozen=True)
class Messages:
    """OpenAI's `/chat/completions`, or `/completions` for plain prompts, by text; the server formats and tokenizes."""

    client: Client
    model: str
    name: str = "text"

    def score(self, prompt: TokenIds | str) -> PromptScores:
        """Such servers give no log-probabilities of a prompt."""
        return PromptScores((), (), None)

    def tokenized(self, text: str) -> Tokenized:
        """Unknown, and not needed: the server alone tokenizes."""
        return Tokenized(None, None)

    def generate(self, request: Generate) -> Text:
        """Continue a prompt as text or messages."""
        if request.prompt is None:
            raise ModelError(
                f"{request.id} has token ids and no text, and the server at {self.client.url} reads text.",
                "Leave the task out, or use a server that accepts token ids, such as vLLM.",
            )
        path, given = _as_text(request.prompt)
        content = self.client.post(path, {**given, **_sampling(request, self.model)})
        choice = _first(content, self.client)
        text = (choice.get("message") or {}).get("content") if "message" in choice else choice.get("text")
        return Text(str(text or ""), None, str(choice.get("finish_reason")), _count(content, "completion_tokens"))


def _as_text(prompt: Prompt) -> tuple[str, dict[str, Any]]:
    if prompt.messages is None:
        return "/completions", {"prompt": prompt.text}
    return "/chat/completions", {"messages": [{"role": message.role, "content": message.content} for message in prompt.messages]}


def _sampling(request: Generate, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "max_tokens": request.max_new_tokens, "temperature": request.temperature}
    if request.stop:
        body["stop"] = list(request.stop[:4])
    if request.temperature > 0:
        body |= {"top_p": request.top_p, "seed": request.seed % (1 << 31)}
    return body


def _sent(prompt: TokenIds | str) -> list[int] | str:
    return prompt if isinstance(prompt, str) else list(prompt)


def _first(content: Any, client: Client) -> Mapping[str, Any]:
    choices = content.get("choices") if isinstance(content, Mapping) else None
    if not isinstance(choices, Sequence) or not choices or not isinstance(choices[0], Mapping):
        raise ModelError(f"The server at {client.url} answers without choices.", "It is not an OpenAI-compatible server.")
    first: Mapping[str, Any] = choices[0]
    return first


def _count(content: Any, name: str) -> int | None:
    usage = content.get("usage") if isinstance(content, Mapping) else None
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _highest(top: Any) -> float | None:
    values = [number for value in top.values() if (number := _number(value)) is not None] if isinstance(top, Mapping) else []
    return max(values, default=None)
