"""Items, prompts, requests, responses, outcomes and systems: the frozen dataclasses that every room shares.

This module imports neither torch nor pydantic, so that tasks, metrics, statistics and reports work without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields
from operator import add as plus
from operator import sub
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant"]
AnswerForm: TypeAlias = Literal["choices", "generate", "score_text"]
LARGEST_SEED = 2**32 - 1
"""Largest seed of NumPy and transformers; the smallest is 0."""

Family: TypeAlias = Literal["accuracy", "calibration", "robustness", "fairness", "bias", "toxicity", "efficiency"]
"""The seven families of measures in HELM (Liang et al., 2022)."""
Identity: TypeAlias = Literal["files", "memory", "remote", "none"]
"""How a system's weights are known: verified files, hashed in memory, reported by a remote server (unverified), or there are none."""

TokenIds: TypeAlias = tuple[int, ...]
Labels: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a task's data.

    Attributes:
        id: stable within the task and split.
        row: the columns after rename, derive and merge.
        digest: SHA-256 (16 hex characters) of the row's canonical JSON; two runs pair their items by it.
    """

    id: str
    row: Mapping[str, Any]
    digest: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The model's input: plain text, or the same content as chat messages.

    Attributes:
        text: the plain text; with `messages`, a readable form of them for reports.
        messages: chat turns that the model's chat template will format, or None for plain text.
        delimiter: text between the prompt and an answer in plain text (ignored in chat).
    """

    text: str
    messages: tuple[Message, ...] | None = None
    delimiter: str = ""


