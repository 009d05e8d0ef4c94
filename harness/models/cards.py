"""Model cards: short names for models, and where to find each (a folder, a local snapshot, the Hub, a Python package)."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import ModelError
from harness.models.embedded import Package, unpack
from harness.util import paths


class ModelCard(BaseModel):
    """A model under a short name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    hub: str = Field(description="Hub id.")
    kind: Literal["base", "instruct"]
    architecture: Literal["causal", "seq2seq"]
    parameters: int
    context: int | None = None
    license: str
    revision: str | None = None
    package: Package | None = None
    notes: str = ""


@dataclass(frozen=True)
class ModelSource:
    """Where a model is read from.

    Attributes:
        name: short name for reports and result folders.
        folder: the local folder that holds it.
        card: its card, if it has one.
        revision: Hub commit, if it comes from the Hub.
        names: all its names in lower case, to match adapters with their base.
        note: what the user should know about this copy.
    """

    name: str
    folder: Path
    card: ModelCard | None
    revision: str | None
    names: frozenset[str]
    note: str = ""


def cards() -> dict[str, ModelCard]:
    """Every card by name: the built-in ones, then the user's (`models/*.yaml` below HARNESS_PATH)."""
    known: dict[str, ModelCard] = {}
    files = [Path(__file__).with_name("cards.yaml"), *(p for folder in paths.added("models") for p in sorted(folder.glob("*.yaml")))]
    for path in files:
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            for entry in content["models"]:
                card = ModelCard.model_validate(entry)
                known[card.name] = card
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValidationError) as error:
            raise ModelError(f"{path}: not a file of model cards: {error}.", "It must be a mapping with a list under `models:`.") from error
    return known


def resolve(
    model: str,
    *,
    data: Path | None = None,
    revision: str | None = None,
    pickles: bool = False,
    remote_code: bool = False,
    weights: bool = True,
) -> ModelSource:
    """Find a model by card name, Hub id or folder, and fetch it if necessary.

    Args:
        model: from the user.
        data: folder of local snapshots (`<namespace>/<name>`), checked before the Hub.
        revision: Hub branch, tag or commit.
        pickles: also fetch pickled weights.
        remote_code: also fetch Python files.
        weights: fetch the weights; otherwise the tokenizer and the configuration alone.

    Raises:
        ModelError: the model is not found (the message suggests card names), or its folder also holds an adapter or has no revision.
    """
    source = _resolved(model, data, revision, pickles, remote_code, weights)
    if (source.folder / "adapter_config.json").is_file():
        raise ModelError(
            f"The folder {source.folder} holds an adapter next to the model, and transformers would load both.",
            "Move the adapter to another folder and pass it with --adapter.",
        )
    if revision is not None and source.revision is None:
        raise ModelError(
            f"--revision asks for {revision}, but the revision of the folder {source.folder} is unknown.",
            "Remove --revision, or remove --data to fetch the model from the Hub.",
        )
    return source


def _resolved(model: str, data: Path | None, revision: str | None, pickles: bool, remote_code: bool, weights: bool) -> ModelSource:
    if not model.strip():
        raise ModelError("--model is empty.", "Give a card (`harness models list`), a folder or a Hub id.")
    folder = paths.expanded(model)
    known = cards()
    if (folder / "config.json").is_file():
        return _from_folder(folder.resolve(), known)
    if folder.is_dir() and ("/" in model or model not in known):
        raise ModelError(f"The folder {folder} has no config.json, so it is not a model.", "Give the folder that `save_pretrained` wrote.")
    card = known.get(model.lower()) or next((c for c in known.values() if c.hub.lower() == model.lower()), None)
    if card is None and model.count("/") != 1:
        raise unknown(model, known)
    hub = card.hub if card else model
    names = frozenset(_aliases(model) | _aliases(hub) | ({card.name} if card else set()))
    name = card.name if card else hub.split("/")[-1]
    if data is not None and (data / hub / "config.json").is_file():
        return ModelSource(name, (data / hub).resolve(), card, None, names)
    wanted = revision or (card.revision if card else None)
    try:
        fetched = fetch(hub, wanted, pickles=pickles, remote_code=remote_code, weights=weights)
    except ModelError:
        if card is None or card.package is None or revision is not None:
            raise
        note = (
            f"{card.name} comes from the package {card.package.name}: its weights were published in 4 bits and expanded, "
            "so scores differ slightly."
        )
        return ModelSource(name, unpack(card.name, card.package), card, f"{card.package.name}=={card.package.version}", names, note)
    return ModelSource(name, fetched, card, _commit(fetched), names)


