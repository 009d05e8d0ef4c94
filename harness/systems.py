"""The systems of a run: one model, loaded when first needed, and each adapter on it or none."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import folders
from harness.contents import Contents
from harness.contract import System
from harness.errors import InputError, StorageError
from harness.models import adapters, cards, digests, loading
from harness.models.encoding import Encoder
from harness.store import runs, samples
from harness.store.places import check_files

if TYPE_CHECKING:
    from harness.contract import Engine, Generate, Response, ScoreRequest, Usage
    from harness.engine.vllm import Server
    from harness.options import Options, Watch
    from harness.replicas import Replicas

ENGINE_REVISION = 4
VLLM_REVISION = 1
"""Raised whenever the engine would answer the same request otherwise; kept answers are then asked again."""


@dataclass
class Evaluation:
    """The systems of a run: one model, loaded when first needed, and each adapter on it or none.

    Attributes:
        systems: each system with its adapter, in the order asked for.
        outputs: the results folder of each system's name.
        contents: the files of the model.
    """

    options: Options
    watch: Watch
    source: cards.Source
    encoder: Encoder
    systems: list[tuple[System, adapters.Adapter | None]]
    outputs: dict[str, Path]
    contents: Contents
    _loaded: loading.Loaded | None = None
    _server: Server | None = None
    _replicas: Replicas | None = None
    _said: set[str] = field(default_factory=set)

    def say_once(self, notes: Sequence[str]) -> None:
        """Tell the user what was not told yet, whichever system it was found out with."""
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                self.watch.note(note)

    @classmethod
    def open(cls, options: Options, watch: Watch) -> Evaluation:
        """Find the model and its adapters, and check that their results have a place to go."""
        data = folders.data_folder(options.data)
        source = cards.resolve(
            options.model, data=data, revision=options.revision, pickles=options.allow_pickle, remote_code=options.trust_remote_code
        )
        if source.note:
            watch.note(source.note)
        found = [
            None if name is None else adapters.resolve(name, source, data=data, pickles=options.allow_pickle, merge=options.merge)
            for name in options.adapters
        ]
        for adapter in found:
            if adapter is not None and not options.any_base:
                adapters.check_base(adapter, source)
                adapters.check_precision(adapter, options.quantize)
        code = options.trust_remote_code
        loading.check_weights(source, pickles=options.allow_pickle)
        contents = digests.model(source.folder, pickles=options.allow_pickle, remote_code=code)  # hashed while libraries are imported
        tokens = digests.tokenizer(source.folder, remote_code=code)
        encoder = open_encoder(source, options.chat, remote_code=code)
        for device in options.devices or (options.device,):
            loading.pick_device(device)
        for adapter in found:
            if adapter is not None:
                adapters.check_finite(adapter, pickles=options.allow_pickle)
                adapters.check_kind(adapter, options.quantize, options.engine)
        tokens.check()
        if options.engine == "vllm":
            _check_vllm(options, encoder, found)
        systems = [(_system(options, source, encoder, adapter, contents.digest, tokens.digest), adapter) for adapter in found]
        outputs = _outputs(options, [system for system, _ in systems])
        return cls(options, watch, source, encoder, systems, outputs, contents)

    def check(self, adapter: adapters.Adapter | None) -> None:
        """Make sure that the files of a system are those that its digests name, all of them read: before its answers are kept or served.

        Raises:
            ContentError: one was changed.
        """
        self.contents.check()
        if adapter is not None and adapter.contents is not None:
            adapter.contents.check()

    @contextmanager
    def engine(self, adapter: adapters.Adapter | None) -> Iterator[Engine]:
        """An engine for the base with an adapter, or without; it hands out nothing unless the files are still what was hashed."""
        with self._engine(adapter) as engine:
            yield _Checked(engine, self, adapter)

    @contextmanager
    def _engine(self, adapter: adapters.Adapter | None) -> Iterator[Engine]:
        if self.options.engine == "vllm":
            yield self._vllm(adapter)
            return
        if len(devices := _devices(self.options)) > 1:
            yield self._on_all(devices, adapter)
            return
        from harness.engine.budget import Budget
        from harness.engine.transformers import TransformersEngine
        from harness.engine.trust import trusted

        options, loaded = self.options, self.loaded()
        context: Any = nullcontext(None) if adapter is None else adapters.attached(loaded, adapter, pickles=options.allow_pickle)
        with context as attached:
            for warning in attached.warnings if attached else ():
                self.watch.note(warning)
            module = attached.module if attached else loaded.module
            budget = Budget.choose(options.batch_tokens, loaded.device.type)
            engine = TransformersEngine(module, loaded.tokenizer, loaded.architecture, budget)
            yield engine if adapter is None else trusted(engine, adapter.name)

    def close(self) -> None:
        """End the processes that were started for further devices."""
        if self._replicas is not None:
            self._replicas.close()

    def _on_all(self, devices: Sequence[str], adapter: adapters.Adapter | None) -> Engine:
        from harness.replicas import Replicas

        if self._replicas is None:
            self._replicas = Replicas(open_quietly, self.options, devices)
        return self._replicas.engine(next(number for number, (_, other) in enumerate(self.systems) if other is adapter))

    def _vllm(self, adapter: adapters.Adapter | None) -> Engine:
        from harness.engine.endings import Endings
        from harness.engine.vllm import VllmEngine, open_server

        folders_of = [other.folder for _, other in self.systems if other is not None]
        if self._server is None:
            dtype = loading.pick_dtype(self.options.dtype, loading.pick_device(self.options.device))
            self._server = open_server(self.source.folder, dtype, folders_of)
        tokenizer = self.encoder.tokenizer
        endings = Endings(tokenizer, loading.end_tokens(self.source, tokenizer, remote_code=self.options.trust_remote_code))
        if adapter is None:
            return VllmEngine(self._server, endings)
        return VllmEngine(self._server, endings, adapter.folder, 1 + folders_of.index(adapter.folder))

    def loaded(self) -> loading.Loaded:
        """The model, loaded once."""
        if self._loaded is None:
            options = self.options
            self._loaded = loading.load_model(
                self.source,
                tokenizer=self.encoder.tokenizer,
                device=options.device,
                dtype=options.dtype,
                quantize=options.quantize,
                pickles=options.allow_pickle,
                remote_code=options.trust_remote_code,
                contents=self.contents,
            )
        return self._loaded


@dataclass
class _Checked:
    """An engine whose files are looked at before each of its batches is handed out: weights may be mapped into memory, not copied."""

    engine: Engine
    evaluation: Evaluation
    adapter: adapters.Adapter | None
    usage: Usage = field(init=False)
    notes: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.usage, self.notes = self.engine.usage, self.engine.notes

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts."""
        return self._checked(self.engine.score(requests, done))

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts."""
        return self._checked(self.engine.generate(requests, done))

    def _checked(self, batches: Iterator[list[Response]]) -> Iterator[list[Response]]:
        for batch in batches:
            self.evaluation.check(self.adapter)
            yield batch


class _Quiet:
    """Follows a run in a process whose words nobody reads."""

    def start(self, system: str, totals: Mapping[str, int]) -> None:
        """Nothing."""

    def advance(self, label: str, items: int) -> None:
        """Nothing."""

    def tokens(self, count: int) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing: the run's own process tells it."""


