"""The exact identity of a system: digests of everything that decides its answers, and the key of its cached responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contract import Identity, System

if TYPE_CHECKING:
    from harness.models.opening import AnyAdapter, Opening


@dataclass(frozen=True)
class ModelIdentity:
    """What identifies a model apart from its adapters.

    Attributes:
        kind: how the weights are known.
        digest: SHA-256 (hex) of weights and configuration.
        tokenizer_digest: SHA-256 (hex) of the tokenizer.
        dtype: of the weights, such as "float32".
        parameters: number of weights.
        quantization: "8bit", "4bit" or None.
        revision: Hub revision, where there is one.
        notes: what the user should know of this copy.
        engine_args: arguments of the backend that can change a response.
    """

    kind: Identity
    digest: str
    tokenizer_digest: str
    dtype: str
    parameters: int = 0
    quantization: str | None = None
    revision: str | None = None
    notes: tuple[str, ...] = ()
    engine_args: str = ""


@dataclass(frozen=True)
class AdapterIdentity:
    """What identifies an adapter: the SHA-256 (hex) of its weights and configuration, and the number of its weights."""

    digest: str
    parameters: int


def of_files(opening: Opening) -> ModelIdentity:
    """Identify a model by the content of its files; waits for large files that are hashed for the first time."""
    from harness.models import digests, loading

    assert opening.contents is not None
    assert opening.tokenizer is not None
    options, source = opening.options, opening.files
    return ModelIdentity(
        kind="files",
        digest=opening.contents.digest,
        tokenizer_digest=opening.tokenizer.digest,
        dtype=loading.pick_dtype(options.dtype, loading.pick_device(options.device)),
        parameters=digests.count_parameters(digests.weights_files(source.folder)),
        quantization=options.quantize,
        revision=source.revision,
        notes=(source.note,) if source.note else (),
    )


def of_memory(opening: Opening) -> ModelIdentity:
    """Identify a model in memory by its weights and configuration, all of them hashed."""
    from harness.models import memory_digests

    assert opening.memory is not None
    base = opening.memory.base
    bits = {"8bit": getattr(base, "is_loaded_in_8bit", False), "4bit": getattr(base, "is_loaded_in_4bit", False)}
    return ModelIdentity(
        kind="memory",
        digest=memory_digests.base_digest(opening.memory),
        tokenizer_digest=memory_digests.tokenizer_digest(opening.memory.tokenizer),
        dtype=str(base.dtype).removeprefix("torch."),
        parameters=memory_digests.parameters(memory_digests.base_state(opening.memory)),
        quantization=next((name for name, loaded in bits.items() if loaded), None),
    )


def of_adapter(opening: Opening, adapter: AnyAdapter) -> AdapterIdentity:
    """Identify an adapter, on disk, in memory or on a server."""
    from harness.models import digests, memory_digests
    from harness.models.adapters import ServedAdapter
    from harness.models.in_memory import AdapterInMemory

    if isinstance(adapter, ServedAdapter):
        return AdapterIdentity(adapter.digest, 0)
    if isinstance(adapter, AdapterInMemory):
        assert opening.memory is not None
        state = [pair for name in adapter.names for pair in memory_digests.adapter_state(opening.memory, name)]
        return AdapterIdentity(memory_digests.adapter_digest(opening.memory, adapter), memory_digests.parameters(state))
    files = (digests.weights_files if adapter.full else digests.adapter_weights)(adapter.folder)
    return AdapterIdentity(adapter.digest, digests.count_parameters(files))


def system(
    opening: Opening, model: ModelIdentity, adapter: AnyAdapter | None, engine: str, suffix: str = "", engine_code: str | None = None
) -> System:
    """Name a system exactly.

    Args:
        opening: the model.
        model: its identity.
        adapter: None for the base model.
        engine: name of the backend that computes.
        engine_code: identifies the code of a backend that is a plug-in.
        suffix: sets the system's name apart from that of the same model on the default backend.
    """
    own = AdapterIdentity("", 0) if adapter is None else of_adapter(opening, adapter)
    quantization = f"@{model.quantization}" if model.quantization else ""
    arguments = "".join(f"@{argument}" for argument in model.engine_args.split(",") if argument)
    return System(
        name=opening.name + (f"+{adapter.name}" if adapter else "") + quantization + suffix + arguments,
        model=opening.name if opening.memory is not None else opening.options.model,
        adapter=adapter.name if adapter else None,
        architecture=opening.encoder.architecture,
        dtype=model.dtype,
        quantization=model.quantization,
        model_digest=model.digest,
        adapter_digest=own.digest if adapter else None,
        tokenizer_digest=model.tokenizer_digest,
        chat_template_digest=opening.encoder.chat_template_digest,
        revision=model.revision,
        parameters=model.parameters + own.parameters,
        adapter_parameters=own.parameters,
        notes=model.notes,
        engine=engine,
        engine_code=engine_code,
        identity=model.kind,
        engine_args=model.engine_args,
    )


def response_key(system: System, engine: str) -> str:
    """What decides a system's response to token ids: weights, adapter, precision, tokenizer, engine and its arguments.

    Args:
        system: the system.
        engine: name and revision of the backend, see `Backend.cache_key`.
    """
    parts = (system.model_digest, system.adapter_digest, system.dtype, system.quantization, system.tokenizer_digest)
    arguments = [f"arguments:{system.engine_args}"] if system.engine_args else []
    return "|".join([*(part or "-" for part in parts), f"engine:{engine}", *arguments])
