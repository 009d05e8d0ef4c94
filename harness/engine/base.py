"""What a backend is: how it is found by name, what it supports, and how a model is opened on it.

To add a backend, write one class in one file and decorate it with `@backend("name")`. The file stands in this package, in `engines/`
below a folder of HARNESS_PATH, or in a package with an entry point of the group `harness.engines`. It must import nothing heavy at
module level, because every backend is imported to list their names.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeVar

from harness.contract import Generate, Request, Response, ScoreChoices, ScoreRequest, ScoreText, System, Usage
from harness.engine.arguments import EngineArguments
from harness.errors import InputError
from harness.models import identity
from harness.models.identity import ModelIdentity
from harness.models.opening import ModelOptions, Note, Opening
from harness.util.plugins import Plugins, code_of

if TYPE_CHECKING:
    from harness.models.opening import AnyAdapter

DEFAULT = "transformers"
"""The backend of a run that names none."""

FULL = "FULL"
"""The type of an adapter that is a fully fine-tuned model; other types have peft's names, such as "LORA"."""


class Engine(Protocol):
    """Computes requests for one system. It knows no task and no metric.

    `done` holds ids of requests that are answered already. They take part in the plan but are not computed, so that a resumed run forms
    the same batches as an uninterrupted one, and its numbers are equal to the last bit. The responses of a batch are yielded together, as
    soon as the batch is finished.

    An engine whose numbers depend on what is computed together also has a method `batches`, with the result of the function of that name;
    several workers then share its work without changing a number.

    Attributes:
        usage: what was spent so far.
        notes: grow with what the user should know, such as that a model's prompts cannot share a prefix.
    """

    usage: Usage
    notes: list[str]

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts."""
        ...

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts."""
        ...


def batches(engine: Engine, requests: Sequence[Request]) -> list[tuple[str, ...]]:
    """Ids of requests by what an engine computes together, in its order; each alone where the engine has no method `batches`."""
    planned: Callable[[Sequence[Request]], list[tuple[str, ...]]] | None = getattr(engine, "batches", None)
    return [(request.id,) for request in requests] if planned is None else planned(requests)


class Session(Protocol):
    """One model opened on a backend, until `close`."""

    def engine(self, adapter: AnyAdapter | None) -> AbstractContextManager[Engine]:
        """An engine for the model with one of the opening's adapters, or without any."""
        ...

    def close(self) -> None:
        """Free the model, and end what was started for it."""
        ...


SETTINGS = frozenset({"dtype", "revision", "batch_tokens", "chat", "base_url", "engine_args"})
"""Fields of `ModelOptions` that not every backend uses; those that only permit something are not among them."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend supports. The defaults are the least.

    Attributes:
        choices: log-probabilities of choices.
        texts: log-probabilities of texts.
        generation: greedy decoding.
        sampling: decoding with a temperature.
        beams: beam search.
        adapters: types of adapters, as peft calls them, and `FULL`; None for every type.
        merge: merging an adapter into the weights.
        quantization: quantized weights.
        remote_code: Python code that comes with a model.
        encoder_decoder: encoder-decoder models.
        memory: models that the caller holds in memory.
        devices: several devices or workers, each with a copy of the model.
        actors: workers of a Ray cluster, each with a copy of the model, though not several processes of one machine.
        chat_only: prompts must be chat messages.
        settings: fields of `ModelOptions` that it uses, among `SETTINGS`; a run that sets another one is refused.
        reads: "tokens" where a request's token ids are enough, "text" where it tokenizes the text or messages beside them itself; a run of
            requests that have token ids alone, as those of lm-evaluation-harness, is then refused.
    """

    choices: bool = False
    texts: bool = False
    generation: bool = False
    sampling: bool = False
    beams: bool = False
    adapters: frozenset[str] | None = frozenset()
    merge: bool = False
    quantization: bool = False
    remote_code: bool = False
    encoder_decoder: bool = False
    memory: bool = False
    devices: bool = False
    actors: bool = False
    chat_only: bool = False
    settings: frozenset[str] = frozenset()
    reads: Literal["tokens", "text"] = "tokens"

    def __post_init__(self) -> None:
        if self.reads not in ("tokens", "text"):
            raise ValueError(f"reads is {self.reads!r}, not 'tokens' or 'text'")
        if unknown := sorted(self.settings - SETTINGS):
            raise ValueError(f"settings has {', '.join(unknown)}, which is not among {', '.join(sorted(SETTINGS))}")

    def adapter(self, kind: str) -> bool:
        """Whether adapters of a type are supported."""
        return self.adapters is None or kind in self.adapters


@dataclass(frozen=True)
class BatchPlan:
    """What a backend plans to compute for scoring, or for the prompts of generation.

    Which prompts are computed together is decided while others finish, so that for generation `computed` is an estimate.

    Attributes:
        work: "score" or "generate".
        requests: questions, texts or prompts.
        requested: tokens with nothing shared, each distinct row once.
        distinct: tokens that differ in what stands before them; no plan computes fewer.
        computed: tokens that the plan computes, without padding.
        padding: padding tokens at most, those of a model whose packed rows stand side by side; None where they are not known before.
        forwards: passes through the model; None likewise.
        prefixes: number and tokens of the shared prefixes that are cached on the device.
        decoded: upper limit of generated tokens.
    """

    work: Literal["score", "generate"]
    requests: int
    requested: int
    distinct: int
    computed: int
    padding: int | None = None
    forwards: int | None = None
    prefixes: tuple[int, int] = (0, 0)
    decoded: int = 0


