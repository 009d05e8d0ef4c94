"""The folder of a classification model: its location, its digest and its labels."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.models import weight_files
from harness.util import paths
from harness.util.contents import Contents

_TOXIC = {"toxic", "toxicity", "hate", "hateful", "hatespeech", "offensive", "offensivelanguage", "abusive", "abuse"}
"""Names of the label of toxic texts in common classifiers, letters only."""

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
"""Files that scores depend on; the folder may have others, such as a trainer's."""


@dataclass(frozen=True)
class Checkpoint:
    """A classification model on disk.

    Attributes:
        name: from the user.
        folder: of its files.
        labels: of its outputs, in order.
        multi_label: whether each label has its own probability; otherwise they add up to 1.
    """

    name: str
    folder: Path
    labels: tuple[str, ...]
    multi_label: bool

    def column(self, label: str | None) -> int:
        """Index of the output of a label; None selects the only label for toxic texts.

        Raises:
            ModelError: there is no such label, or no or several labels for toxic texts; the message lists all labels.
        """
        if label in self.labels:
            return self.labels.index(label)
        wanted = {label.lower()} if label is not None else _TOXIC
        plain = str.lower if label is not None else _letters
        matching = [number for number, name in enumerate(self.labels) if plain(name) in wanted]
        if len(matching) == 1:
            return matching[0]
        listed = ", ".join(self.labels)
        if label is not None:
            raise ModelError(f"The classifier {self.name} has no label {label!r}.", f"Its labels: {listed}.")
        raise ModelError(
            f"The classifier {self.name} has no unique label for toxic texts: its labels are {listed}.",
            f"Choose one: classifier:{self.name},label={self.labels[-1]}",
        )

    @cached_property
    def contents(self) -> Contents:
        """Every file that can change a score: configuration, weights, tokenizer."""

        def find() -> dict[str, Path]:
            return {path.name: path for path in sorted({path for pattern in _DECISIVE for path in self.folder.glob(pattern)})}

        return Contents(find, frozenset({"config.json"}))

    def digest(self) -> str:
        """SHA-256 (hex, 16 characters) over the contents, all of them read.

        Raises:
            ContentError: a file changed since it was first read.
        """
        self.contents.check()
        return self.contents.digest[:16]


def find(model: str) -> Checkpoint:
    """Find a classifier by folder, local snapshot (HARNESS_DATA) or Hub id, and fetch it if necessary.

    Raises:
        ModelError: it is not available, or is not a classifier.
    """
    folder = _folder(model)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return _checked(model, folder, config)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelError(
            f"{folder} is not a model: its config.json cannot be read ({error!r}).", "Give a folder that `save_pretrained` wrote."
        ) from error


def _checked(model: str, folder: Path, config: dict[str, Any]) -> Checkpoint:
    heads = config.get("architectures") or []
    if not any("ForSequenceClassification" in head for head in heads):
        architectures = ", ".join(heads) or "no architecture"
        raise ModelError(f"The model {model} does not classify texts: its config.json names {architectures}.", "Use a sequence classifier.")
    if config.get("problem_type") == "regression":
        raise ModelError(f"The model {model} predicts an unbounded number, not a probability.", "Use a classifier.")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} has no safetensors weights.", "Load the model with transformers and save it with `save_pretrained`.")
    weight_files.check_whole(files, ModelError)
    weight_files.check_types(files, ModelError)
    names = config.get("id2label") or {str(number): f"LABEL_{number}" for number in range(int(config.get("num_labels", 2)))}
    labels = tuple(str(names[number]) for number in sorted(names, key=int))
    return Checkpoint(model, folder, labels, config.get("problem_type") == "multi_label_classification" or len(labels) == 1)


def _letters(label: str) -> str:
    return re.sub(r"[^a-z]", "", label.lower())


def _folder(model: str) -> Path:
    places = [paths.expanded(model)]
    if (snapshots := paths.data_folder(None)) is not None:
        places.append(snapshots / model)
    for place in places:
        if place.is_dir():
            return place.resolve()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise ModelError(f"Unknown toxicity classifier {model!r}: not a local folder or a Hub id.", "A Hub id is NAMESPACE/NAME.")
    return _fetched(model)


def _fetched(hub: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(hub, allow_patterns=_FETCHED, local_files_only=paths.offline()))
    except (HfHubHTTPError, OSError, ValueError) as error:
        response = getattr(error, "response", None)
        silent = "you are offline" if paths.offline() else "the Hub does not answer"
        state = silent if response is None else f"the Hub answered {response.status_code}"
        raise ModelError(
            f"Can't load the toxicity classifier {hub}: {state} and it is not in the local cache.",
            f"Download it on a machine with a network (`hf download {hub} --local-dir DIR`) and pass --toxicity classifier:DIR, "
            "or use the scorer that needs no model: --toxicity profanity.",
        ) from error