@dataclass(frozen=True, slots=True)
class ScoreChoices:
    """A question with all its answers: log P(choice | context) of each.

    Attributes:
        id: unique within a run.
        context: token ids that every choice follows.
        choices: token ids of each continuation, none empty.
        prompt: the context as text or chat messages, for backends that tokenize themselves; not part of the request's identity.
        answers: the text of each choice, without the prompt's delimiter, for the same backends.
    """

    id: str
    context: TokenIds
    choices: tuple[TokenIds, ...]
    prompt: Prompt | None = field(default=None, compare=False, repr=False)
    answers: tuple[str, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ScoreText:
    """Texts to score: one text in windows that fit the model, or several texts, each with a context of its own.

    Attributes:
        id: unique within a run.
        windows: (context, scored) token ids, no scored part empty.
        texts: (prompt, text) of the one text, or of each of several, for backends that tokenize themselves; not part of the request's
            identity.
    """

    id: str
    windows: tuple[tuple[TokenIds, TokenIds], ...]
    texts: tuple[tuple[Prompt, str], ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Generate:
    """A prompt to continue.

    Attributes:
        id: unique within a run.
        context: token ids of the prompt (of the encoder's source for encoder-decoder models).
        max_new_tokens: limit on generated tokens, counted in the decoder.
        stop: texts that end the generation; they are removed.
        temperature: 0 for greedy decoding.
        top_p: nucleus mass; 1 for all tokens.
        seed: seed of this request's sample; ignored for greedy decoding.
        beams: rows of a beam search; 1 for none.
        prompt: the context as text or chat messages, for backends that tokenize themselves; not part of the request's identity.
    """

    id: str
    context: TokenIds
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    beams: int = 1
    prompt: Prompt | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ChoiceScores:
    """Response to `ScoreChoices`, in the order of the choices.

    Attributes:
        logprobs: natural-log probability of each choice.
        greedy: whether greedy decoding would generate the choice; empty if the engine does not report it.
    """

    id: str
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class TextScore:
    """Response to `ScoreText`, in the order of the windows.

    Attributes:
        logprobs: summed natural-log probability of the scored tokens of each window.
        greedy: whether greedy decoding would generate them; empty if the engine does not report it.
    """

    id: str
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """Response to `Generate`.

    Attributes:
        text: the generated text without special tokens, cut before the first stop string.
        tokens: the generated token ids, without the end-of-sequence token.
        finish: why the generation ended.
    """

    id: str
    text: str
    tokens: TokenIds
    finish: Literal["eos", "stop", "length"]


ScoreRequest: TypeAlias = ScoreChoices | ScoreText
Request: TypeAlias = ScoreRequest | Generate
Response: TypeAlias = ChoiceScores | TextScore | Generation


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over forward passes of size x and duration y in seconds, to fit a line: passes, x, x², y, xy, y²."""

    passes: int = 0
    x: float = 0.0
    xx: float = 0.0
    y: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    @classmethod
    def of(cls, x: float, y: float) -> Moments:
        """The sums of a single pass."""
        return cls(1, x, x * x, y, x * y, y * y)

    def __add__(self, other: Moments) -> Moments:
        return Moments(*map(plus, astuple(self), astuple(other)))

    def __sub__(self, other: Moments) -> Moments:
        return Moments(*map(sub, astuple(self), astuple(other)))


@dataclass(slots=True)
class Usage:
    """Tokens, time and batches of an engine, counted while it computes.

    Tokens are those that the device computed: `prefill_tokens` of prompts and choices, `padding_tokens` beside them, and
    `decode_tokens` that were generated. `requested_tokens` are those of all prompts and choices with nothing shared. Seconds are
    wall time. In `prefills` the size of a pass is the tokens of the batch, padding included; in `steps` it is the rows of a
    decoding step.
    """

    requested_tokens: int = 0
    prefill_tokens: int = 0
    padding_tokens: int = 0
    decode_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    batches: int = 0
    out_of_memory: int = 0
    prefills: Moments = Moments()
    steps: Moments = Moments()

    def prefilled(self, tokens: int, seconds: float) -> None:
        """Count a batch of prompts. The first batch warms up and is excluded from `prefills`."""
        self.prefill_seconds += seconds
        if self.batches:
            self.prefills += Moments.of(tokens, seconds)
        self.batches += 1

    def stepped(self, rows: int, seconds: float) -> None:
        """Count a decoding step over `rows` rows."""
        self.decode_seconds += seconds
        self.steps += Moments.of(rows, seconds)

    @property
    def prompt_area(self) -> int:
        """Computed tokens of prompts, padding included."""
        return self.prefill_tokens + self.padding_tokens


def add_usage(total: Usage, more: Usage) -> None:
    """Add what was spent elsewhere to a total."""
    for entry in fields(Usage):
        setattr(total, entry.name, getattr(total, entry.name) + getattr(more, entry.name))


@dataclass(frozen=True, slots=True)
class ChoiceOutcome:
    """A scored question, as input of metrics.

    Attributes:
        logprobs: natural-log probability of each choice.
        targets: indices of the correct choices, at least one.
        choices: the answer texts, for length normalization by characters or bytes.
        tokens: number of tokens of each choice.
        labels: the task's labels of the item (its question, category, …).
        prior: natural-log probability of each choice without the question, if a metric needs it.
    """

    logprobs: tuple[float, ...]
    targets: tuple[int, ...]
    choices: tuple[str, ...]
    tokens: tuple[int, ...]
    labels: Labels = field(default_factory=dict)
    prior: tuple[float, ...] | None = None

    @property
    def target(self) -> int:
        """The correct choice, or the first of several."""
        return self.targets[0]


@dataclass(frozen=True, slots=True)
class TextOutcome:
    """A generated text with its references (at least one) and the task's labels of the item.

    Attributes:
        more: further texts sampled from the same prompt.
    """

    prediction: str
    references: tuple[str, ...]
    labels: Labels = field(default_factory=dict)
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LikelihoodOutcome:
    """A scored text: its natural-log probability, and its length in several units."""

    logprob: float
    tokens: int
    words: int
    bytes: int
    labels: Labels = field(default_factory=dict)


Outcome: TypeAlias = ChoiceOutcome | TextOutcome | LikelihoodOutcome


@dataclass(frozen=True, slots=True)
class System:
    """The evaluated system, identified exactly.

    Attributes:
        name: in reports, `<model>[+<adapter>][@<quantization>][@<engine>][@<engine argument>]`.
        model: name or path from the user.
        adapter: adapter name, or None for the base.
        architecture: "causal" or "seq2seq".
        dtype: of the weights, such as "float32".
        quantization: "8bit", "4bit" or None.
        model_digest: SHA-256 of weights and configuration.
        adapter_digest: SHA-256 of the adapter's weights and configuration.
        tokenizer_digest: SHA-256 of the tokenizer's files.
        chat_template_digest: SHA-256 of the chat template in use, None for plain prompts.
        revision: Hub revision, if there is one.
        parameters: number of weights, the adapter's included.
        adapter_parameters: number of the adapter's weights.
        engine: name of the backend that computes.
        identity: how the weights are known, see `Identity`.
        engine_code: identifies the code of a backend that is a plug-in; None for shipped ones.
        engine_args: arguments of the backend that can change a response, such as "head_dtype=float32"; "" for its defaults.
    """

    name: str
    model: str
    adapter: str | None
    architecture: Literal["causal", "seq2seq"]
    dtype: str
    quantization: str | None
    model_digest: str
    adapter_digest: str | None
    tokenizer_digest: str
    chat_template_digest: str | None
    revision: str | None
    parameters: int
    adapter_parameters: int
    notes: tuple[str, ...] = field(default=())
    engine: str = "transformers"
    identity: Identity = "files"
    engine_code: str | None = None
    engine_args: str = ""