def open_quietly(options: Options) -> Evaluation:
    """The systems of a run, in a process of its own. The process of the run makes sure that files stay the same while this one reads."""
    evaluation = Evaluation.open(options, _Quiet())
    for contents in (evaluation.contents, *(adapter.contents for _, adapter in evaluation.systems if adapter is not None)):
        if contents is not None:
            contents.leave()
    return evaluation


def _devices(options: Options) -> tuple[str, ...]:
    """The devices that a run uses: those named, or all GPUs of the machine where none is."""
    if options.devices:
        return options.devices
    if options.device == "auto":
        import torch

        return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    return (options.device,)


def _check_vllm(options: Options, encoder: Encoder, found: Sequence[adapters.Adapter | None]) -> None:
    """Refuse what vLLM does not do here."""
    refused = {
        "an encoder-decoder model": encoder.architecture == "seq2seq",
        "--quantize": options.quantize is not None,
        "--merge": options.merge,
        "--trust-remote-code": options.trust_remote_code,
        "a fully tuned model as an adapter": any(adapter is not None and adapter.full for adapter in found),
    }
    for what, asked in refused.items():
        if asked:
            raise InputError(f"--engine vllm does not go with {what}.", "Leave it out, or use --engine transformers.")


def open_encoder(source: cards.Source, chat: bool | None = None, *, remote_code: bool = False) -> Encoder:
    """A model's tokenizer, without its weights.

    Args:
        source: the model.
        chat: whether prompts are chat messages; None: when it is an instruct model and its tokenizer has a chat template.
        remote_code: run Python code that the model brings.
    """
    config = loading.load_config(source, remote_code=remote_code)
    loading.generation_config(source)
    tokenizer = loading.load_tokenizer(source, remote_code=remote_code)
    architecture: Literal["causal", "seq2seq"] = "seq2seq" if config.is_encoder_decoder else "causal"
    if chat is None:
        chat = bool(tokenizer.chat_template) and (source.card is None or source.card.kind == "instruct")
    return Encoder(tokenizer, architecture, loading.max_length(config), chat)


