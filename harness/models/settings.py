"""Check the JSON settings of models and adapters before a library uses them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import InputError

_MAY_BE_INFINITE = frozenset({"time_step_limit"})
"""Settings that are bounds, such as Mamba's."""

_SIZES = ("hidden_size", "d_model", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


def check_numbers(path: Path, content: Any, error: type[InputError]) -> None:
    """Check that no setting is NaN or infinite: JSON has no such numbers, but Python reads them, and every score would be meaningless.

    Args:
        path: of the file, for messages.
        content: of the file.
        error: type of the error to raise.

    Raises:
        InputError: of type `error`; names file and field.
    """
    for field, value in _numbers(content, ""):
        last = field.partition("[")[0].rpartition(".")[2]
        if not math.isfinite(value) and not (math.isinf(value) and last in _MAY_BE_INFINITE):
            raise error(f"{path}: {field} is {value}; it must be a finite number.", "Correct the file, or copy it again.")


def check_model_settings(folder: Path, error: type[InputError]) -> None:
    """Check that the numbers in a model folder's configuration are finite, and that lengths are positive.

    A file that cannot be read is skipped: loading reports it.
    """
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        content = _read(path)
        if not isinstance(content, dict):
            continue
        check_numbers(path, content, error)
        inner = content.get("text_config")
        for part in (content, inner if isinstance(inner, dict) else {}):
            for field in (*_SIZES, *_LENGTHS):
                if isinstance(part.get(field), str):
                    raise error(f"{path}: {field} is {part[field]!r}, which is not a whole number.", "Correct the file, or copy it again.")
            for field in _LENGTHS if name == "config.json" else ():
                length = part.get(field)
                if isinstance(length, int) and length < 1:
                    raise error(f"{path}: {field} is {length}; it must be at least 1.", "Correct the file, or copy it again.")


def is_quantized(folder: Path) -> bool:
    """Whether a checkpoint's configuration has a `quantization_config`."""
    content = _read(folder / "config.json")
    return isinstance(content, dict) and bool(content.get("quantization_config"))


def _read(path: Path) -> Any:
    """The content of a JSON file; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _numbers(value: Any, field: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield field, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, f"{field}.{name}" if field else str(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{field}[{number}]")
