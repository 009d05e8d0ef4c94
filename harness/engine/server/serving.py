"""What a server serves: its models and adapters, and how it has to be asked. The server is asked once, before a run begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.engine.server.client import Client
from harness.engine.server.dialects import Completions, Messages, ServerDialect, SGLang
from harness.engine.server.probe import TEXT
from harness.errors import AdapterError, InputError
from harness.models.opening import Opening

if TYPE_CHECKING:
    from harness.contract import TokenIds

ROOM = 2
"""Tokens of a server's context that a prompt cannot have: the new one that is requested with scores, and the first of a scored window."""


@dataclass(frozen=True)
class ServedModel:
    """An entry of a server's list of models.

    Attributes:
        name: as requests give it.
        parent: the model that it adapts; None where it is no adapter, or the server does not say.
        context: tokens of a prompt and what follows it; None where the server does not say.
        owner: the server's software, or who made the model.
    """

    name: str
    parent: str | None = None
    context: int | None = None
    owner: str = ""


@dataclass(frozen=True)
class ServerOpening(Opening):
    """A model that a server has.

    Attributes:
        model: the server's name of the model.
        vllm: the server is vLLM.
        sglang: the server is SGLang.
        refusal: why the server does not accept token ids as a prompt; empty where it does.
    """

    model: str = ""
    vllm: bool = False
    sglang: bool = False
    refusal: str = ""

    @property
    def reads_text(self) -> bool:
        """Whether prompts are sent as text or messages."""
        return self.source is None or bool(self.refusal)

    def dialect(self, client: Client, name: str) -> ServerDialect:
        """How a model or adapter of the server is asked to generate text."""
        return Messages(client, name) if self.reads_text else self.by_ids(client, name)

    def by_ids(self, client: Client, name: str) -> ServerDialect:
        """How it is asked to score, which is never done by text."""
        if self.source is None:
            return Messages(client, name)
        return SGLang(client, name) if self.sglang else Completions(client, name, self.vllm)


def listed(client: Client) -> tuple[ServedModel, ...]:
    """The models that a server has; none where it has no list."""
    content = client.get("/models")
    entries = content.get("data") if isinstance(content, dict) else None
    return tuple(_entry(entry) for entry in entries or () if isinstance(entry, dict) and entry.get("id"))


def asked(client: Client, opening: Opening, models: Sequence[ServedModel]) -> ServerOpening:
    """Find out how a server has to be asked for a model.

    Raises:
        InputError: the server has several models, and none of this name.
        ModelError: the server does not answer.
    """
    served = _chosen(client, opening, models)
    vllm = served.owner == "vllm"
    sglang = opening.source is not None and not vllm and client.get(client.root("/get_model_info")) is not None
    refusal = ""
    if opening.source is not None and not sglang:
        refusal = Completions(client, served.name).refusal(ids(opening, TEXT))
    encoder = opening.encoder
    if served.context is not None:
        room = max(1, served.context - ROOM)
        encoder = replace(encoder, max_length=min(room, encoder.max_length or room))
    return ServerOpening(
        opening.options,
        opening.name,
        encoder,
        source=opening.source,
        model=served.name,
        vllm=vllm,
        sglang=sglang,
        refusal=refusal,
    )


def adapter_name(opening: ServerOpening, client: Client, name: str, models: Sequence[ServedModel]) -> str:
    """The server's name of an adapter.

    Raises:
        AdapterError: the server has none of this name, or it is the model itself.
        InputError: adapters of this server cannot be named.
    """
    if opening.sglang:
        raise InputError("--adapter is not supported with SGLang.", "Serve the model with vLLM (--enable-lora --lora-modules NAME=FOLDER).")
    adapters = [model.name for model in models if model.name != opening.model]
    if name not in adapters:
        has = f"It has {', '.join(adapters)} beside {opening.model}." if adapters else f"It has {opening.model} only."
        raise AdapterError(
            f"The server at {client.url} has no adapter {name}.",
            f"{has} vLLM serves adapters with --enable-lora --lora-modules NAME=FOLDER.",
        )
    return name


def ids(opening: Opening, text: str) -> TokenIds:
    """Token ids of a text, with the local tokenizer."""
    return opening.encoder.contexts([text])[0]


def _chosen(client: Client, opening: Opening, models: Sequence[ServedModel]) -> ServedModel:
    """The model of this name, or the only one that is no adapter."""
    wanted = (opening.options.model, opening.name)
    for name in (*wanted, opening.name):
        for model in models:
            if model.name == name or (name == opening.name and model.name.rstrip("/").rsplit("/", 1)[-1] == name):
                return model
    whole = [model for model in models if model.parent is None]
    if len(whole) == 1:
        return whole[0]
    if not models:
        return ServedModel(opening.options.model)
    raise InputError(
        f"The server at {client.url} has no model {opening.name}.",
        f"It has {', '.join(model.name for model in models)}: name the folder like one of them.",
    )


def _entry(entry: dict[str, Any]) -> ServedModel:
    context, parent = entry.get("max_model_len"), entry.get("parent")
    return ServedModel(
        str(entry["id"]),
        str(parent) if parent else None,
        context if isinstance(context, int) and context > ROOM else None,
        str(entry.get("owned_by") or ""),
    )
