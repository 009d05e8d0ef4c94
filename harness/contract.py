"""The nouns that every part of the harness shares, as frozen dataclasses.

This module imports neither torch nor pydantic, so that tasks, metrics, statistics and reports can be used without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from operator import add, sub
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant"]
AnswerForm: TypeAlias = Literal["choices", "generate", "score_text"]
LARGEST_SEED = 2**32 - 1
"""NumPy's and transformers' seeds are from 0 to here."""

Family: TypeAlias = Literal["accuracy", "calibration", "robustness", "fairness", "bias", "toxicity", "efficiency"]
"""What a measure is about: the seven of HELM (Liang et al., 2022)."""
Identity: TypeAlias = Literal["files", "memory", "remote", "none"]
"""How a system's weights are known: verified files, hashed in memory, reported by a remote server (unverified), or there are none."""

TokenIds: TypeAlias = tuple[int, ...]
Labels: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a task's data.

    Attributes:
        id: stable within the task and split.
        row: the columns, after renames, derivations and merging.
        digest: SHA-256 (hex, 16 characters) of the row's canonical JSON; two runs pair their items by it.
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
    """What the model reads: plain text, or the same content as chat messages.

    Attributes:
        text: the plain template; with `messages` set, a readable rendering of them for reports.
        messages: chat turns that the model's own chat template will format, or None for plain text.
        delimiter: what stands between the prompt and an answer in plain text (ignored in chat).
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
        max_new_tokens: limit on tokens generated, counted in the decoder.
        stop: texts that end the generation; they are cut off.
        temperature: 0 for greedy decoding.
        top_p: nucleus mass; 1 for all.
        seed: seeds the sample of this one request; ignored when greedy.
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
    """Answer to `ScoreChoices`, in the order of the choices.

    Attributes:
        logprobs: natural-log probability of each choice.
        greedy: whether greedy decoding would give the choice; empty where the engine does not report it.
    """

    id: str
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class TextScore:
    """Answer to `ScoreText`, in the order of the windows.

    Attributes:
        logprobs: summed natural-log probability of the scored tokens of each window.
        greedy: whether greedy decoding would give them; empty where the engine does not report it.
    """

    id: str
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """Answer to `Generate`.

    Attributes:
        text: the new text only, decoded without special tokens, cut before the first stop string.
        tokens: the new token ids as decoded, end-of-sequence token left out.
        finish: why it ended.
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
    """Sums over forward passes of size x that took y seconds, from which a line is fitted: passes, x, x², y, xy, y²."""

    passes: int = 0
    x: float = 0.0
    xx: float = 0.0
    y: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    @classmethod
    def of(cls, x: float, y: float) -> Moments:
        """Those of one pass."""
        return cls(1, x, x * x, y, x * y, y * y)

    def __add__(self, other: Moments) -> Moments:
        return Moments(*map(add, astuple(self), astuple(other)))

    def __sub__(self, other: Moments) -> Moments:
        return Moments(*map(sub, astuple(self), astuple(other)))


@dataclass(slots=True)
class Usage:
    """What an engine spent; counted as it works.

    Token counts are what the device computed: `prefill_tokens` are prompt and choice tokens, `padding_tokens` the
    filler beside them, `decode_tokens` the tokens generated. `requested_tokens` is what prompts and choices would have taken with
    nothing shared. Seconds are wall time. `prefills` are over the tokens of each batch, padding included, `steps` over the rows
    that each step of decoding gave a token.
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
        """A batch of prompts was computed. The first one warms up, and is left out of `prefills`."""
        self.prefill_seconds += seconds
        if self.batches:
            self.prefills += Moments.of(tokens, seconds)
        self.batches += 1

    def stepped(self, rows: int, seconds: float) -> None:
        """A step of decoding gave each of these rows a token."""
        self.decode_seconds += seconds
        self.steps += Moments.of(rows, seconds)

    @property
    def prompt_area(self) -> int:
        """Tokens of prompts that were computed, padding included."""
        return self.prefill_tokens + self.padding_tokens


@dataclass(frozen=True, slots=True)
class ChoiceOutcome:
    """A scored question as metrics read it.

    Attributes:
        logprobs: natural-log probability of each choice.
        targets: indices of the right choices, at least one.
        choices: the answer texts, for length normalization by characters or bytes.
        tokens: number of tokens of each choice.
        labels: what the task says about the item (its question, category, …).
        prior: natural-log probability of each choice without the question, where a metric asks for it.
    """

    logprobs: tuple[float, ...]
    targets: tuple[int, ...]
    choices: tuple[str, ...]
    tokens: tuple[int, ...]
    labels: Labels = field(default_factory=dict)
    prior: tuple[float, ...] | None = None

    @property
    def target(self) -> int:
        """The right choice, or the first of several."""
        return self.targets[0]


@dataclass(frozen=True, slots=True)
class TextOutcome:
    """A generated text beside its references (at least one), and what the task says about the item.

    Attributes:
        more: further texts sampled from the same prompt.
    """

    prediction: str
    references: tuple[str, ...]
    labels: Labels = field(default_factory=dict)
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LikelihoodOutcome:
    """A scored text: its natural-log probability, and the units it may be spread over."""

    logprob: float
    tokens: int
    words: int
    bytes: int
    labels: Labels = field(default_factory=dict)


Outcome: TypeAlias = ChoiceOutcome | TextOutcome | LikelihoodOutcome


@dataclass(frozen=True, slots=True)
class System:
    """What is being evaluated, named exactly.

    Attributes:
        name: how reports call it, `<model>[+<adapter>][@<quantization>]`.
        model: name or path as the user gave it.
        adapter: adapter name, or None for the base.
        architecture: "causal" or "seq2seq".
        dtype: of the weights, such as "float32".
        quantization: "8bit", "4bit" or None.
        model_digest: SHA-256 of weights and configuration.
        adapter_digest: SHA-256 of the adapter's weights and configuration.
        tokenizer_digest: SHA-256 of the tokenizer's files.
        chat_template_digest: SHA-256 of the chat template in use, None for plain prompts.
        revision: hub revision, where there is one.
        parameters: number of weights, the adapter's included.
        adapter_parameters: number of the adapter's weights.
        engine: name of the backend that computes.
        identity: how the weights are known, see `Identity`.
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