@dataclass(frozen=True)
class Backend:
    """Base of all backends.

    Class attributes:
        name: as `--engine` calls it; set by `@backend`.
        revision: raised whenever the backend would answer the same request otherwise; cached responses are then computed again.
        capabilities: what it supports.
        arguments: what `--engine-args` takes; its `settings` then have "engine_args".
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1
    capabilities: ClassVar[Capabilities] = Capabilities()
    arguments: ClassVar[type[EngineArguments]] = EngineArguments

    @property
    def cache_key(self) -> str:
        """Name and revision, as part of the key of cached responses; of a plug-in also the digest of its code."""
        return ":".join((self.name, str(self.revision), *([self.code] if self.code else [])))

    @property
    def code(self) -> str | None:
        """Identifies the code of a plug-in by its file's content; None for shipped backends, which have a revision."""
        return code_of(type(self)).get("code")

    @property
    def suffix(self) -> str:
        """Ends the name of a system on this backend; empty for the default backend."""
        return "" if self.name == DEFAULT else f"@{self.name}"

    def prepare(self, options: ModelOptions, note: Note) -> Opening:
        """Find a model, its tokenizer and its adapters, and check everything that can be checked without loading weights.

        Args:
            options: what the user asks for.
            note: receives what the user should know.

        Raises:
            InputError: the model or an adapter is not found, is damaged, or is not supported.
        """
        from harness.models.opening import open_files

        return open_files(options, note)

    def identify(self, opening: Opening) -> ModelIdentity:
        """Identify the model, so that its cached responses are never served for another."""
        model = identity.of_files(opening) if opening.memory is None else identity.of_memory(opening)
        return replace(model, engine_args=self.parsed(opening.options).changing)

    def parsed(self, options: ModelOptions) -> EngineArguments:
        """What `--engine-args` gives, in the type of `arguments`.

        Raises:
            InputError: a key or a value is not allowed.
        """
        return self.arguments.parse(options.engine_args or "", self.name)

    def environment(self, options: ModelOptions) -> dict[str, str]:
        """Versions and settings that results record beside those of every run."""
        given = self.parsed(options).text
        return {"engine_args": given} if given else {}

    def devices(self, options: ModelOptions) -> tuple[str, ...]:
        """The devices that a run uses."""
        return options.devices

    def gpus_per_worker(self, options: ModelOptions) -> int:
        """GPUs that one copy of the model needs."""
        return 1

    def batch_tokens(self, options: ModelOptions) -> int | None:
        """Tokens in a batch, padding included; None where the backend decides it while it works."""
        return options.batch_tokens

    def plan(self, opening: Opening, scorings: Sequence[ScoreRequest], generations: Sequence[Generate]) -> Iterable[BatchPlan]:
        """What would be computed for requests, without loading the model; nothing where the backend does not plan ahead."""
        return ()

    def open(self, opening: Opening) -> Session:
        """Open the model; weights may be loaded when the first engine is entered.

        Raises:
            InputError: the model cannot be loaded.
        """
        raise NotImplementedError


BackendClass = TypeVar("BackendClass", bound=type[Backend])
PLUGINS: Plugins[Backend] = Plugins("engine", "harness.engine", "engines")


def backend(name: str) -> Callable[[BackendClass], BackendClass]:
    """Register a backend under a name, which `--engine` takes.

    Raises:
        InputError: another backend has that name, or the class does not define `open`.
    """

    def register(cls: BackendClass) -> BackendClass:
        if cls.open is Backend.open:
            raise InputError(f"The backend {name!r} does not define open(), which returns a session.", "Define it.")
        cls.name = name
        PLUGINS.register(name, cls)
        return cls

    return register


def known() -> Mapping[str, type[Backend]]:
    """Every backend's class by name: shipped, installed as a plug-in, and from the user's folders."""
    return PLUGINS.known()


def names() -> tuple[str, ...]:
    """Names of all backends, the default one first. No model library is imported."""
    return tuple(sorted(known(), key=lambda name: (name != DEFAULT, name)))


def load(name: str) -> Backend:
    """The backend of a name.

    Raises:
        InputError: there is none; names those that exist.
    """
    known()
    return PLUGINS.build(name, {})


def response_key(system: System) -> str:
    """What decides a system's response to token ids, as the key of cached responses takes it."""
    return identity.response_key(system, load(system.engine).cache_key)


