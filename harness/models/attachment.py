"""Attach an adapter to a loaded base, check that every weight attached, and detach it again."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import AdapterError
from harness.models import adapter_kinds
from harness.models.adapters import Adapter, names_base, read_config, stored_weights
from harness.models.cards import ModelSource
from harness.models.digests import model_digest
from harness.models.loaded_weights import check_head
from harness.models.loading import Loaded, load_model
from harness.models.original_weights import OriginalWeights


@dataclass(frozen=True)
class Attached:
    """A base with an adapter on it, for as long as the context lasts.

    Attributes:
        module: the PEFT model, or the fully fine-tuned model.
        parameters: number of the adapter's weights.
        warnings: for the user.
    """

    module: Any
    parameters: int
    warnings: tuple[str, ...]


@contextmanager
def attached(loaded: Loaded, adapter: Adapter, *, pickles: bool = False) -> Iterator[Attached]:
    """Attach an adapter to a loaded base; afterwards the base is restored.

    A fully fine-tuned model is loaded next to the base, in the same precision.

    Raises:
        AdapterError: its modules do not attach, weights are missing or unused, or their shapes do not fit the base.
    """
    if adapter.full:
        yield _full(loaded, adapter, pickles)
        return
    settings = read_config(adapter.folder)
    adapter_kinds.check_kind(adapter, settings, quantization=loaded.quantization, engine="transformers")
    before = _parameters(loaded.module)
    original = OriginalWeights(loaded.module, adapter_kinds.rewrites_base(settings))
    stored = stored_weights(adapter.folder, pickles)
    overwritten = _base_weights(adapter, loaded, stored)
    try:
        module, config = _load(loaded, adapter)
        module.eval()
        held = _held_weights(module)
        _same_weights(adapter, stored, held | {name: value.detach().cpu() for name, (value, _) in overwritten.items() if name not in held})
        if not (config_saves_head(config) or overwritten):
            check_head(loaded.module, loaded.source.folder)
        with _merged(module, loaded, adapter):
            yield Attached(module, sum(value.numel() for value in held.values()), tuple(_warnings(loaded, adapter, config, held)))
    finally:
        detach(loaded.module)
        original.restore()
        _put_back(overwritten.values())
        if _parameters(loaded.module) != before or original.changed(frozenset(id(value) for value, _ in overwritten.values())):
            raise AdapterError(
                f"The base model was not restored after the adapter {adapter.name}.", "Evaluate this adapter in a separate run."
            )


def _load(loaded: Loaded, adapter: Adapter) -> tuple[Any, Any]:
    """The PEFT model around the base, and the adapter's configuration."""
    try:
        with quiet():
            from peft import PeftConfig, PeftModel

            config = PeftConfig.from_pretrained(str(adapter.folder))
            config.inference_mode = True
            with _fixed_seed(loaded.device):
                options = {"config": config, "torch_device": str(loaded.device)}
                return PeftModel.from_pretrained(loaded.module, str(adapter.folder), **options), config
    except Exception as error:
        raise _does_not_fit(adapter, loaded.source, error) from error


@contextmanager
def _fixed_seed(device: Any) -> Iterator[None]:
    """Draw the same random numbers each time, as some initializations need (`pissa_niter_4`); the caller's random state is unchanged."""
    import torch

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def _full(loaded: Loaded, adapter: Adapter, pickles: bool) -> Attached:
    source = replace(loaded.source, folder=adapter.folder, card=None)
    options: dict[str, Any] = {"device": str(loaded.device), "dtype": loaded.dtype, "quantize": loaded.quantization}
    tuned = load_model(source, tokenizer=loaded.tokenizer, pickles=pickles, contents=adapter.contents, **options)
    return Attached(tuned.module, tuned.parameters, tuple(_other_weights(loaded, adapter)))


def _warnings(loaded: Loaded, adapter: Adapter, config: Any, held: Mapping[str, Any]) -> Iterator[str]:
    if _is_zero(config, held):
        yield f"The adapter {adapter.name} has no effect: its update is zero."
    if adapter.merge and loaded.dtype != "float32":
        yield f"The adapter {adapter.name} is merged in {loaded.dtype}: rounding changes its scores; --dtype float32 avoids this."
    if (initialized := adapter_kinds.initialization(read_config(adapter.folder))) is not None:
        yield (
            f'The adapter {adapter.name} was initialized with "{initialized}": PEFT computes its initial values from the base\'s weights '
            "whenever it attaches. Converted to plain LoRA, it would not depend on this."
        )
    yield from _other_weights(loaded, adapter)


def _other_weights(loaded: Loaded, adapter: Adapter) -> Iterator[str]:
    if adapter.training is None:
        return
    base = loaded.contents.digest if loaded.contents is not None else model_digest(loaded.source.folder)
    if adapter.training.base_digest != base:
        yield f"The adapter {adapter.name} was trained on other weights of {adapter.training.base}."


@contextmanager
def _merged(module: Any, loaded: Loaded, adapter: Adapter) -> Iterator[None]:
    """While active, the adapter's update is added to the base's weights if `merge` is set; afterwards they are restored."""
    if not adapter.merge:
        yield
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    if loaded.quantization is not None:
        raise AdapterError(
            f"The adapter {adapter.name} cannot be merged into a {loaded.quantization} base: the merged weights would be rounded again.",
            "Remove --merge or --quantize.",
        )
    layers = [part.get_base_layer() for part in module.modules() if isinstance(part, BaseTunerLayer)]
    if not layers:
        raise AdapterError(f"The adapter {adapter.name} is a soft prompt: there is nothing to merge.", "Remove --merge.")
    originals = [(value, value.detach().clone()) for layer in layers for value in layer.parameters(recurse=False)]
    try:
        module.merge_adapter(safe_merge=True)
        yield
    finally:
        _put_back(originals)


