"""The backend on a server that somebody runs: OpenAI-compatible completions, SGLang, or chat completions."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.contract import (
    ChoiceScores,
    Generate,
    Generation,
    Message,
    Prompt,
    Response,
    ScoreChoices,
    ScoreRequest,
    TextScore,
    Usage,
)
from harness.engine.base import Backend, Capabilities, Session, backend
from harness.engine.endings import Endings
from harness.engine.server import serving
from harness.engine.server.client import Client, RefusedRequestError
from harness.engine.server.probe import TEXT, check_scores, check_tokenizer
from harness.engine.server.serving import ServedModel, ServerOpening
from harness.errors import HarnessError, InputError, ModelError
from harness.models.adapters import SERVED, ServedAdapter
from harness.models.identity import ModelIdentity

if TYPE_CHECKING:
    from harness.models.opening import AnyAdapter, ModelOptions, Note, Opening

_TOGETHER = 16
"""Requests whose responses are saved together."""
_FINGERPRINT = 16
"""Greedy tokens that identify what a server serves."""
_REFUSED = "If the prompt is too long, shorten it (--shots), or serve the model with more context."


@backend("server")
class ServerBackend(Backend):
    """Asks a server for what it computes; its weights cannot be verified."""

    revision = 2
    capabilities = Capabilities(
        choices=True,
        texts=True,
        generation=True,
        sampling=True,
        adapters=frozenset({SERVED}),
        settings=frozenset({"chat", "base_url"}),
    )

    def prepare(self, options: ModelOptions, note: Note) -> Opening:
        """Find the server's model and adapters, and the tokenizer that `--model` names.

        Where `--model` names neither a card, a folder nor a Hub id, it is the server's name of the model, which then reads text.

        Raises:
            InputError: there is no `--base-url`, or the server has no such model or adapter.
            ModelError: the server does not answer.
        """
        if options.base_url is None:
            raise InputError("--engine server needs --base-url.", "Give the server's address, such as --base-url http://127.0.0.1:8000/v1.")
        with closing(Client(options.base_url)) as client:
            models = serving.listed(client)
            opening = serving.asked(client, _local(options, models, note), models)
            if opening.refusal:
                note(
                    f"The server at {client.url} does not accept token ids: it formats and tokenizes prompts, and only tasks that "
                    "generate text work."
                )
            if opening.encoder.max_length is not None and opening.source is not None:
                _note_context(opening, note)
            adapters = tuple(None if name is None else _adapter(opening, client, name, models) for name in options.adapters)
        return replace(opening, adapters=adapters)

    def identify(self, opening: Opening) -> ModelIdentity:
        """Identify what the server says it serves, and by how it continues a fixed prompt; the weights are unverified."""
        from harness.models import digests

        assert isinstance(opening, ServerOpening)
        with closing(ServerSession(opening)) as session:
            digest = _fingerprint(opening, session.client, opening.model)
        tokenizer = digests.text_digest("server") if opening.source is None else digests.tokenizer(opening.files.folder).digest
        note = f"Served as {opening.model} by a server, which can serve any weights: they are not verified."
        return ModelIdentity("remote", digest, tokenizer, "unknown", notes=(note,))

    def open(self, opening: Opening) -> Session:
        """Connect when the first request is sent."""
        assert isinstance(opening, ServerOpening)
        return ServerSession(opening)


def _local(options: ModelOptions, models: Sequence[ServedModel], note: Note) -> Opening:
    """The model with its local tokenizer, or without."""
    from harness.engine.mock import ByteTokenizer
    from harness.models import cards
    from harness.models.encoding import Encoder
    from harness.models.opening import Opening, open_encoder

    try:
        source = cards.resolve(options.model, data=options.data, revision=options.revision, weights=False)
    except ModelError:
        names = [model.name for model in models]
        if names and options.model not in names:
            raise InputError(
                f"{options.model} is neither a local model nor one that the server has.", f"The server has {', '.join(names)}."
            ) from None
        note(f"{options.model} has no local tokenizer: the server formats and tokenizes prompts, and only tasks that generate text work.")
        return Opening(options, options.model.rsplit("/", 1)[-1], Encoder(ByteTokenizer(), "causal", None, options.chat is not False))
    return Opening(options, source.name, open_encoder(source, options.chat), source=source)


def _note_context(opening: ServerOpening, note: Note) -> None:
    """Say where the server's context is shorter than the model's."""
    from harness.models import loading

    longest = loading.max_length(loading.load_config(opening.files))
    served = opening.encoder.max_length
    if longest is not None and served is not None and served < longest - serving.ROOM:
        note(f"The server's context is shorter than the model's: prompts have at most {served:,} tokens, instead of {longest:,}.")


def _adapter(opening: ServerOpening, client: Client, name: str, models: Sequence[ServedModel]) -> ServedAdapter:
    served = serving.adapter_name(opening, client, name, models)
    return ServedAdapter(served, _fingerprint(opening, client, served))


def _fingerprint(opening: ServerOpening, client: Client, name: str) -> str:
    """SHA-256 over the server's name of a model or adapter, how it is asked, and how it continues a fixed prompt."""
    from harness.models import digests

    prompt = Prompt(TEXT, (Message("user", TEXT),) if opening.encoder.chat else None)
    dialect = opening.dialect(client, name)
    text = dialect.generate(Generate("fingerprint", serving.ids(opening, TEXT), _FINGERPRINT, prompt=prompt))
    return digests.text_digest(json.dumps([name, dialect.name, text.text, text.tokens]))


