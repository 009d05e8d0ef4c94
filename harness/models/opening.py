"""Everything that is known of a model before its weights are loaded: its files, tokenizer, adapters and options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from harness.errors import InputError

if TYPE_CHECKING:
    from harness.models.adapters import Adapter, ServedAdapter
    from harness.models.cards import ModelSource
    from harness.models.encoding import Encoder
    from harness.models.in_memory import AdapterInMemory, InMemoryModel
    from harness.util.contents import Contents

    AnyAdapter: TypeAlias = Adapter | AdapterInMemory | ServedAdapter

Note = Callable[[str], None]
"""Receives what the user should know."""


@dataclass(frozen=True)
class ModelOptions:
    """How a model is found, loaded and computed; the names are those of the command line's options.

    Attributes:
        model: card name, folder or Hub id; a backend without weights may read it otherwise.
        adapters: names of adapters; None is the base model.
        devices: at least one; "auto" leaves the choice to the backend.
    """

    model: str
    adapters: tuple[str | None, ...] = (None,)
    devices: tuple[str, ...] = ("auto",)
    dtype: str = "auto"
    quantize: Literal["8bit", "4bit"] | None = None
    batch_tokens: int | None = None
    chat: bool | None = None
    data: Path | None = None
    revision: str | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False
    any_base: bool = False
    merge: bool = False
    base_url: str | None = None
    engine_args: str | None = None

    @classmethod
    def of(cls, options: Any) -> ModelOptions:
        """Those of a run's options that concern the model."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    @property
    def device(self) -> str:
        """The first device."""
        return self.devices[0]


@dataclass(frozen=True)
class Opening:
    """A model that is about to be opened on a backend.

    Attributes:
        options: how it is loaded and computed.
        name: short name for reports and result folders.
        encoder: turns prompts into token ids.
        adapters: those that will be used, None for the base model; in the order of the options.
        source: where the model is read from; None where it has no files.
        contents: the model's files, hashed; None likewise.
        tokenizer: the tokenizer's files, hashed; None likewise.
        memory: the model in memory; None where it is loaded.
    """

    options: ModelOptions
    name: str
    encoder: Encoder
    adapters: tuple[AnyAdapter | None, ...] = (None,)
    source: ModelSource | None = None
    contents: Contents | None = None
    tokenizer: Contents | None = None
    memory: InMemoryModel | None = None

    @property
    def files(self) -> ModelSource:
        """Where the model is read from.

        Raises:
            ValueError: it has no files.
        """
        if self.source is None:
            raise ValueError(f"{self.name} is not read from files")
        return self.source

    def contents_with(self, adapter: AnyAdapter | None) -> Iterator[Contents]:
        """The hashed files of the model with an adapter, or without."""
        if self.contents is not None:
            yield self.contents
        own = getattr(adapter, "contents", None)
        if own is not None:
            yield own

    def leave_hashing(self) -> None:
        """Stop hashing in the background, because another process verifies these files."""
        for adapter in self.adapters:
            for contents in self.contents_with(adapter):
                contents.leave()


def open_files(options: ModelOptions, note: Note) -> Opening:
    """Find a model and its adapters on disk or on the Hub, and check everything that can be checked without loading weights.

    Args:
        options: how it is loaded.
        note: receives what the user should know.

    Raises:
        ModelError: the model is not found, or its files are damaged.
        AdapterError: an adapter is not found, is damaged, or belongs to another base model.
    """
    from harness.models import adapters, cards, digests, loading

    code, pickles = options.trust_remote_code, options.allow_pickle
    source = cards.resolve(options.model, data=options.data, revision=options.revision, pickles=pickles, remote_code=code)
    if source.note:
        note(source.note)
    resolved = tuple(
        None if name is None else adapters.resolve(name, source, data=options.data, pickles=pickles, merge=options.merge)
        for name in options.adapters
    )
    for adapter in resolved:
        if adapter is not None and not options.any_base:
            adapters.check_base(adapter, source)
            adapters.check_precision(adapter, options.quantize)
    loading.check_weights(source, pickles=pickles)
    contents = digests.model(source.folder, pickles=pickles, remote_code=code)  # hashed while libraries are imported
    tokenizer = digests.tokenizer(source.folder, remote_code=code)
    encoder = open_encoder(source, options.chat, remote_code=code)
    for device in options.devices:
        loading.pick_device(device)
    for adapter in resolved:
        if adapter is not None:
            adapters.check_finite(adapter, pickles=pickles)
    tokenizer.check()
    return Opening(options, source.name, encoder, resolved, source, contents, tokenizer)


def open_memory(options: ModelOptions, memory: InMemoryModel, *, active: bool = False) -> Opening:
    """Everything that is known of a model in memory before it is scored.

    Args:
        options: names of adapters, and whether prompts are chat messages; `quantize`, `merge` and `device` must not be set.
        memory: the model.
        active: score it with the adapters that are active, whatever the options name.

    Raises:
        InputError: the model is neither a PreTrainedModel nor a PeftModel, or an option does not apply to a model in memory.
        AdapterError: an adapter is unknown, or is merged into the base model's weights.
    """
    from harness.models import in_memory, loading
    from harness.models.encoding import Encoder

    in_memory.check(memory)
    _refuse_loading(options)
    adapters = (
        (in_memory.active_adapter(memory),)
        if active
        else tuple(None if name is None else in_memory.named_adapter(memory, name) for name in options.adapters)
    )
    tokenizer = memory.tokenizer
    chat = bool(tokenizer.chat_template) if options.chat is None else options.chat
    encoder = Encoder(tokenizer, memory.architecture, loading.max_length(memory.base.config), chat)
    return Opening(replace(options, devices=(str(memory.device),)), memory.name, encoder, adapters, memory=memory)


def _refuse_loading(options: ModelOptions) -> None:
    """Refuse options of loading, which do not apply to a model in memory."""
    refused = {
        "quantize": options.quantize is not None,
        "merge": options.merge,
        "dtype": options.dtype != "auto",
        "device": options.devices != ("auto",),
        "revision": options.revision is not None,
    }
    for name, given in refused.items():
        if given:
            raise InputError(f"{name} does not apply to a model in memory, which is scored as it is.", f"Leave out {name}.")


def open_encoder(source: ModelSource, chat: bool | None = None, *, remote_code: bool = False) -> Encoder:
    """Load a model's tokenizer, without its weights.

    Args:
        source: the model.
        chat: whether prompts are chat messages; None: when it is an instruct model and its tokenizer has a chat template.
        remote_code: run Python code that comes with the model.

    Raises:
        ModelError: the configuration or the tokenizer cannot be read.
    """
    from harness.models import loading
    from harness.models.encoding import Encoder

    config = loading.load_config(source, remote_code=remote_code)
    loading.generation_config(source)
    tokenizer = loading.load_tokenizer(source, remote_code=remote_code)
    if chat is None:
        chat = bool(tokenizer.chat_template) and (source.card is None or source.card.kind == "instruct")
    return Encoder(tokenizer, "seq2seq" if config.is_encoder_decoder else "causal", loading.max_length(config), chat)