def check_options(
    backend: Backend, options: ModelOptions, *, memory: bool = False, workers: Literal["ray", "processes"] | None = None
) -> None:
    """Refuse options that a backend does not support.

    Raises:
        InputError: names the option, and the backends that support it.
    """
    if memory and workers:
        raise InputError("A model in memory cannot be sent to other processes.", "Save it and name its folder, or leave out workers.")
    _refuse(
        backend,
        [
            _Need("a model in memory", memory, lambda can: can.memory),
            _Need("--quantize", options.quantize is not None, lambda can: can.quantization),
            _Need("--merge", options.merge, lambda can: can.merge),
            _Need("--trust-remote-code", options.trust_remote_code, lambda can: can.remote_code),
            _Need("--device with several devices", len(options.devices) > 1, lambda can: can.devices),
            _Need("--workers N", workers == "processes", lambda can: can.devices),
            _Need("--workers ray", workers == "ray", lambda can: can.devices or can.actors),
            _Need("--no-chat", options.chat is False, lambda can: not can.chat_only),
            _Need("--adapter", any(name is not None for name in options.adapters), lambda can: can.adapters != frozenset()),
            *(_Need(_flag(name, getattr(options, name)), set_, _uses(name)) for name, set_ in _settings(options) if not memory),
        ],
    )
    backend.parsed(options)


def check_opening(backend: Backend, opening: Opening) -> None:
    """Refuse a model or an adapter of a kind that a backend does not support.

    Raises:
        InputError: says what, and names the backends that support it.
        AdapterError: an adapter cannot be evaluated correctly with these options.
    """
    from harness.models import adapter_kinds, adapters

    needs = [_Need("an encoder-decoder model", opening.encoder.architecture == "seq2seq", lambda can: can.encoder_decoder)]
    for adapter in opening.adapters:
        kind = None if adapter is None or opening.memory is not None else _kind(adapter)
        if kind is not None:
            what = "a fully fine-tuned model as an adapter" if kind == FULL else f"adapters of type {kind}"
            needs.append(_Need(what, True, _supports_adapter(kind)))
    _refuse(backend, needs)
    for adapter in opening.adapters:
        if isinstance(adapter, adapters.Adapter) and not adapter.full:
            config = adapters.read_config(adapter.folder)
            adapter_kinds.check_kind(adapter, config, quantization=opening.options.quantize, engine=backend.name)


def check_requests(backend: Backend, requests: Iterable[Request]) -> None:
    """Refuse requests of a kind that a backend does not support.

    Raises:
        InputError: says what a task needs, and names the backends that support it.
    """
    requests = tuple(requests)
    kinds = {(type(request), getattr(request, "temperature", 0) > 0, getattr(request, "beams", 1) > 1) for request in requests}
    if not all(request.texts if isinstance(request, ScoreText) else request.prompt for request in requests):
        check_reads_ids(backend)
    _refuse(
        backend,
        [
            _Need("tasks that score choices", any(kind is ScoreChoices for kind, _, _ in kinds), lambda can: can.choices),
            _Need("tasks that score texts", any(kind is ScoreText for kind, _, _ in kinds), lambda can: can.texts),
            _Need("tasks that generate text", any(kind is Generate for kind, _, _ in kinds), lambda can: can.generation),
            _Need("tasks that sample", any(sampled for _, sampled, _ in kinds), lambda can: can.sampling),
            _Need("tasks with beam search", any(beams for _, _, beams in kinds), lambda can: can.beams),
        ],
    )


def check_reads_ids(backend: Backend) -> None:
    """Refuse a backend that tokenizes text itself, for requests that have token ids alone.

    Raises:
        InputError: names the backends that read token ids.
    """
    _refuse(backend, [_Need("tasks that give token ids without text (lm_eval: tasks)", True, lambda can: can.reads == "tokens")])


@dataclass(frozen=True)
class _Need:
    """Something a run needs of a backend: what it is for a message, whether it is needed, and whether a backend supports it."""

    what: str
    needed: bool
    supported: Callable[[Capabilities], bool] = field(compare=False)

    @property
    def without(self) -> str:
        """How a run does without it."""
        return "Leave out the tasks that need it" if self.what.startswith("tasks ") else "Leave it out"


def _refuse(backend: Backend, needs: Iterable[_Need]) -> None:
    for need in needs:
        if need.needed and not need.supported(backend.capabilities):
            able = [name for name in names() if name != "mock" and need.supported(known()[name].capabilities)]
            instead = f", or use --engine {' or '.join(able)}" if able else ""
            raise InputError(f"--engine {backend.name} does not support {need.what}.", f"{need.without}{instead}.")


def _settings(options: ModelOptions) -> list[tuple[str, bool]]:
    """Each of `SETTINGS`, and whether a run sets it."""
    defaults = {entry.name: entry.default for entry in fields(ModelOptions)}
    return [(name, getattr(options, name) != defaults[name]) for name in sorted(SETTINGS)]


def _flag(name: str, value: object) -> str:
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def _uses(name: str) -> Callable[[Capabilities], bool]:
    return lambda can: name in can.settings


def _kind(adapter: AnyAdapter) -> str:
    from harness.models import adapters

    if isinstance(adapter, adapters.ServedAdapter):
        return adapters.SERVED
    assert isinstance(adapter, adapters.Adapter)
    return FULL if adapter.full else str(adapters.read_config(adapter.folder)["peft_type"])


def _supports_adapter(kind: str) -> Callable[[Capabilities], bool]:
    return lambda can: can.adapter(kind)