@dataclass
class ServerSession:
    """A server, until `close`.

    Args:
        opening: the model.
    """

    opening: ServerOpening
    _client: Client | None = None

    @property
    def client(self) -> Client:
        """The connection."""
        if self._client is None:
            assert self.opening.options.base_url is not None
            self._client = Client(self.opening.options.base_url)
        return self._client

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[ServerEngine]:
        """An engine for the served model, or for an adapter that the server has as a model of its own."""
        yield ServerEngine(self, self.opening.model if adapter is None else adapter.name)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None


@dataclass
class ServerEngine:
    """Asks a server.

    Args:
        session: the server.
        model: the server's name of the model or adapter.
    """

    session: ServerSession
    model: str
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)
    _believed: bool = False
    _same_tokens: bool = False

    def __post_init__(self) -> None:
        opening, client = self.session.opening, self.session.client
        self._scorer, self._writer = opening.by_ids(client, self.model), opening.dialect(client, self.model)

    @property
    def where(self) -> str:
        """Names the server and the model."""
        return f"The server at {self.session.client.url} with its model {self.model}"

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts.

        Raises:
            ModelError: the server's log-probabilities cannot be believed, or it stops answering.
        """
        waiting = [request for request in requests if request.id not in done]
        if waiting and not self._believed:
            check_scores(self._scorer, self.session.opening.encoder.tokenizer, self.where)
            self._believed = self._same_tokens = True
        yield from self._together(waiting, self._scores)

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts.

        Raises:
            ModelError: the server would read other tokens, or stops answering.
        """
        opening = self.session.opening
        waiting = [request for request in requests if request.id not in done]
        bare = next((request.id for request in waiting if request.prompt is None), None)
        if opening.reads_text and bare is not None:
            raise ModelError(
                f"{bare} has token ids and no text, and {self.where} reads text.",
                "Leave the task out, or use a server that accepts token ids, such as vLLM.",
            )
        if waiting and not opening.reads_text and not self._same_tokens:
            check_tokenizer(self._writer, opening.encoder.tokenizer, self.where)
            self._same_tokens = True
        yield from self._together(waiting, self._text)

    def _together(self, waiting: Sequence[Any], run: Any) -> Iterator[list[Response]]:
        client, batch, retries = self.session.client, list[Response](), self.session.client.retries
        failure: HarnessError | None = None
        try:
            for _, response in client.all(waiting, run):
                batch.append(response)
                if len(batch) >= _TOGETHER:
                    yield batch
                    batch = []
        except HarnessError as error:
            failure = error
        if batch:
            yield batch
        if failure is not None:
            raise failure
        if client.retries > retries:
            self.notes.append(f"The server was asked again {client.retries - retries:,} times because it was busy or did not answer.")

    def _scores(self, request: ScoreRequest) -> Response:
        pairs = [(request.context, choice) for choice in request.choices] if isinstance(request, ScoreChoices) else list(request.windows)
        logprobs, greedy = [], []
        for context, scored in pairs:
            prompt = context + scored
            try:
                scores = self._scorer.score(prompt)
            except RefusedRequestError as error:
                raise ModelError(f"{request.id}: {error.what}", _REFUSED) from error
            places = range(len(context), len(prompt))
            if len(scores.logprobs) != len(prompt) or any(scores.logprobs[place] is None for place in places):
                raise ModelError(f"{self.where} gave log-probabilities for another prompt than {request.id}.", "Check the server.")
            values = [scores.logprobs[place] or 0.0 for place in places]
            logprobs.append(sum(values))
            tops = [scores.highest[place] if place < len(scores.highest) else None for place in places]
            greedy.append(all(top is not None and value >= top - 1e-6 for value, top in zip(values, tops, strict=True)))
            self._count(len(prompt), 0)
        kind = ChoiceScores if isinstance(request, ScoreChoices) else TextScore
        return kind(request.id, tuple(logprobs), tuple(greedy))

    def _text(self, request: Generate) -> Response:
        try:
            text = self._writer.generate(request)
        except RefusedRequestError as error:
            raise ModelError(f"{request.id}: {error.what}", _REFUSED) from error
        opening = self.session.opening
        self._count(len(request.context), text.new_tokens or 0)
        tokens = text.tokens
        if opening.source is not None and tokens is not None:
            return self._endings.generation(request, tokens[: request.max_new_tokens])
        cut = min((place for stop in request.stop if (place := text.text.find(stop)) >= 0), default=None)
        if cut is not None:
            return Generation(request.id, text.text[:cut], (), "stop")
        return Generation(request.id, text.text, (), "length" if text.finish == "length" else "eos")

    @cached_property
    def _endings(self) -> Endings:
        from harness.models import loading

        tokenizer = self.session.opening.encoder.tokenizer
        return Endings(tokenizer, loading.end_tokens(self.session.opening.files, tokenizer))

    def _count(self, prompt: int, new: int) -> None:
        self.usage.requested_tokens += prompt
        self.usage.prefill_tokens += prompt
        self.usage.decode_tokens += new
