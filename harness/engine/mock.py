"""A backend without a model: it answers by a rule, or from a table; for tests, documentation and dry runs.

`--model` names the rule or the table:

* `longest`, `shortest`, `first`, `last`: the choice that is preferred. A prompt to continue is answered by its own last line.
* a JSON file, or a folder that holds `mock.json`: `{"answers": {TEXT: ANSWER, ...}, "otherwise": RULE}`. The first TEXT that a prompt
  contains gives the answer: the choice equal to ANSWER is preferred, and a prompt to continue is answered by ANSWER. `otherwise` is the
  rule for all other prompts; `longest` by default.

The preferred choice has probability 1/2, the next 1/4, and so on, in the order of the rule. Every byte of a scored text has probability
1/256. Token ids are the bytes of UTF-8.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.contract import ChoiceScores, Generate, Response, ScoreChoices, ScoreRequest, TextScore, TokenIds, Usage
from harness.engine.base import Backend, Capabilities, Session, backend
from harness.engine.endings import Endings
from harness.errors import ModelError
from harness.models.digests import text_digest
from harness.models.encoding import Encoder
from harness.models.identity import ModelIdentity
from harness.models.opening import ModelOptions, Note, Opening
from harness.util import paths

TABLE = "mock.json"
_TOGETHER = 64
"""Requests whose responses are yielded together."""

RULES: Mapping[str, Callable[[int, str], tuple[int, int]]] = {
    "longest": lambda place, choice: (-len(choice), place),
    "shortest": lambda place, choice: (len(choice), place),
    "first": lambda place, _: (place, 0),
    "last": lambda place, _: (-place, 0),
}
"""The order of preference of choices, from their places and texts; the smallest comes first."""


@backend("mock")
class MockBackend(Backend):
    """Answers by a rule or from a table; the same answers on every machine."""

    revision = 1
    capabilities = Capabilities(
        choices=True, texts=True, generation=True, sampling=True, beams=True, devices=True, settings=frozenset({"chat"})
    )

    def prepare(self, options: ModelOptions, note: Note) -> Opening:
        """Read the table; see the module for what `--model` names.

        Raises:
            ModelError: it names neither a rule nor a table, or the table is invalid.
        """
        MockTable.read(options.model)
        name = options.model if options.model in RULES else paths.expanded(options.model).stem
        return Opening(options, name, Encoder(ByteTokenizer(), "causal", None, bool(options.chat)))

    def identify(self, opening: Opening) -> ModelIdentity:
        """Identify the table by its content."""
        digest = text_digest(MockTable.read(opening.options.model).content)
        return ModelIdentity("none", digest, text_digest("bytes of UTF-8"), "none")

    def open(self, opening: Opening) -> Session:
        """Read the table."""
        return MockSession(MockTable.read(opening.options.model))


@dataclass(frozen=True)
class MockTable:
    """Answers by what a prompt contains, and a rule for other prompts.

    Attributes:
        answers: an answer for each text that a prompt may contain.
        otherwise: name of the rule.
    """

    answers: Mapping[str, str]
    otherwise: str

    @classmethod
    def read(cls, model: str) -> MockTable:
        """The table that `--model` names.

        Raises:
            ModelError: it names neither a rule nor a table, or the table is invalid.
        """
        if model in RULES:
            return cls({}, model)
        path = paths.expanded(model)
        path = path / TABLE if path.is_dir() else path
        if not path.is_file():
            raise ModelError(
                f"--engine mock computes no model, and {model!r} is neither a rule nor a table of answers.",
                f"Give --model {', '.join(RULES)}, a JSON file, or a folder that holds {TABLE}.",
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} is not a JSON file: {error}.", "Correct the file.") from error
        if not _valid(content):
            raise ModelError(
                f"{path} is not a table of answers.", f'It is {{"answers": {{TEXT: ANSWER}}, "otherwise": {" or ".join(RULES)}}}.'
            )
        return cls(content["answers"], content.get("otherwise", "longest"))

    @property
    def content(self) -> str:
        """Everything that decides the answers, as text."""
        return json.dumps([list(self.answers.items()), self.otherwise])

    def answer(self, prompt: str) -> str | None:
        """The answer to a prompt, or None where the rule decides."""
        return next((answer for text, answer in self.answers.items() if text in prompt), None)

    def ranking(self, prompt: str, choices: Sequence[str]) -> list[int]:
        """Places of the choices, the preferred one first."""
        answer, rule = self.answer(prompt), RULES[self.otherwise]
        return sorted(range(len(choices)), key=lambda place: (choices[place].strip() != answer, rule(place, choices[place])))


def _valid(content: Any) -> bool:
    if not isinstance(content, dict) or not {"answers"} <= set(content) <= {"answers", "otherwise"}:
        return False
    answers, rule = content["answers"], content.get("otherwise", "first")
    return isinstance(answers, dict) and all(isinstance(answer, str) for answer in answers.values()) and rule in RULES


@dataclass
class MockSession:
    """A table that was read."""

    table: MockTable

    @contextmanager
    def engine(self, adapter: object) -> Iterator[MockEngine]:
        """An engine that answers from the table; there are no adapters."""
        yield MockEngine(self.table)

    def close(self) -> None:
        """There is nothing to free."""


@dataclass
class MockEngine:
    """Answers requests from a table.

    Args:
        table: gives the answers.
    """

    table: MockTable
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tokenizer = ByteTokenizer()
        self._endings = Endings(self._tokenizer, frozenset({self._tokenizer.eos_token_id}))

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts."""
        for batch in _batches(requests, done):
            yield [self._scores(request) for request in batch]

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts."""
        for batch in _batches(requests, done):
            yield [self._generation(request) for request in batch]

    def _scores(self, request: ScoreRequest) -> Response:
        if not isinstance(request, ScoreChoices):
            lengths = [len(scored) for _, scored in request.windows]
            self._count(sum(len(context) + len(scored) for context, scored in request.windows))
            return TextScore(request.id, tuple(-length * math.log(256) for length in lengths), (False,) * len(lengths))
        prompt = request.prompt.text if request.prompt is not None else self._tokenizer.decode(request.context)
        choices = request.answers or tuple(map(self._tokenizer.decode, request.choices))
        ranking = self.table.ranking(prompt, choices)
        self._count(sum(len(request.context) + len(choice) for choice in request.choices))
        logprobs = tuple(-(ranking.index(place) + 1) * math.log(2) for place in range(len(choices)))
        return ChoiceScores(request.id, logprobs, tuple(place == ranking[0] for place in range(len(choices))))

    def _generation(self, request: Generate) -> Response:
        prompt = request.prompt.text if request.prompt is not None else self._tokenizer.decode(request.context)
        answer = self.table.answer(prompt)
        text = answer if answer is not None else next(reversed(prompt.strip().splitlines()), "")
        tokens = (*self._tokenizer.encode(text), self._tokenizer.eos_token_id)[: request.max_new_tokens]
        self._count(len(request.context))
        self.usage.decode_tokens += len(tokens)
        return self._endings.generation(request, tokens)

    def _count(self, tokens: int) -> None:
        self.usage.requested_tokens += tokens
        self.usage.prefill_tokens += tokens


def _batches(requests: Sequence[Any], done: Container[str]) -> Iterator[list[Any]]:
    waiting = [request for request in requests if request.id not in done]
    for first in range(0, len(waiting), _TOGETHER):
        yield waiting[first : first + _TOGETHER]


class ByteTokenizer:
    """A tokenizer whose token ids are the bytes of UTF-8, with the interface that the harness uses of transformers' tokenizers."""

    bos_token_id = eos_token_id = 256
    bos_token = eos_token = "<|end|>"
    pad_token_id = None
    chat_template = "role: content"

    def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, list[list[int]]]:
        """Token ids of texts."""
        return {"input_ids": [list(self.encode(text)) for text in texts]}

    def encode(self, text: str) -> TokenIds:
        """Token ids of a text."""
        return tuple(text.encode("utf-8", "surrogatepass"))

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        """Text of token ids; a character that was cut is left out."""
        return bytes(token for token in tokens if token < self.eos_token_id).decode("utf-8", "ignore")

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> str:
        """Chat messages as text, a line for each."""
        return "".join(f"{message['role']}: {message['content']}\n" for message in messages) + "assistant: "
