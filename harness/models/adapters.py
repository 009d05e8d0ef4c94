"""PEFT adapters: finding them, attaching them to a loaded base, and proving that they attached."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import folders, weights
from harness.contents import Contents
from harness.errors import AdapterError, ModelError
from harness.models import adapter_kinds, digests
from harness.models.adapter_cards import Training, cards, named, read_training
from harness.models.cards import Source, fetch
from harness.models.digests import adapter_weights, model_digest, text_digest
from harness.models.loading import Loaded, check_head, is_quantized, load_model
from harness.models.settings import check_numbers

_WHOLE_NUMBERS = ("indices", "position_ids", "num_batches_tracked")
"""Parts of names of an adapter's tensors that are no weights."""


@dataclass(frozen=True)
class Adapter:
    """An adapter on disk.

    Attributes:
        name: short name for reports and result folders.
        folder: holds adapter_config.json and the weights; of a fully tuned model, config.json and the weights.
        digest: SHA-256 over both, and over whether it is merged.
        base: the base model's name as its configuration gives it, "" where it gives none.
        training: how it was made, where `harness tune` made it.
        merge: add its update to the base's weights instead of computing it beside them.
        contents: its files, to make sure after they were loaded that they are what was hashed.
    """

    name: str
    folder: Path
    digest: str
    base: str
    training: Training | None = None
    merge: bool = False
    contents: Contents | None = field(default=None, repr=False, compare=False)

    @property
    def full(self) -> bool:
        """Whether it is a fully tuned model, which takes the base's place."""
        return self.training is not None and self.training.method == "full"


def resolve(
    name: str, base: Source, *, data: Path | None = None, revision: str | None = None, pickles: bool = False, merge: bool = False
) -> Adapter:
    """Find an adapter by card name, folder or hub id.

    Args:
        name: what the user gave; a hub id may end in @REVISION.
        base: the model it is for.
        data: folder of snapshots, in which `<namespace>/<name>` is looked for before the hub.
        revision: of a hub id that names none.
        pickles: accept pickled weights.
        merge: add the update to the base's weights.

    Raises:
        AdapterError: it is not found, holds no weights, its card has none for this base, or it cannot be merged.
    """
    adapter = _found(name, base, data, revision, pickles)
    if not merge:
        return adapter
    if adapter.full:
        raise AdapterError(f"{name} is a fully tuned model: there is nothing to merge.", "Leave out --merge.")
    if adapter.training is not None and adapter.training.quantization is not None:
        raise AdapterError(
            f"The adapter {name} was trained on a {adapter.training.quantization} base; merged, it would be another model.",
            "Leave out --merge: it is scored on the quantized base.",
        )
    return replace(adapter, name=f"{adapter.name}-merged", digest=text_digest(f"{adapter.digest}|merged"), merge=True)


def _found(name: str, base: Source, data: Path | None, revision: str | None, pickles: bool) -> Adapter:
    folder = folders.expanded(name)
    if _holds_adapter(folder):
        return _read(folder.resolve().name, folder.resolve(), pickles)
    known = cards()
    if name in known:
        return _from_card(name, base, revision, pickles)
    if folder.is_dir():
        raise AdapterError(
            f"The folder {folder} holds no adapter: it has no adapter_config.json.", "Give the folder that peft's save_pretrained wrote."
        )
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise unknown(name, known)
    hub = name.partition("@")[0]
    if data is not None and _holds_adapter(data / hub):
        return _read(hub.split("/")[-1], (data / hub).resolve(), pickles)
    return _read(hub.split("/")[-1], _fetched(name, revision, pickles), pickles)


def _holds_adapter(folder: Path) -> bool:
    if (folder / "adapter_config.json").is_file():
        return True
    training = read_training(folder)
    return training is not None and training.method == "full"


