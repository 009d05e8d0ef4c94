"""Encode prompts as token ids, the same for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from harness.contract import Prompt, TokenIds
from harness.errors import ModelError
from harness.models.digests import text_digest
from harness.models.tokenization import Tokenization
from harness.util.sequences import common_prefix

_DATE = datetime(2024, 7, 26)


class _Clock:
    """Replaces the class `datetime` where transformers renders chat templates."""

    @staticmethod
    def now() -> datetime:
        """Midnight of 26 July 2024, the date that Llama 3's template falls back on."""
        return _DATE


@contextmanager
def fixed_date() -> Iterator[None]:
    """Give chat templates that ask for today's date a fixed date; otherwise prompts of one system would differ from day to day."""
    from transformers.utils import chat_template_utils

    before = chat_template_utils.datetime
    chat_template_utils.datetime = _Clock
    try:
        yield
    finally:
        chat_template_utils.datetime = before


@dataclass(frozen=True, slots=True)
class EncodedChoices:
    """Token ids of a question: the context that precedes every choice, and each choice."""

    context: TokenIds
    choices: tuple[TokenIds, ...]


@dataclass
class Encoder:
    """Turns prompts into token ids for one tokenizer.

    Args:
        tokenizer: a transformers tokenizer.
        architecture: encoder-decoder models (seq2seq) read prompt and answer as two sequences.
        max_length: longest sequence in tokens, None for no limit.
        chat: whether prompts carry messages for the model's chat template.
    """

    tokenizer: Any
    architecture: Literal["causal", "seq2seq"]
    max_length: int | None
    chat: bool
    _appends_eos: bool = field(init=False)
    _tokenization: Tokenization = field(init=False)

    def __post_init__(self) -> None:
        if self.chat and not self.tokenizer.chat_template:
            raise ModelError("--chat is set, but the model's tokenizer has no chat template.", "Use --no-chat.")
        self._tokenization = Tokenization(self.tokenizer)
        probe = self._plain(["a"])[0]
        self._appends_eos = len(probe) > 1 and probe[-1] == self.tokenizer.eos_token_id

    @property
    def chat_template_digest(self) -> str | None:
        """SHA-256 of the chat template in use, or None for plain prompts."""
        return text_digest(str(self.tokenizer.chat_template)) if self.chat else None

    def text(self, prompt: Prompt) -> str:
        """The exact text that is tokenized: the prompt's, or its messages formatted by the chat template."""
        if prompt.messages is None:
            return prompt.text
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        try:
            with fixed_date():
                return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except Exception as error:
            raise ModelError(f"The model's chat template fails on the prompt: {error}.", "Try --no-chat.") from error

    def contexts(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of prompts for generation; an empty prompt becomes the model's start token."""
        return [ids or self._start() for ids in self._contexts(texts)]

    def choices(self, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[EncodedChoices]:
        """Token ids of questions with their answers.

        For decoder-only models, prompt and answer are tokenized as one text, as the model would read it, and split where the
        prompt's tokens end. If a token crosses that boundary for any choice, all choices of the question are scored from the
        last token boundary that they share with the prompt, so that they stay comparable. Trailing white space of a plain
        prompt moves to the answers. Encoder-decoder models read the prompt as source and the answer as target, without an end
        token.

        Args:
            prompts: [n] texts.
            answers: [n][choices] texts, the delimiter included.
        """
        seams = [len(prompt) if self.chat else len(prompt.rstrip()) for prompt in prompts]
        starts = [prompt[:seam] for prompt, seam in zip(prompts, seams, strict=True)]
        ends = [[prompt[seam:] + answer for answer in group] for prompt, seam, group in zip(prompts, seams, answers, strict=True)]
        if self.architecture == "seq2seq":
            encoded = iter(self._tokenize([end for group in ends for end in group], special=False))
            return [
                EncodedChoices(context, tuple(next(encoded) for _ in group))
                for context, group in zip(self.contexts(starts), ends, strict=True)
            ]
        wholes = [start + end for start, group in zip(starts, ends, strict=True) for end in group]
        contexts = self.contexts([*starts, *wholes])
        whole = iter(contexts[len(starts) :])
        result = []
        for start, context, group in zip(starts, contexts[: len(starts)], ends, strict=True):
            sequences = [next(whole) for _ in group]
            if not start:
                sequences = [ids if ids[: len(context)] == context else context + ids for ids in sequences]
            shared = min(common_prefix(context, ids) for ids in sequences)
            result.append(EncodedChoices(context[:shared] or self._start(), tuple(ids[shared:] for ids in sequences)))
        return result

    def windows(self, prompt: str, text: str) -> tuple[tuple[TokenIds, TokenIds], ...]:
        """Windows (context, scored) of a text after a prompt; each has the model's maximum length, and scored parts do not overlap.

        A prompt longer than the maximum stays whole before the text's first token; that window is then too long.
        """
        encoded = self.choices([prompt], [[text]])[0]
        context, scored = encoded.context, encoded.choices[0]
        if self.max_length is None:
            return ((context, scored),)
        room = max(1, self.max_length - len(context) + 1) if self.architecture == "causal" else self.max_length
        parts = [(context, scored[:room])]
        rest = scored[room:]
        while rest:
            start = (parts[-1][1][-1],) if self.architecture == "causal" else context
            parts.append((start, rest[: self.max_length]))
            rest = rest[self.max_length :]
        return tuple(parts)

    def _contexts(self, texts: Sequence[str]) -> list[TokenIds]:
        """Prompts with the tokenizer's start token, never twice, and for decoder-only models without an end token."""
        bos = self.tokenizer.bos_token
        with_start = [i for i, text in enumerate(texts) if self.chat or (bos and text.startswith(bos))]
        bare = set(with_start)
        plain = self._plain([text for i, text in enumerate(texts) if i not in bare])
        chats = self._tokenize([texts[i] for i in with_start], special=False)
        if self.architecture == "causal" and self._appends_eos:
            plain = [ids[:-1] for ids in plain]
        ordered, chat_ids = iter(plain), iter(chats)
        return [next(chat_ids) if i in bare else next(ordered) for i in range(len(texts))]

    def _plain(self, texts: Sequence[str]) -> list[TokenIds]:
        return self._tokenize(texts, special=True)

    def _tokenize(self, texts: Sequence[str], *, special: bool) -> list[TokenIds]:
        return self._tokenization.ids(texts, special=special)

    def _start(self) -> TokenIds:
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return (token,)
        raise ModelError("The prompt is empty, and the tokenizer has no start token to replace it.", "Use a template with a prompt.")
