"""A model that the caller holds in memory: which of its adapters is scored, and how it is prepared for scoring and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import AdapterError, InputError
from harness.models import loading
from harness.models.preserved import as_it_was

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class InMemoryModel:
    """A model in memory. It is scored as it is, on its device and in its dtype, and is never copied.

    Args:
        model: a transformers PreTrainedModel, or a peft PeftModel.
        tokenizer: its tokenizer.
        name: how reports and result folders call it.
    """

    model: Any
    tokenizer: Any
    name: str = "in-memory"

    @property
    def base(self) -> Any:
        """The transformers model, without the peft model around it; a LoRA adapter's layers stay in it."""
        return self.model.get_base_model() if self.is_peft else self.model

    @property
    def is_peft(self) -> bool:
        """Whether the model is a PeftModel."""
        return hasattr(self.model, "get_base_model") and hasattr(self.model, "peft_config")

    @property
    def architecture(self) -> Literal["causal", "seq2seq"]:
        """Whether the model is decoder-only or an encoder-decoder model."""
        return "seq2seq" if self.base.config.is_encoder_decoder else "causal"

    @property
    def device(self) -> torch.device:
        """Where the model's first weight lies."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the active adapters; none where there are none, or where they are switched off."""
        if not self.is_peft or _switched_off(self.model):
            return ()
        return tuple(self.model.active_adapters)


@dataclass(frozen=True)
class AdapterInMemory:
    """Adapters of a PeftModel that are active together, usually one.

    Attributes:
        name: for reports and result folders.
        names: as the PeftModel calls them.
    """

    name: str
    names: tuple[str, ...]


@contextmanager
def prepared(memory: InMemoryModel, adapter: AdapterInMemory | None) -> Iterator[Any]:
    """The module to compute with: in eval mode, with these adapters active or with adapters switched off; put back afterwards."""
    import torch

    model = memory.model
    with as_it_was(model), torch.autocast(memory.device.type, enabled=False):
        model.eval()
        loading.plain_generation(memory.base, memory.tokenizer)
        if adapter is not None:
            _activate(memory, adapter.names)
            yield model
        elif memory.is_peft:
            with model.disable_adapter():
                yield memory.base
        else:
            yield model


def _activate(memory: InMemoryModel, names: tuple[str, ...]) -> None:
    model = memory.model
    if _switched_off(model):
        model.base_model.enable_adapter_layers()
    if tuple(model.active_adapters) == names:
        return
    if len(names) == 1:
        model.set_adapter(names[0])
    else:
        model.base_model.set_adapter(list(names))


def active_adapter(memory: InMemoryModel) -> AdapterInMemory | None:
    """The adapters that are active, as one; None where the base model is."""
    names = memory.active
    return AdapterInMemory("+".join(names), names) if names else None


def named_adapter(memory: InMemoryModel, name: str) -> AdapterInMemory:
    """The adapter of a name; raises AdapterError where the model has none."""
    known = sorted(memory.model.peft_config) if memory.is_peft else []
    if name not in known:
        has = f"It has {', '.join(known)}." if known else "It is not a PeftModel."
        raise AdapterError(f"The model in memory has no adapter {name!r}.", f"{has} adapter=None is the base model.")
    return AdapterInMemory(name, (name,))


def check(memory: InMemoryModel) -> None:
    """Refuse a model that cannot be scored in memory.

    Raises:
        InputError: it is neither a PreTrainedModel nor a PeftModel, or lacks its tokenizer.
        AdapterError: its adapter is of a kind that cannot be scored in memory, or is merged into the base model's weights.
    """
    from transformers import PreTrainedModel

    if not isinstance(memory.base, PreTrainedModel):
        kind = type(memory.model).__name__
        raise InputError(f"A {kind} cannot be evaluated in memory.", "Pass a transformers PreTrainedModel or a peft PeftModel.")
    if memory.tokenizer is None:
        raise InputError("A model in memory needs its tokenizer.", "Pass tokenizer=.")
    if not memory.is_peft and getattr(memory.model, "_hf_peft_config_loaded", False):
        raise InputError("The model has an adapter that was added by `add_adapter`.", "Pass a peft PeftModel around it (`get_peft_model`).")
    if memory.is_peft and any(config.is_adaption_prompt for config in memory.model.peft_config.values()):
        raise AdapterError("An adaption prompt cannot be evaluated in memory.", "Save it with save_pretrained, and evaluate the folder.")
    if merged := _merged(memory):
        raise AdapterError(
            f"The adapter {merged} is merged into the base model's weights.",
            "Call unmerge_adapter() first, or evaluate merge_and_unload().",
        )


def _merged(memory: InMemoryModel) -> str | None:
    """Name of an adapter that is merged into the weights, or None."""
    return next((layer.merged_adapters[0] for layer in _tuner_layers(memory.model) if layer.merged), None) if memory.is_peft else None


def _switched_off(model: Any) -> bool:
    return getattr(model, "_adapters_disabled", False) or any(layer.disable_adapters for layer in _tuner_layers(model))


def _tuner_layers(model: Any) -> Iterator[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return (part for part in model.modules() if isinstance(part, BaseTunerLayer))