def fetch(hub: str, revision: str | None, *, pickles: bool = False, remote_code: bool = False, weights: bool = True) -> Path:
    """The local snapshot folder of a Hub model or adapter, downloaded unless it is cached.

    Args:
        hub: the Hub id.
        revision: branch, tag or commit.
        pickles: also fetch pickled weights.
        remote_code: also fetch Python files.
        weights: fetch the weights.

    Raises:
        ModelError: it does not exist, is gated, or cannot be downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = [
        *(["*.safetensors"] if weights else []),
        "*.json",
        "*.txt",
        "*.model",
        "*.jinja",
        "training.yaml",
        *(["*.bin"] if pickles and weights else []),
        *(["*.py"] if remote_code else []),
    ]
    try:
        return Path(snapshot_download(hub, revision=revision, allow_patterns=patterns, local_files_only=paths.offline()))
    except GatedRepoError as error:
        raise ModelError(f"The model {hub} is gated.", "Accept its terms on its page and log in with `hf auth login`.") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"The model {hub} has no revision {revision!r}.", "Check --revision.") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"The Hub has no model {hub!r}, or it is private.", "Check the name, or log in with `hf auth login`.") from error
    except HFValidationError as error:
        raise ModelError(f"{hub!r} is neither a folder nor a Hub id.", "A Hub id is NAMESPACE/NAME.") from error
    except (LocalEntryNotFoundError, OSError) as error:
        state = "you are offline" if paths.offline() else "the Hub does not answer"
        raise ModelError(
            f"Can't load the model {hub}: {state} and it is not in the local cache.",
            f"Download it on a machine with a network (`hf download {hub} --local-dir DIR`) and pass --model DIR.",
        ) from error


def _from_folder(folder: Path, known: dict[str, ModelCard]) -> ModelSource:
    aliases = _aliases(str(folder))
    card = next((c for c in known.values() if c.name in aliases or c.hub.split("/")[-1].lower() in aliases), None)
    if card is not None:
        aliases |= _aliases(card.hub) | {card.name}
    return ModelSource(_readable_name(folder), folder, card, _commit(folder), frozenset(aliases))


def _aliases(name: str) -> set[str]:
    """Names by which an adapter may refer to this model, in lower case: the whole, its last part, and for cache folders the Hub id."""
    parts = name.rstrip("/").split("/")
    cached = [part.removeprefix("models--").replace("--", "/") for part in parts if part.startswith("models--")]
    return {text.lower() for whole in [name.rstrip("/"), *cached] for text in (whole, whole.split("/")[-1])}


def _readable_name(folder: Path) -> str:
    cached = [part for part in folder.parts if part.startswith("models--")]
    return cached[-1].split("--")[-1] if cached else folder.name


def _commit(folder: Path) -> str | None:
    return folder.name if folder.parent.name == "snapshots" else None


def unknown(model: str, known: dict[str, ModelCard]) -> ModelError:
    """The ModelError for an unknown name, with the closest cards."""
    near = difflib.get_close_matches(model.lower(), known, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}?" if near else "`harness models list` shows the cards."
    return ModelError(f"Unknown model {model!r}: not a model card, a local folder or a Hub id.", f"{hint} A Hub id is NAMESPACE/NAME.")
