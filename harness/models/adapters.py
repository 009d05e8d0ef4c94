"""PEFT adapters on disk: find them by card, folder or Hub id, and check their files."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import AdapterError, ModelError
from harness.models import digests, weight_files
from harness.models.adapter_cards import Training, cards, named, read_training
from harness.models.cards import ModelSource, fetch
from harness.models.digests import adapter_weights, text_digest
from harness.models.settings import check_numbers, is_quantized
from harness.util import paths
from harness.util.contents import Contents

_INTEGERS = ("indices", "position_ids", "num_batches_tracked")
"""Parts of the names of an adapter's tensors that are not weights and may be integers."""


@dataclass(frozen=True)
class Adapter:
    """An adapter on disk.

    Attributes:
        name: short name for reports and result folders.
        folder: holds adapter_config.json and the weights, or config.json and the weights of a fully fine-tuned model.
        digest: SHA-256 over configuration and weights, and over whether it is merged.
        base: the base model's name in the adapter's configuration, "" if it has none.
        training: the training record, if `harness tune` trained it.
        merge: add its update to the base's weights instead of computing it separately.
        contents: its files, to check after loading that they are the files that were hashed.
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
        """Whether it is a fully fine-tuned model, which replaces the base."""
        return self.training is not None and self.training.method == "full"


SERVED = "SERVED"
"""The type of an adapter that a server has as a model of its own."""


@dataclass(frozen=True)
class ServedAdapter:
    """An adapter that a server has; its weights cannot be verified.

    Attributes:
        name: the server's.
        digest: SHA-256 over its name and how it continues a fixed prompt.
    """

    name: str
    digest: str


def resolve(
    name: str, base: ModelSource, *, data: Path | None = None, revision: str | None = None, pickles: bool = False, merge: bool = False
) -> Adapter:
    """Find an adapter by card name, folder or Hub id.

    Args:
        name: from the user; a Hub id may end in @REVISION.
        base: the model it is for.
        data: folder of local snapshots (`<namespace>/<name>`), checked before the Hub.
        revision: for a Hub id without one.
        pickles: accept pickled weights.
        merge: add the update to the base's weights.

    Raises:
        AdapterError: it is not found, has no weights, its card has none for this base, or it cannot be merged.
    """
    adapter = _find(name, base, data, revision, pickles)
    if not merge:
        return adapter
    if adapter.full:
        raise AdapterError(f"{name} is a fully fine-tuned model: there is nothing to merge.", "Remove --merge.")
    if adapter.training is not None and adapter.training.quantization is not None:
        raise AdapterError(
            f"The adapter {name} was trained on a {adapter.training.quantization} base; merged, it would be another model.",
            "Remove --merge to evaluate it on the quantized base.",
        )
    return replace(adapter, name=f"{adapter.name}-merged", digest=text_digest(f"{adapter.digest}|merged"), merge=True)


def _find(name: str, base: ModelSource, data: Path | None, revision: str | None, pickles: bool) -> Adapter:
    folder = paths.expanded(name)
    if _holds_adapter(folder):
        return _read(folder.resolve().name, folder.resolve(), pickles)
    known = cards()
    if name in known:
        return _from_card(name, base, revision, pickles)
    if folder.is_dir():
        raise AdapterError(
            f"The folder {folder} has no adapter_config.json, so it is not an adapter.",
            "Give the folder that peft's save_pretrained wrote.",
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


def _from_card(name: str, base: ModelSource, revision: str | None, pickles: bool) -> Adapter:
    candidates = named(name)
    places = [(path, place) for card, path in candidates for model, place in card.weights.items() if model.lower() in base.names]
    if not places:
        bases = dict.fromkeys(model for card, _ in candidates for model in card.weights)
        recipe = next((card.recipe for card, _ in candidates if card.recipe), "--method METHOD --task TASK")
        raise AdapterError(
            f"The adapter {name} has no weights for {base.name}, only for {', '.join(bases)}.",
            f"Train them: harness tune --model {base.name} {recipe} --name {name}",
        )
    path, place = places[0]
    beside = (path.parent / place).resolve()
    if beside.is_dir():
        return _read(name, beside, pickles)
    if place.count("/") != 1 or (path.parent / name).is_dir():
        raise AdapterError(
            f"The card {path} names {beside} for the weights, but this folder does not exist.",
            "Put the weights there, or correct the card.",
        )
    return _read(name, _fetched(place, revision, pickles), pickles)


def unknown(name: str, known: Iterable[str]) -> AdapterError:
    """The AdapterError for an unknown name, with the closest cards."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}?" if near else "`harness adapters list` shows the cards; a Hub id is NAMESPACE/NAME."
    return AdapterError(f"Unknown adapter {name!r}: not an adapter card, a local folder or a Hub id.", hint)


