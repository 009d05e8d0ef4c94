"""The backend on a server that somebody runs: OpenAI-compatible completions, SGLang, or chat completions."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.contract import ChoiceScores, Generate, Generation, Response, ScoreChoices, ScoreRequest, TextScore, TokenIds, Usage
from harness.engine.base import Backend, Capabilities, Session, backend
from harness.engine.endings import Endings
from harness.engine.server.client import Client, RefusedRequestError
from harness.engine.server.dialects import Completions, Messages, ServerDialect, SGLang
from harness.engine.server.probe import TEXT, check_scores
from harness.errors import InputError, ModelError
from harness.models.identity import ModelIdentity

if TYPE_CHECKING:
    from harness.models.opening import AnyAdapter, ModelOptions, Note, Opening

_TOGETHER = 16
"""Requests whose responses are saved together."""
_FINGERPRINT = 16
"""Greedy tokens that identify what a server serves."""


@backend("server")
class ServerBackend(Backend):
    """Asks a server for what it computes; its weights cannot be verified."""

    revision = 1
    capabilities = Capabilities(choices=True, texts=True, generation=True, sampling=True, settings=frozenset({"chat", "base_url"}))

    def prepare(self, options: ModelOptions, note: Note) -> Opening:
        """Find the server's model, and the tokenizer that `--model` names.

        Where `--model` names neither a card, a folder nor a Hub id, it is the server's name of the model, which then reads text.

        Raises:
            InputError: there is no `--base-url`, or the server has no such model.
            ModelError: the server does not answer.
        """
        from harness.models import cards
        from harness.models.encoding import Encoder
        from harness.models.opening import Opening, open_encoder

        if options.base_url is None:
            raise InputError("--engine server needs --base-url.", "Give the server's address, such as --base-url http://127.0.0.1:8000/v1.")
        client = Client(options.base_url)
        served = [entry.get("id") for entry in (client.get("/models") or {}).get("data") or () if isinstance(entry, dict)]
        client.close()
        try:
            source = cards.resolve(options.model, data=options.data, revision=options.revision)
        except ModelError:
            if served and options.model not in served:
                raise InputError(
                    f"{options.model} is neither a local model nor one that the server has.",
                    f"The server has {', '.join(map(str, served))}.",
                ) from None
            note(
                f"{options.model} has no local tokenizer: the server formats and tokenizes prompts, and only tasks that generate text work."
            )
            from harness.engine.mock import ByteTokenizer

            chat = options.chat is not False
            return Opening(options, options.model.rsplit("/", 1)[-1], Encoder(ByteTokenizer(), "causal", None, chat))
        return Opening(options, source.name, open_encoder(source, options.chat), source=source)

    def identify(self, opening: Opening) -> ModelIdentity:
        """Identify what the server says it serves, and by how it continues a fixed prompt; the weights are unverified."""
        from harness.models import digests

        session = ServerSession(opening)
        try:
            dialect = session.dialect
            request = Generate("fingerprint", session.ids(TEXT), _FINGERPRINT, prompt=_prompt(opening, TEXT))
            text = dialect.generate(request)
            model = dialect.model
        finally:
            session.close()
        tokenizer = "server" if opening.source is None else digests.tokenizer(opening.files.folder).digest
        content = json.dumps([model, dialect.name, text.text, text.tokens])
        return ModelIdentity(
            "remote",
            digests.text_digest(content),
            digests.text_digest(tokenizer) if opening.source is None else tokenizer,
            "unknown",
            notes=(f"Served as {model} by a server, which can serve any weights: they are not verified.",),
        )

    def open(self, opening: Opening) -> Session:
        """Connect when the first request is sent."""
        return ServerSession(opening)


def _prompt(opening: Opening, text: str) -> Any:
    from harness.contract import Message, Prompt

    return Prompt(text, (Message("user", text),) if opening.encoder.chat else None)


@dataclass
class ServerSession:
    """A server, until `close`.

    Args:
        opening: the model.
    """

    opening: Opening
    _client: Client | None = None
    _dialect: ServerDialect | None = None

    @property
    def client(self) -> Client:
        """The connection."""
        if self._client is None:
            assert self.opening.options.base_url is not None
            self._client = Client(self.opening.options.base_url)
        return self._client

    @property
    def where(self) -> str:
        """Names the server."""
        return f"The server at {self.client.url}"

    @property
    def dialect(self) -> ServerDialect:
        """How the server is asked, found on the first call."""
        if self._dialect is None:
            model = self._served()
            if self.opening.source is None:
                self._dialect = Messages(self.client, model)
            elif self.client.get(self.client.url.removesuffix("/v1") + "/get_model_info") is not None:
                self._dialect = SGLang(self.client, model)
            else:
                self._dialect = Completions(self.client, model)
        return self._dialect

    def ids(self, text: str) -> TokenIds:
        """Token ids of a text, with the local tokenizer."""
        return self.opening.encoder.contexts([text])[0]

    def _served(self) -> str:
        """The server's name of the model: `--model` itself, or its name, or the only one there is.

        Raises:
            InputError: the server has several, and none of this name.
        """
        listed = (self.client.get("/models") or {}).get("data") or ()
        names = [str(entry["id"]) for entry in listed if isinstance(entry, dict) and "id" in entry]
        wanted = (self.opening.options.model, self.opening.name)
        for name in names:
            if name in wanted:
                return name
        if len(names) == 1:
            return names[0]
        if not names:
            return self.opening.options.model
        raise InputError(f"{self.where} has no model {self.opening.name}.", f"It has {', '.join(names)}: name the folder like one of them.")

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[ServerEngine]:
        """An engine for the served model; adapters are models of their own on a server."""
        del adapter
        yield ServerEngine(self)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None
            self._dialect = None


@dataclass
class ServerEngine:
    """Asks a server.

    Args:
        session: the server.
    """

    session: ServerSession
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)
    _checked: bool = False

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts.

        Raises:
            ModelError: the server's log-probabilities cannot be believed, or it stops answering.
        """
        waiting = [request for request in requests if request.id not in done]
        if waiting and not self._checked:
            check_scores(self.session.dialect, self.session.opening.encoder.tokenizer, self.session.where)
            self._checked = True
        yield from self._together(waiting, self._scores)

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts."""
        yield from self._together([request for request in requests if request.id not in done], self._text)

    def _together(self, waiting: Sequence[Any], run: Any) -> Iterator[list[Response]]:
        client, batch, retries = self.session.client, list[Response](), self.session.client.retries
        for _, response in client.all(waiting, run):
            batch.append(response)
            if len(batch) >= _TOGETHER:
                yield batch
                batch = []
        if batch:
            yield batch
        if client.retries > retries:
            self.notes.append(f"The server was asked again {client.retries - retries:,} times because it was busy or did not answer.")

    def _scores(self, request: ScoreRequest) -> Response:
        pairs = [(request.context, choice) for choice in request.choices] if isinstance(request, ScoreChoices) else list(request.windows)
        logprobs, greedy = [], []
        for context, scored in pairs:
            prompt = context + scored
            try:
                scores = self.session.dialect.score(prompt)
            except RefusedRequestError as error:
                raise ModelError(f"{request.id}: {error.what}", "Shorten the prompts (--shots), or serve with more context.") from error
            places = range(len(context), len(prompt))
            if len(scores.logprobs) != len(prompt) or any(scores.logprobs[place] is None for place in places):
                raise ModelError(f"{self.session.where} gave log-probabilities for another prompt than {request.id}.", "Check the server.")
            values = [scores.logprobs[place] or 0.0 for place in places]
            logprobs.append(sum(values))
            tops = [scores.highest[place] if place < len(scores.highest) else None for place in places]
            greedy.append(all(top is not None and value >= top - 1e-6 for value, top in zip(values, tops, strict=True)))
            self._count(len(prompt), 0)
        kind = ChoiceScores if isinstance(request, ScoreChoices) else TextScore
        return kind(request.id, tuple(logprobs), tuple(greedy))

    def _text(self, request: Generate) -> Response:
        try:
            text = self.session.dialect.generate(request)
        except RefusedRequestError as error:
            raise ModelError(f"{request.id}: {error.what}", "Shorten the prompts (--shots), or serve with more context.") from error
        opening = self.session.opening
        self._count(len(request.context), text.new_tokens or 0)
        tokens = text.tokens
        if opening.source is not None and tokens is not None:
            tokenizer = opening.encoder.tokenizer
            ends = frozenset(token for token in (tokenizer.eos_token_id,) if token is not None)
            return Endings(tokenizer, ends).generation(request, tokens[: request.max_new_tokens])
        cut = min((place for stop in request.stop if (place := text.text.find(stop)) >= 0), default=None)
        if cut is not None:
            return Generation(request.id, text.text[:cut], (), "stop")
        return Generation(request.id, text.text, (), "length" if text.finish == "length" else "eos")

    def _count(self, prompt: int, new: int) -> None:
        self.usage.requested_tokens += prompt
        self.usage.prefill_tokens += prompt
        self.usage.decode_tokens += new