def _from_card(name: str, base: Source, revision: str | None, pickles: bool) -> Adapter:
    found = named(name)
    places = [(path, place) for card, path in found for model, place in card.weights.items() if model.lower() in base.names]
    if not places:
        bases = dict.fromkeys(model for card, _ in found for model in card.weights)
        recipe = next((card.recipe for card, _ in found if card.recipe), "--method METHOD --task TASK")
        raise AdapterError(
            f"The adapter {name} has no weights for {base.name}, only for {', '.join(bases)}.",
            f"Make them: harness tune --model {base.name} {recipe} --name {name}",
        )
    path, place = places[0]
    beside = (path.parent / place).resolve()
    if beside.is_dir():
        return _read(name, beside, pickles)
    if place.count("/") != 1 or (path.parent / name).is_dir():
        raise AdapterError(f"{path} says that the weights are in {beside}, which is not there.", "Put them there, or mend the card.")
    return _read(name, _fetched(place, revision, pickles), pickles)


def unknown(name: str, known: Iterable[str]) -> AdapterError:
    """An AdapterError for a name that stands for nothing, with the nearest cards."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}?" if near else "`harness adapters list` shows the cards; a hub id is NAMESPACE/NAME."
    return AdapterError(f"Unknown adapter {name!r}: it is no card, no folder and no hub id.", hint)


def _fetched(name: str, revision: str | None, pickles: bool) -> Path:
    hub, _, named = name.partition("@")
    try:
        return fetch(hub, named or revision, pickles=pickles)
    except ModelError as error:
        remedy = f"Check {name!r}." if named else error.remedy.replace("--model", "--adapter")
        raise AdapterError(error.what.replace("model", "adapter", 1), remedy) from error


def _read(name: str, folder: Path, pickles: bool) -> Adapter:
    training = read_training(folder)
    if training is not None and training.method == "full":
        check_weights(folder, pickles, digests.weights_files)
        if not is_quantized(folder):
            weights.check_types(digests.weights_files(folder, pickles=pickles), AdapterError)
        contents = digests.model(folder, pickles=pickles)
        return Adapter(name, folder, contents.digest, training.base, training, contents=contents)
    base = str(read_config(folder).get("base_model_name_or_path") or "")
    check_weights(folder, pickles)
    contents = digests.adapter(folder, pickles=pickles)
    return Adapter(name, folder, contents.digest, base, training, contents=contents)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of an adapter folder as its file holds it; raises AdapterError where it is cut, or none of peft's."""
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise AdapterError(f"{path} is nested too deeply to be an adapter's configuration.", "Copy it again.") from error
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path} cannot be read: {error}.", "Copy it again, or save the adapter again with peft.") from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise AdapterError(f"{path} is no adapter's configuration: it has no peft_type.", "Save the adapter again with peft.")
    check_numbers(path, config, AdapterError)
    return config


def check_weights(folder: Path, pickles: bool = False, listed: Callable[..., list[Path]] = digests.adapter_weights) -> None:
    """Raise AdapterError where an adapter folder's weights are missing, cut or damaged.

    Args:
        folder: of the adapter.
        pickles: accept pickled weights.
        listed: lists the files that would be loaded.
    """
    files = listed(folder, pickles=pickles)
    if not files:
        found = "only pickled weights" if list(folder.glob("*.bin")) else "no weights"
        raise AdapterError(
            f"The adapter {folder} holds {found}.", "Save safetensors, or pass --allow-pickle if you trust who made the file."
        )
    weights.check_whole(files, AdapterError)


def check_finite(adapter: Adapter, *, pickles: bool = False) -> None:
    """Raise AdapterError when a weight is NaN, infinite or no real number; a fully tuned model's values are checked when it is loaded."""
    if adapter.full:
        return
    stored, path = _stored_weights(adapter.folder, pickles), adapter_weights(adapter.folder, pickles=pickles)[0]
    for stored_name, value in stored.items():
        if value.is_complex() or not (value.is_floating_point() or any(part in stored_name for part in _WHOLE_NUMBERS)):
            raise weights.senseless_type(path, stored_name, str(value.dtype).removeprefix("torch."), AdapterError)
    if name := weights.first_not_finite(stored):
        raise AdapterError(
            f"{path}: the tensor {name} holds NaN or infinite values.",
            "The training diverged, or the file is damaged: take an earlier checkpoint, or copy it again.",
        )


