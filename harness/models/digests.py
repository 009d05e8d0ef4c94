"""Digests of the files that a model, its tokenizer or an adapter is loaded from: the exact identity of what is evaluated.

A digest depends only on the names and contents of those files, not on where they are or on other files next to them.
`harness.util.contents` reads and verifies contents.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.models.code import code_files
from harness.util.contents import Contents

CONFIG, GENERATION, ADAPTER_CONFIG = "config.json", "generation_config.json", "adapter_config.json"
_SETTINGS = frozenset({CONFIG, GENERATION})
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_ADAPTER_WEIGHTS, _ADAPTER_PICKLE = "adapter_model.safetensors", "adapter_model.bin"

TOKENIZER_PATTERNS = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "*vocab*",
    "*merges*",
    "*.model",
    "*.tiktoken",
    "*.spm",
    "*.bpe",
    "*.codes",
    "byte_maps.json",
    "*bpecodes",
    "*.tokenizer",
    "*.tokenizer.json",
    "dict*.txt",
    "emoji.json",
    "normalizer.json",
    "tekken.json",
    "word_*.json",
)
"""Files that the tokenizers of transformers read; a test compares them with every tokenizer class. The chat template is not among them:
the template in use has its own digest."""

_NEVER_TOKENIZERS = (
    *(_SETTINGS | {ADAPTER_CONFIG}),
    *("*.safetensors*", "*.bin*", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx*", "*.gguf", "*.ot", "*.tflite", "*.npz"),
    *("*.md", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.pdf", "*.html", "*.csv", "*.log", "LICENSE*", "NOTICE*", "*.jinja"),
    *("trainer_state.json", "*_results.json", "training*", "*.index.json", ".*"),
)
"""Files that no tokenizer reads, not even one with custom code."""


def text_digest(text: str) -> str:
    """SHA-256 (hex) of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def weights_files(folder: Path, *, pickles: bool = False) -> list[Path]:
    """The weight files that transformers loads from a model folder: safetensors, or pickles if they are allowed and there is nothing else.

    Raises:
        ModelError: an index cannot be read, or names a missing file.
    """
    return [path for name, path in _weights(folder, pickles).items() if not name.endswith(".index.json")]


def adapter_weights(folder: Path, *, pickles: bool = False) -> list[Path]:
    """The weight file of an adapter folder that peft loads, if there is one."""
    names = (_ADAPTER_WEIGHTS, *([_ADAPTER_PICKLE] if pickles else []))
    return [folder / name for name in names if (folder / name).is_file()][:1]


def model(folder: Path, *, pickles: bool = False, remote_code: bool = False) -> Contents:
    """Everything that determines a model's output for token ids: configuration, generation defaults, weights with index, and its code."""

    def find() -> dict[str, Path]:
        files = {name: folder / name for name in (CONFIG, GENERATION) if (folder / name).is_file()}
        return files | _weights(folder, pickles) | (code_files(folder) if remote_code else {})

    return Contents(find, _SETTINGS)


def tokenizer(folder: Path, *, remote_code: bool = False) -> Contents:
    """The files that turn text into token ids and back."""

    def find() -> dict[str, Path]:
        files = {path.name: path for path in _matching(folder, TOKENIZER_PATTERNS)}
        if remote_code and (code := code_files(folder)):
            others = {path.name: path for path in folder.iterdir() if path.is_file() and not _any(path, _NEVER_TOKENIZERS)}
            files |= others | code
        return dict(sorted((name, path) for name, path in files.items() if not _any(path, _NEVER_TOKENIZERS)))

    return Contents(find)


def adapter(folder: Path, *, pickles: bool = False) -> Contents:
    """An adapter's configuration and weights."""

    def find() -> dict[str, Path]:
        paths = [folder / ADAPTER_CONFIG, *adapter_weights(folder, pickles=pickles)]
        return {path.name: path for path in paths if path.is_file()}

    return Contents(find)


def model_digest(folder: Path, *, pickles: bool = False, remote_code: bool = False) -> str:
    """The digest of a model, all its files read."""
    return _digest(model(folder, pickles=pickles, remote_code=remote_code))


def tokenizer_digest(folder: Path, *, remote_code: bool = False) -> str:
    """The digest of a tokenizer, all its files read."""
    return _digest(tokenizer(folder, remote_code=remote_code))


def adapter_digest(folder: Path, *, pickles: bool = False) -> str:
    """The digest of an adapter, all its files read."""
    return _digest(adapter(folder, pickles=pickles))


def count_parameters(paths: Iterable[Path]) -> int:
    """Number of weights in safetensors files, from their headers; tied weights are stored, and counted, once."""
    from safetensors import safe_open

    total = 0
    for path in paths:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np") as file:
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - not a mapping
    return total


def _digest(contents: Contents) -> str:
    contents.confirm()
    return contents.digest


def _weights(folder: Path, pickles: bool) -> dict[str, Path]:
    """The weight files that transformers loads from a folder, and their index, by name."""
    configured = _settings(folder / CONFIG).get("transformers_weights")
    for name in (*([configured] if isinstance(configured, str) else _SAFETENSORS), *(_PICKLES if pickles else ())):
        path = folder / name
        if path.is_file():
            return {name: path} | ({shard: folder / shard for shard in _shards(path)} if name.endswith(".index.json") else {})
    return {}


def _shards(index: Path) -> list[str]:
    places = _settings(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ModelError(f"{index} is not an index of weights: it has no weight_map.", "Save the model again with `save_pretrained`.")
    names = sorted(set(places.values()))
    for name in names:
        if not (index.parent / name).is_file():
            raise ModelError(f"{index} names {name}, but this file is missing.", "Copy or download the whole model.")
    return names


def _settings(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _matching(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file() and _any(path, patterns))


def _any(path: Path, patterns: Iterable[str]) -> bool:
    return any(path.match(pattern) for pattern in patterns)
