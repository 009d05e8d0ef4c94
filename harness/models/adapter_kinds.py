"""What an adapter's configuration implies for its evaluation: whether PEFT rewrites the base, and where in a text the adapter is active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError

if TYPE_CHECKING:
    from harness.models.adapters import Adapter

_KEEPS_BASE = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of `init_lora_weights` with which PEFT writes only to the adapter's weights."""

_METHODS_KEEPING_BASE = frozenset({"IA3", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"})
"""Methods that never write to the base's weights."""

_CONVERT = (
    "Convert it to plain LoRA where it was trained (peft: save_pretrained with path_initial_model_for_weight_conversion). Evaluate that."
)


def rewrites_base(config: Mapping[str, Any]) -> bool:
    """Whether PEFT may write to the base's weights when it attaches such an adapter, as with PiSSA and OLoRA.

    True for unknown methods: it only costs a copy of the base's weights.

    Args:
        config: the content of adapter_config.json.
    """
    method = config.get("peft_type")
    return method not in _METHODS_KEEPING_BASE and not (method == "LORA" and config.get("init_lora_weights") in _KEEPS_BASE)


def initialization(config: Mapping[str, Any]) -> str | None:
    """The initialization of a LoRA adapter if it changes the base's weights, such as "pissa"; None otherwise."""
    value = config.get("init_lora_weights")
    return None if config.get("peft_type") != "LORA" or value in _KEEPS_BASE else str(value)


def invocation_tokens(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The tokens after which an aLoRA adapter is active; empty for an adapter that is always active."""
    return tuple(config.get("alora_invocation_tokens") or ())


def check_kind(adapter: Adapter, config: Mapping[str, Any], *, quantization: str | None, engine: str) -> None:
    """Raise AdapterError if such an adapter cannot be evaluated correctly with these options.

    Args:
        adapter: the adapter.
        config: the content of its adapter_config.json.
        quantization: of the base.
        engine: name of the backend; only "transformers" attaches adapters with PEFT.
    """
    name, initialized = adapter.name, initialization(config)
    other_engine = f"--engine {engine}" if engine != "transformers" else None
    if config.get("peft_type") == "XLORA":
        raise AdapterError(
            f"The adapter {name} mixes adapters of other folders (X-LoRA), whose content is not checked.",
            "Evaluate each of them by itself.",
        )
    if config.get("layer_replication"):
        raise AdapterError(
            f"The adapter {name} repeats layers of the base (layer_replication): the base would become another model.",
            "Merge it where it was trained, and evaluate the merged model.",
        )
    if initialized is not None and (quantization is not None or other_engine):
        option = other_engine or f"--quantize {quantization}"
        raise AdapterError(
            f'The adapter {name} was initialized with "{initialized}", which changes the base\'s weights; {option} does not support this.',
            f"{_CONVERT} Or remove {option}.",
        )
    if invocation_tokens(config) and (adapter.merge or other_engine):
        option = other_engine or "--merge"
        raise AdapterError(
            f"The adapter {name} is active only after its invocation tokens (aLoRA); {option} does not support this.", f"Remove {option}."
        )


def conversion(config: Mapping[str, Any]) -> str | None:
    """How to convert an adapter that does not attach because of its initialization; None if it has an ordinary one."""
    return _CONVERT if initialization(config) is not None else None