def _put_back(originals: Iterable[tuple[Any, Any]]) -> None:
    for value, before in originals:
        value.data.copy_(before)


def config_saves_head(config: Any) -> bool:
    """Whether an adapter has its own output head or embeddings."""
    return bool(getattr(config, "modules_to_save", None) or getattr(config, "trainable_token_indices", None))


def _base_weights(adapter: Adapter, loaded: Loaded, stored: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Base weights that the adapter's file overwrites: name in the file to the parameter and its previous value.

    PEFT writes saved embeddings into the base itself. Embeddings of another size are refused: resizing those of the base would
    change the base.
    """
    parameters = dict(loaded.module.named_parameters(remove_duplicate=False))
    overwritten = {}
    for name, value in stored.items():
        parameter = parameters.get(name.removeprefix("base_model.model.").replace(".base_layer.", "."))
        if parameter is None:
            continue
        if parameter.shape != value.shape and parameter.is_floating_point():
            raise AdapterError(
                f"The adapter {adapter.name} does not fit {loaded.source.name}: size mismatch for {name}, "
                f"{tuple(value.shape)} in its file, {tuple(parameter.shape)} in the base.",
                "If training added tokens: harness never resizes embeddings, so merge the adapter and save it as a model.",
            )
        overwritten[name] = (parameter, parameter.detach().clone())
    return overwritten


def _parameters(module: Any) -> dict[str, int]:
    """The identity of every parameter by name."""
    return {name: id(value) for name, value in module.named_parameters()}


def detach(module: Any) -> None:
    """Put the base's modules back in place, also after a failed attachment.

    PEFT's `unload()` would leave the adapter's copies of `modules_to_save` on the base.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    restored: list[str] = []
    for name, part in list(module.named_modules()):
        if not isinstance(part, (BaseTunerLayer, AuxiliaryTrainingWrapper)) or any(name.startswith(f"{outer}.") for outer in restored):
            continue
        parent, _, child = name.rpartition(".")
        original = part.get_base_layer() if isinstance(part, BaseTunerLayer) else part.original_module
        setattr(module.get_submodule(parent) if parent else module, child, original)
        restored.append(name)
    vars(module).pop("peft_config", None)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence PEFT's warnings about missing weights, which are errors here, and bitsandbytes' messages about missing kernels."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _held_weights(module: Any) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(module, save_embedding_layers=False)  # "auto" would send a request to the Hub
    return {name: value.detach().cpu() for name, value in weights.items()}


def _same_weights(adapter: Adapter, stored: dict[str, Any], held: dict[str, Any]) -> None:
    import torch

    missing, left_over = sorted(set(held) - set(stored)), sorted(set(stored) - set(held))
    if left_over:
        raise AdapterError(
            f"The adapter {adapter.name} has {len(left_over)} weights that did not attach, for example {left_over[0]}.",
            "It was trained for another model, or its configuration changed after training.",
        )
    if missing:
        raise AdapterError(
            f"The adapter {adapter.name} lacks {len(missing)} weights of its configuration, for example {missing[0]}.",
            "Save it again from the training run.",
        )
    for name, value in held.items():
        if not torch.equal(stored[name].to(value.dtype), value):
            raise AdapterError(f"After attaching the adapter {adapter.name}, {name} differs from its file.", "Please report this.")


def _is_zero(config: Any, held: Mapping[str, Any]) -> bool:
    """Whether an adapter changes no weight: B is zero in LoRA, every scale is one in IA³."""
    method = str(getattr(config.peft_type, "value", config.peft_type))
    if method == "LORA" and not config_saves_head(config):
        ups = [value for name, value in held.items() if "lora_B" in name or "lora_embedding_B" in name]
        return bool(ups) and not getattr(config, "use_dora", False) and all(not value.any() for value in ups)
    if method == "IA3":
        return bool(held) and all(bool((value == 1).all()) for value in held.values())
    return False


def _does_not_fit(adapter: Adapter, base: ModelSource, error: Exception) -> AdapterError:
    text = str(error).splitlines()
    name = type(error).__name__
    first = next((line.strip() for line in text if "size mismatch" in line), f"{name}: {text[0]}" if text else name)
    return AdapterError(f"The adapter {adapter.name} does not fit {base.name}: {first[:300]}", _remedy(adapter, base, first))


def _remedy(adapter: Adapter, base: ModelSource, reason: str) -> str:
    """What to do about an adapter that PEFT cannot attach: use another base if that may help; otherwise its files are wrong."""
    if convert := adapter_kinds.conversion(read_config(adapter.folder)):
        return convert
    if adapter.base and not names_base(adapter, base):
        return f"Its configuration names {adapter.base}; pass that one with --model."
    if "size mismatch" in reason or "target modules" in reason.lower():
        base_name = adapter.base or "no base"
        return f"Its configuration names {base_name}: pass the base that it was trained on with --model, and do not edit its configuration."
    return f"Correct {adapter.folder / 'adapter_config.json'}, or save the adapter again with peft."