def names_base(adapter: Adapter, base: Source) -> bool:
    """Whether the adapter's configuration names this base, or none."""
    named = adapter.base.rstrip("/").lower()
    return not named or bool({named, named.split("/")[-1]} & base.names)


def check_base(adapter: Adapter, base: Source) -> None:
    """Raise AdapterError when the adapter's configuration names another base model."""
    if not names_base(adapter, base):
        raise AdapterError(
            f"The adapter {adapter.name} was made for {adapter.base}, not for {base.name}.",
            "Give --model its base; if the two are the same weights under another name, pass --any-base.",
        )


def check_precision(adapter: Adapter, quantization: str | None) -> None:
    """Raise AdapterError when the adapter was trained on a quantized base, and the base is to be loaded otherwise."""
    trained = adapter.training.quantization if adapter.training is not None else None
    if trained is not None and trained != quantization:
        raise AdapterError(
            f"The adapter {adapter.name} was trained on the {trained} base, and would be another model on a base in "
            f"{quantization or 'full precision'}.",
            f"Pass --quantize {trained}; to score it as asked all the same, pass --any-base.",
        )


def check_kind(adapter: Adapter, quantization: str | None, engine: str) -> None:
    """Raise AdapterError where this kind of adapter cannot be computed right with these options."""
    if not adapter.full:
        adapter_kinds.check_kind(adapter, read_config(adapter.folder), quantization=quantization, engine=engine)


@dataclass(frozen=True)
class Attached:
    """A base with an adapter on it, for as long as the context lasts.

    Attributes:
        module: the peft model, or the fully tuned model.
        parameters: number of the adapter's weights.
        warnings: what the user should know.
    """

    module: Any
    parameters: int
    warnings: tuple[str, ...]


@contextmanager
def attached(loaded: Loaded, adapter: Adapter, *, pickles: bool = False) -> Iterator[Attached]:
    """Attach an adapter to a loaded base; afterwards the base is as it was.

    A fully tuned model is loaded beside the base, in the same precision.

    Raises:
        AdapterError: its modules do not attach, weights are missing or left over, or their shapes belong to another base.
    """
    if adapter.full:
        yield _full(loaded, adapter, pickles)
        return
    settings = read_config(adapter.folder)
    adapter_kinds.check_kind(adapter, settings, quantization=loaded.quantization, engine="transformers")
    before = _parameters(loaded.module)
    original = adapter_kinds.Original(loaded.module, adapter_kinds.rewrites_base(settings))
    stored = _stored_weights(adapter.folder, pickles)
    own = _base_weights(adapter, loaded, stored)
    try:
        module, config = _load(loaded, adapter)
        module.eval()
        held = _held_weights(module)
        _same_weights(adapter, stored, held | {name: value.detach().cpu() for name, (value, _) in own.items() if name not in held})
        if not (config_saves_head(config) or own):
            check_head(loaded.module, loaded.source.folder)
        with _merged(module, loaded, adapter):
            yield Attached(module, sum(value.numel() for value in held.values()), tuple(_warnings(loaded, adapter, config, held)))
    finally:
        detach(loaded.module)
        original.put_back()
        _put_back(own.values())
        if _parameters(loaded.module) != before or original.changed(frozenset(id(value) for value, _ in own.values())):
            raise AdapterError(
                f"The base model was not restored after the adapter {adapter.name}.", "Score this adapter in a run of its own."
            )


