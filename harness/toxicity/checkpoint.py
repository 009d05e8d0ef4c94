"""The folder of a classification model: where it is, what it is called exactly, and which labels it knows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import folders, weights
from harness.contents import Contents
from harness.errors import ModelError

_TOXIC = {"toxic", "toxicity", "hate", "hateful", "hatespeech", "offensive", "offensivelanguage", "abusive", "abuse"}
"""What the label of toxic texts is called, letters only, in the classifiers that are in use."""

_FETCHED = ["*.safetensors", "*.json", "*.txt", "*.model"]
_DECISIVE = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "*vocab*",
    "*merges*",
    "*.model",
    "*.codes",
    "dict.txt",
]
"""Files that a score depends on; others, such as a trainer's, may lie beside them."""


@dataclass(frozen=True)
class Checkpoint:
    """A classification model on disk.

    Attributes:
        name: as the user gave it.
        folder: where its files are.
        labels: what its head tells apart, by output.
        multi_label: whether each label has a probability of its own; elsewhere they add up to 1.
    """

    name: str
    folder: Path
    labels: tuple[str, ...]
    multi_label: bool

    def column(self, label: str | None) -> int:
        """The output of the label wanted, or of the one label whose name says toxic.

        Raises:
            ModelError: there is no such label, or none or several could be meant; all are listed.
        """
        if label in self.labels:
            return self.labels.index(label)
        wanted = {label.lower()} if label is not None else _TOXIC
        plain = str.lower if label is not None else _letters
        found = [number for number, one in enumerate(self.labels) if plain(one) in wanted]
        if len(found) == 1:
            return found[0]
        listed = ", ".join(self.labels)
        if label is not None:
            raise ModelError(f"The classifier {self.name} has no label {label!r}.", f"Its labels: {listed}.")
        raise ModelError(
            f"Which label of the classifier {self.name} stands for toxic texts? It has {listed}.",
            f"Name it: classifier:{self.name},label={self.labels[-1]}",
        )

    @cached_property
    def contents(self) -> Contents:
        """Every file that decides a score: configuration, weights, tokenizer."""

        def find() -> dict[str, Path]:
            return {path.name: path for path in sorted({path for pattern in _DECISIVE for path in self.folder.glob(pattern)})}

        return Contents(find, frozenset({"config.json"}))

    def digest(self) -> str:
        """SHA-256 (hex, 16 characters) over the contents, all of them read.

        Raises:
            ContentError: a file was changed since it was first read.
        """
        self.contents.check()
        return self.contents.digest[:16]


def find(model: str) -> Checkpoint:
    """The classifier in a folder, in the folder of snapshots (HARNESS_DATA), or of a hub id, fetched where needed.

    Raises:
        ModelError: it cannot be had, or is no classifier; says what to do.
    """
    folder = _folder(model)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return _checked(model, folder, config)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelError(
            f"{folder} holds no model: its config.json cannot be read ({error!r}).", "Give a folder that `save_pretrained` wrote."
        ) from error


def _checked(model: str, folder: Path, config: dict[str, Any]) -> Checkpoint:
    heads = config.get("architectures") or []
    if not any("ForSequenceClassification" in head for head in heads):
        found = ", ".join(heads) or "no architecture"
        raise ModelError(f"The model {model} does not classify texts: its config.json names {found}.", "Give a sequence classifier.")
    if config.get("problem_type") == "regression":
        raise ModelError(f"The model {model} predicts a number without bounds, not a probability.", "Give a classifier.")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"{folder} holds no weights as safetensors.", "Load the model with transformers and save it with `save_pretrained`."
        )
    weights.check_whole(files, ModelError)
    weights.check_types(files, ModelError)
    names = config.get("id2label") or {str(number): f"LABEL_{number}" for number in range(int(config.get("num_labels", 2)))}
    labels = tuple(str(names[number]) for number in sorted(names, key=int))
    return Checkpoint(model, folder, labels, config.get("problem_type") == "multi_label_classification" or len(labels) == 1)


def _letters(label: str) -> str:
    return re.sub(r"[^a-z]", "", label.lower())


def _folder(model: str) -> Path:
    places = [folders.expanded(model)]
    if (snapshots := folders.data_folder(None)) is not None:
        places.append(snapshots / model)
    for place in places:
        if place.is_dir():
            return place.resolve()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise ModelError(f"There is no toxicity classifier {model!r}: it is no folder and no hub id.", "A hub id is NAMESPACE/NAME.")
    return _fetched(model)


def _fetched(hub: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(hub, allow_patterns=_FETCHED, local_files_only=folders.offline()))
    except (HfHubHTTPError, OSError, ValueError) as error:
        response = getattr(error, "response", None)
        silent = "offline mode is on" if folders.offline() else "the hub did not answer"
        state = silent if response is None else f"the hub answered {response.status_code}"
        raise ModelError(
            f"The toxicity classifier {hub} cannot be had: {state}, and it is not in the cache.",
            f"Download it where there is a network (`hf download {hub} --local-dir DIR`) and give --toxicity classifier:DIR, "
            "or take the scorer that needs no model: --toxicity profanity.",
        ) from error
