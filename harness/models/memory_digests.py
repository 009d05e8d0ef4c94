"""Digests of a model, an adapter and a tokenizer in memory: of names, dtypes, shapes and bytes, and of the settings that decide answers.

The same base model has one digest, whether it stands alone or in a peft model, and an adapter has one digest whatever it is called.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.models import digests
from harness.models.digests import text_digest

if TYPE_CHECKING:
    from harness.models.in_memory import AdapterInMemory, InMemoryModel

_IGNORED_SETTINGS = frozenset(
    {"_name_or_path", "name_or_path", "transformers_version", "use_cache", "architectures", "dtype", "torch_dtype"}
)
"""Settings of a model that decide no answer, or that the weights themselves tell."""

_IGNORED_ADAPTER_SETTINGS = frozenset({"base_model_name_or_path", "revision", "inference_mode", "peft_version", "auto_mapping"})
_SPECIAL_TOKENS = ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id", "forced_bos_token_id")


def base_digest(memory: InMemoryModel) -> str:
    """SHA-256 (hex) of the base model: class, configuration, special tokens of generation, and weights without those of adapters."""
    base = memory.base
    generation = {name: getattr(base.generation_config, name, None) for name in _SPECIAL_TOKENS}
    settings = {
        "class": type(base).__qualname__,
        "config": _without(base.config.to_dict(), _IGNORED_SETTINGS),
        "attention": getattr(base.config, "_attn_implementation", None),
        "generation": generation,
    }
    return _digest(settings, base_state(memory))


def adapter_digest(memory: InMemoryModel, adapter: AdapterInMemory) -> str:
    """SHA-256 (hex) of adapters that are active together: their configurations and weights."""
    parts = []
    for name in adapter.names:
        settings = _without(memory.model.peft_config[name].to_dict(), _IGNORED_ADAPTER_SETTINGS)
        parts.append(_digest(settings, adapter_state(memory, name)))
    return parts[0] if len(parts) == 1 else text_digest("|".join(parts))


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 (hex) of a tokenizer's serialized content, without padding and truncation, which every call sets anew."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    special = {name: str(value) for name, value in sorted(tokenizer.special_tokens_map.items())}
    if backend is not None:
        content = json.loads(backend.to_str())
        content = {name: value for name, value in content.items() if name not in ("padding", "truncation")}
        return text_digest(json.dumps([type(tokenizer).__qualname__, special, content], sort_keys=True))
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return digests.tokenizer_digest(Path(folder))


def base_state(memory: InMemoryModel) -> Iterator[tuple[str, Any]]:
    """The base model's parameters and persistent buffers, by the names that they have without adapters."""
    for name, value in memory.base.state_dict(keep_vars=True).items():
        plain = _plain_name(memory.base, name)
        if plain is not None:
            yield plain, value


def adapter_state(memory: InMemoryModel, adapter: str) -> Iterator[tuple[str, Any]]:
    """An adapter's parameters and persistent buffers, by their names without the adapter's."""
    shared = {id(value) for _, value in base_state(memory)}
    for name, value in memory.model.state_dict(keep_vars=True).items():
        parts = name.split(".")
        if adapter in parts and id(value) not in shared:
            parts.remove(adapter)
            yield ".".join(parts), value


def parameters(state: Iterable[tuple[str, Any]]) -> int:
    """Number of weights in parameters and buffers, those with several names counted once."""
    return sum({id(value): int(value.numel()) for _, value in state if hasattr(value, "numel")}.values())


def _plain_name(base: Any, name: str) -> str | None:
    """A parameter's name in the base model without adapters; None where the parameter is an adapter's."""
    wrappers = _wrappers()
    module, plain = base, []
    for part in name.split("."):
        inner = next((inner for kind, inner in wrappers if isinstance(module, kind)), None)
        if inner is None:
            plain.append(part)
        elif part != inner:
            return None
        module = getattr(module, "_modules", {}).get(part)
    return ".".join(plain)


def _wrappers() -> tuple[tuple[type, str], ...]:
    """Modules that peft puts around one of the base model's, and under which name they hold it."""
    try:
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper
    except ImportError:
        return ()
    return ((BaseTunerLayer, "base_layer"), (AuxiliaryTrainingWrapper, "original_module"))


def _digest(settings: Mapping[str, Any], state: Iterable[tuple[str, Any]]) -> str:
    whole = hashlib.sha256(json.dumps(settings, sort_keys=True, default=_json).encode())
    for name, value in sorted(state, key=lambda pair: pair[0]):
        whole.update(f"\n{name}:".encode())
        _update(whole, name, value)
    return whole.hexdigest()


def _update(whole: Any, name: str, value: Any) -> None:
    import torch

    if not isinstance(value, torch.Tensor):
        whole.update(repr(value).encode())
        return
    if value.is_meta:
        raise ModelError(f"The weight {name} is not in memory (it is on the device meta).", "Load the model without offloading to disk.")
    tensor = value.detach()
    whole.update(f"{tensor.dtype}:{tuple(tensor.shape)}:".encode())
    whole.update(tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy())


def _without(settings: Mapping[str, Any], ignored: frozenset[str]) -> dict[str, Any]:
    """Settings, and those within them, without what is ignored."""
    return {
        str(name): _without(value, ignored) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if name not in ignored
    }


def _json(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)