def _load(loaded: Loaded, adapter: Adapter) -> tuple[Any, Any]:
    """The peft model around the base, and the adapter's configuration."""
    try:
        with quiet():
            from peft import PeftConfig, PeftModel

            config = PeftConfig.from_pretrained(str(adapter.folder))
            config.inference_mode = True
            with _seeded(loaded.device):
                options = {"config": config, "torch_device": str(loaded.device)}
                return PeftModel.from_pretrained(loaded.module, str(adapter.folder), **options), config
    except Exception as error:
        raise _does_not_fit(adapter, loaded.source, error) from error


@contextmanager
def _seeded(device: Any) -> Iterator[None]:
    """With random numbers that are the same each time: some adapters (`pissa_niter_4`) start from them; the caller's stay as they are."""
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
        yield f"The adapter {adapter.name} changes nothing: its update is zero."
    if adapter.merge and loaded.dtype != "float32":
        yield f"The adapter {adapter.name} is merged in {loaded.dtype}: rounding moves its scores; --dtype float32 avoids it."
    if (start := adapter_kinds.start(read_config(adapter.folder))) is not None:
        yield (
            f'The adapter {adapter.name} was saved as started with "{start}": peft takes its start out of the base\'s weights whenever it '
            "attaches. Converted to plain LoRA it would not depend on that."
        )
    yield from _other_weights(loaded, adapter)


def _other_weights(loaded: Loaded, adapter: Adapter) -> Iterator[str]:
    if adapter.training is None:
        return
    base = loaded.contents.digest if loaded.contents is not None else model_digest(loaded.source.folder)
    if adapter.training.base_digest != base:
        yield f"The adapter {adapter.name} was trained on other weights of {adapter.training.base} than these."


@contextmanager
def _merged(module: Any, loaded: Loaded, adapter: Adapter) -> Iterator[None]:
    """While active, the adapter's update is added to the base's weights where that is asked for; afterwards they are what they were."""
    if not adapter.merge:
        yield
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    if loaded.quantization is not None:
        raise AdapterError(
            f"The adapter {adapter.name} cannot be merged into a {loaded.quantization} base without rounding it once more.",
            "Leave out --merge, or --quantize.",
        )
    layers = [part.get_base_layer() for part in module.modules() if isinstance(part, BaseTunerLayer)]
    if not layers:
        raise AdapterError(f"The adapter {adapter.name} is a soft prompt: there is nothing to merge.", "Leave out --merge.")
    kept = [(value, value.detach().clone()) for layer in layers for value in layer.parameters(recurse=False)]
    try:
        module.merge_adapter(safe_merge=True)
        yield
    finally:
        _put_back(kept)


def _put_back(kept: Iterable[tuple[Any, Any]]) -> None:
    for value, before in kept:
        value.data.copy_(before)


def config_saves_head(config: Any) -> bool:
    """True when an adapter brings an output head or embeddings of its own."""
    return bool(getattr(config, "modules_to_save", None) or getattr(config, "trainable_token_indices", None))