def _system(options: Options, source: cards.Source, encoder: Encoder, adapter: adapters.Adapter | None, digest: str, tokens: str) -> System:
    weights = digests.count_parameters(digests.weights_files(source.folder))
    own = 0
    if adapter is not None:
        own = digests.count_parameters((digests.weights_files if adapter.full else digests.adapter_weights)(adapter.folder))
    name = source.name + (f"+{adapter.name}" if adapter else "") + (f"@{options.quantize}" if options.quantize else "")
    name += "@vllm" if options.engine == "vllm" else ""
    return System(
        name=name,
        model=options.model,
        adapter=adapter.name if adapter else None,
        architecture=encoder.architecture,
        dtype=loading.pick_dtype(options.dtype, loading.pick_device(options.device)),
        quantization=options.quantize,
        model_digest=digest,
        adapter_digest=adapter.digest if adapter else None,
        tokenizer_digest=tokens,
        chat_template_digest=encoder.chat_template_digest,
        revision=source.revision,
        parameters=weights + own,
        adapter_parameters=own,
        notes=(source.note,) if source.note else (),
        engine=options.engine,
    )


def _outputs(options: Options, systems: Sequence[System]) -> dict[str, Path]:
    """The results folder of each system; raises StorageError when one cannot be written, or holds another system's run."""
    if len({system.name for system in systems}) < len(systems):
        raise InputError("Two of the adapters have the same name.", "Rename one of the folders, or score them in two runs.")
    folders_ = {}
    for system in systems:
        root = options.output or Path("results") / system.name
        folders_[system.name] = root / system.name if options.output and len(systems) > 1 else root
        check_files([folders_[system.name] / runs.FILE_NAME, samples.path_of(folders_[system.name], "task")])
        if (folders_[system.name] / runs.FILE_NAME).exists():
            old = runs.read(folders_[system.name])
            if old.system.digest != runs.system_record(system).digest:
                raise StorageError(
                    f"The output folder {folders_[system.name]} holds the run of another system: "
                    f"{old.system.name} ({_unlike(old.system, system)}).",
                    "Choose another folder with --output, or remove that one.",
                )
    return folders_


def _unlike(old: runs.SystemRecord, new: System) -> str:
    """What sets two systems apart, in words."""
    names = {
        "model_digest": "other weights",
        "adapter_digest": "another adapter",
        "dtype": f"dtype {old.dtype}",
        "quantization": f"quantization {old.quantization or 'none'}",
        "chat_template_digest": "another chat template, or none",
        "tokenizer_digest": "another tokenizer",
        "engine": f"engine {old.engine}",
    }
    return ", ".join(words for name, words in names.items() if getattr(old, name) != getattr(new, name)) or "another identity"


def response_key(system: System) -> str:
    """What decides a system's answer to token ids: weights, adapter, precision, and the tokenizer that turns new tokens into text."""
    identity = (system.model_digest, system.adapter_digest, system.dtype, system.quantization, system.tokenizer_digest)
    engine = f"{ENGINE_REVISION}" if system.engine == "transformers" else f"{system.engine}:{VLLM_REVISION}"
    return "|".join([*(part or "-" for part in identity), f"engine:{engine}"])
