"""What an adapter's configuration says of how peft computes it: whether it rewrites the base, and where in a text it is active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError

if TYPE_CHECKING:
    from harness.models.adapters import Adapter

_STARTS_BESIDE = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of `init_lora_weights` with which peft only writes to the adapter's own weights."""

_BESIDE = frozenset({"IA3", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"})
"""Methods that never write to the base's weights."""

_CONVERT = (
    "Convert it to plain LoRA where it was trained (peft: save_pretrained with path_initial_model_for_weight_conversion), and score that."
)


def rewrites_base(config: Mapping[str, Any]) -> bool:
    """Whether peft may write to the base's own weights when it attaches such an adapter, as PiSSA and OLoRA do.

    Methods that are not known here count as such: it costs a copy of the base's weights, nothing else.

    Args:
        config: the content of adapter_config.json.
    """
    method = config.get("peft_type")
    return method not in _BESIDE and not (method == "LORA" and config.get("init_lora_weights") in _STARTS_BESIDE)


def start(config: Mapping[str, Any]) -> str | None:
    """The way in which a LoRA adapter was started where that changes the base's weights, such as "pissa"; None for others."""
    found = config.get("init_lora_weights")
    return None if config.get("peft_type") != "LORA" or found in _STARTS_BESIDE else str(found)


def invocation(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The tokens from which on an aLoRA adapter is active; none for an adapter that always is."""
    return tuple(config.get("alora_invocation_tokens") or ())


def check_kind(adapter: Adapter, config: Mapping[str, Any], *, quantization: str | None, engine: str) -> None:
    """Raise AdapterError for what cannot be computed right with such an adapter.

    Args:
        adapter: the adapter.
        config: the content of its adapter_config.json.
        quantization: of the base.
        engine: "transformers" or "vllm".
    """
    name, how = adapter.name, start(config)
    if config.get("peft_type") == "XLORA":
        raise AdapterError(
            f"The adapter {name} mixes adapters of other folders (X-LoRA), whose content is not looked at here.",
            "Score each of them by itself.",
        )
    if config.get("layer_replication"):
        raise AdapterError(
            f"The adapter {name} repeats layers of the base (layer_replication), which would then be another model.",
            "Merge it where it was trained, and score the merged model.",
        )
    if how is not None and (quantization is not None or engine == "vllm"):
        option = "--engine vllm" if engine == "vllm" else f"--quantize {quantization}"
        raise AdapterError(
            f'The adapter {name} was started with "{how}", which takes its start out of the base\'s weights; {option} cannot do that.',
            f"{_CONVERT} Or leave out {option}.",
        )
    if invocation(config) and (adapter.merge or engine == "vllm"):
        option = "--merge" if adapter.merge else "--engine vllm"
        raise AdapterError(
            f"The adapter {name} is active only behind its invocation tokens (aLoRA); {option} cannot do that.", f"Leave out {option}."
        )


def conversion(config: Mapping[str, Any]) -> str | None:
    """What to do where an adapter does not attach because of how it was started; None where that is not the reason."""
    return _CONVERT if start(config) is not None else None


@dataclass(frozen=True)
class _Kept:
    """One parameter or buffer of the base: what it pointed to, how often it had been written to, and a copy where one was taken."""

    tensor: Any
    data: Any
    version: int
    copy: Any = None

    @classmethod
    def of(cls, tensor: Any, copies: bool) -> _Kept:
        data = tensor.data
        version = 0 if tensor.is_inference() else tensor._version
        return cls(tensor, data, version, data.to("cpu", copy=True) if copies else None)

    @property
    def moved(self) -> bool:
        """Whether it points to other memory."""
        now = self.tensor.data
        return bool(now.data_ptr() != self.data.data_ptr() or now.shape != self.data.shape or now.dtype != self.data.dtype)

    @property
    def written(self) -> bool:
        """Whether its values are others."""
        import torch

        if self.copy is not None:
            return not torch.equal(self.tensor.data.cpu(), self.copy)
        return not self.tensor.is_inference() and bool(self.tensor._version != self.version)


@dataclass
class Original:
    """The values of a base before an adapter, to put them back and to prove that they are back.

    Args:
        module: the base.
        copies: copy every value: `moved` and the count of writes do not show a write through `.data`, as OLoRA's is.
    """

    module: Any
    copies: bool
    _kept: dict[str, _Kept] = field(init=False)

    def __post_init__(self) -> None:
        named = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        self._kept = {name: _Kept.of(tensor, self.copies) for name, tensor in named.items()}

    def put_back(self) -> None:
        """Have every tensor point to its memory again, with the values that it had."""
        for kept in self._kept.values():
            if kept.moved:
                kept.tensor.data = kept.data
            if kept.copy is not None and kept.written:
                kept.tensor.data.copy_(kept.copy)

    def changed(self, but: frozenset[int]) -> list[str]:
        """Names of what is not what it was.

        Args:
            but: ids of tensors that were written to and put back by someone else.
        """
        return [name for name, kept in self._kept.items() if kept.moved or (id(kept.tensor) not in but and kept.written)]