def _base_weights(adapter: Adapter, loaded: Loaded, stored: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Those weights of the base that the adapter's file has values for: name in the file to the parameter and its value before.

    Peft writes saved embeddings into the base itself. Embeddings of another size are refused: resizing the base's would
    change what it is.
    """
    parameters = dict(loaded.module.named_parameters(remove_duplicate=False))
    found = {}
    for name, value in stored.items():
        own = parameters.get(name.removeprefix("base_model.model.").replace(".base_layer.", "."))
        if own is None:
            continue
        if own.shape != value.shape and own.is_floating_point():
            raise AdapterError(
                f"The adapter {adapter.name} does not fit {loaded.source.name}: size mismatch for {name}, "
                f"{tuple(value.shape)} in its file, {tuple(own.shape)} in the base.",
                "Were tokens added in training? A base's embeddings are never resized here: merge the adapter and save it as a model.",
            )
        found[name] = (own, own.detach().clone())
    return found


def _parameters(module: Any) -> dict[str, int]:
    """The identity of every parameter by name."""
    return {name: id(value) for name, value in module.named_parameters()}


def detach(module: Any) -> None:
    """Put the base's own modules back in place, whole or half attached.

    Peft's `unload()` would leave the adapter's copies of `modules_to_save` on the base.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    restored: list[str] = []
    for name, part in list(module.named_modules()):
        if not isinstance(part, (BaseTunerLayer, AuxiliaryTrainingWrapper)) or any(name.startswith(f"{outer}.") for outer in restored):
            continue
        parent, _, child = name.rpartition(".")
        own = part.get_base_layer() if isinstance(part, BaseTunerLayer) else part.original_module
        setattr(module.get_submodule(parent) if parent else module, child, own)
        restored.append(name)
    vars(module).pop("peft_config", None)


@contextmanager
def quiet() -> Iterator[None]:
    """Without peft's warnings of missing weights, which are errors here, and without bitsandbytes' words about kernels it does without."""
    import logging
    import warnings

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _stored_weights(folder: Path, pickles: bool) -> dict[str, Any]:
    path = adapter_weights(folder, pickles=pickles)[0]
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        weights: dict[str, Any] = load_file(path)
        return weights
    import torch

    try:
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        first = next(iter(str(error).splitlines()), "")
        raise AdapterError(f"{path} cannot be read: {type(error).__name__}: {first}", "Copy or download it again.") from error
    return loaded


def _held_weights(module: Any) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(module, save_embedding_layers=False)  # "auto" would ask the hub
    return {name: value.detach().cpu() for name, value in weights.items()}


def _same_weights(adapter: Adapter, stored: dict[str, Any], held: dict[str, Any]) -> None:
    import torch

    missing, left_over = sorted(set(held) - set(stored)), sorted(set(stored) - set(held))
    if left_over:
        raise AdapterError(
            f"The adapter {adapter.name} holds {len(left_over)} weights that did not attach, {left_over[0]} the first.",
            "It was made for another model, or its configuration was changed after training.",
        )
    if missing:
        raise AdapterError(
            f"The adapter {adapter.name} lacks {len(missing)} weights that its configuration promises, {missing[0]} the first.",
            "Save it again from the training run.",
        )
    for name, value in held.items():
        if not torch.equal(stored[name].to(value.dtype), value):
            raise AdapterError(
                f"The adapter {adapter.name} attached with other values than its file holds ({name}).", "Please report this."
            )


def _is_zero(config: Any, held: Mapping[str, Any]) -> bool:
    """True when an adapter leaves every weight as it is: for LoRA when B is zero, for IA³ when every scale is one."""
    method = str(getattr(config.peft_type, "value", config.peft_type))
    if method == "LORA" and not config_saves_head(config):
        ups = [value for name, value in held.items() if "lora_B" in name or "lora_embedding_B" in name]
        return bool(ups) and not getattr(config, "use_dora", False) and all(not value.any() for value in ups)
    if method == "IA3":
        return bool(held) and all(bool((value == 1).all()) for value in held.values())
    return False


def _does_not_fit(adapter: Adapter, base: Source, error: Exception) -> AdapterError:
    text = str(error).splitlines()
    name = type(error).__name__
    first = next((line.strip() for line in text if "size mismatch" in line), f"{name}: {text[0]}" if text else name)
    return AdapterError(f"The adapter {adapter.name} does not fit {base.name}: {first[:300]}", _remedy(adapter, base, first))


def _remedy(adapter: Adapter, base: Source, reason: str) -> str:
    """What to do about an adapter that peft cannot attach: another base where that may help, else its own files are wrong."""
    if convert := adapter_kinds.conversion(read_config(adapter.folder)):
        return convert
    if adapter.base and not names_base(adapter, base):
        return f"Its configuration names {adapter.base}; give --model that one."
    if "size mismatch" in reason or "target modules" in reason.lower():
        named = adapter.base or "no base"
        return f"Its configuration names {named}: give --model the base that it was trained on, and leave its configuration as saved."
    return f"Correct {adapter.folder / 'adapter_config.json'}, or save the adapter again with peft."