def _fetched(name: str, revision: str | None, pickles: bool) -> Path:
    hub, _, commit = name.partition("@")
    try:
        return fetch(hub, commit or revision, pickles=pickles)
    except ModelError as error:
        remedy = f"Check {name!r}." if commit else error.remedy.replace("--model", "--adapter")
        raise AdapterError(error.what.replace("model", "adapter", 1), remedy) from error


def _read(name: str, folder: Path, pickles: bool) -> Adapter:
    training = read_training(folder)
    if training is not None and training.method == "full":
        check_weights(folder, pickles, digests.weights_files)
        if not is_quantized(folder):
            weight_files.check_types(digests.weights_files(folder, pickles=pickles), AdapterError)
        contents = digests.model(folder, pickles=pickles)
        return Adapter(name, folder, contents.digest, training.base, training, contents=contents)
    base = str(read_config(folder).get("base_model_name_or_path") or "")
    check_weights(folder, pickles)
    contents = digests.adapter(folder, pickles=pickles)
    return Adapter(name, folder, contents.digest, base, training, contents=contents)


def read_config(folder: Path) -> dict[str, Any]:
    """The content of an adapter's configuration file; raises AdapterError if it is damaged or not a PEFT configuration."""
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise AdapterError(f"{path} is nested too deeply for a PEFT configuration.", "Copy it again.") from error
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path} cannot be read: {error}.", "Copy it again, or save the adapter again with peft.") from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise AdapterError(f"{path} is not a PEFT configuration: it has no peft_type.", "Save the adapter again with peft.")
    check_numbers(path, config, AdapterError)
    return config


def check_weights(folder: Path, pickles: bool = False, listed: Callable[..., list[Path]] = digests.adapter_weights) -> None:
    """Raise AdapterError if an adapter folder's weights are missing, truncated or damaged.

    Args:
        folder: of the adapter.
        pickles: accept pickled weights.
        listed: function that lists the files to load.
    """
    files = listed(folder, pickles=pickles)
    if not files:
        kind = "only pickled weights" if list(folder.glob("*.bin")) else "no weights"
        raise AdapterError(
            f"The adapter {folder} has {kind}.", "Save safetensors, or pass --allow-pickle if you trust the author of the file."
        )
    weight_files.check_whole(files, AdapterError)


def check_finite(adapter: Adapter, *, pickles: bool = False) -> None:
    """Raise AdapterError if a weight is NaN or infinite, or its dtype is not a floating-point type.

    The weights of a fully fine-tuned model are checked when it is loaded.
    """
    if adapter.full:
        return
    stored, path = stored_weights(adapter.folder, pickles), adapter_weights(adapter.folder, pickles=pickles)[0]
    for name, value in stored.items():
        if value.is_complex() or not (value.is_floating_point() or any(part in name for part in _INTEGERS)):
            raise weight_files.invalid_dtype(path, name, str(value.dtype).removeprefix("torch."), AdapterError)
    if invalid := weight_files.first_not_finite(stored):
        raise AdapterError(
            f"{path}: the tensor {invalid} holds NaN or infinite values.",
            "The training diverged, or the file is damaged: take an earlier checkpoint, or copy it again.",
        )


def names_base(adapter: Adapter, base: ModelSource) -> bool:
    """Whether the adapter's configuration names this base, or no base."""
    expected = adapter.base.rstrip("/").lower()
    return not expected or bool({expected, expected.split("/")[-1]} & base.names)


def check_base(adapter: Adapter, base: ModelSource) -> None:
    """Raise AdapterError if the adapter's configuration names another base model."""
    if not names_base(adapter, base):
        raise AdapterError(
            f"The adapter {adapter.name} was trained for {adapter.base}, not for {base.name}.",
            "Pass its base with --model; if both names mean the same weights, add --any-base.",
        )


def check_precision(adapter: Adapter, quantization: str | None) -> None:
    """Raise AdapterError if the adapter was trained on a quantized base and `quantization` is another one."""
    trained = adapter.training.quantization if adapter.training is not None else None
    if trained is not None and trained != quantization:
        raise AdapterError(
            f"The adapter {adapter.name} was trained on the {trained} base; on a base in {quantization or 'full precision'} it would be "
            "another model.",
            f"Pass --quantize {trained}, or --any-base to evaluate it anyway.",
        )


def stored_weights(folder: Path, pickles: bool) -> dict[str, Any]:
    """The weights in an adapter folder by name, on the CPU; raises AdapterError where the file cannot be read."""
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
