"""What several commands ask for in the same way."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Dtype(StrEnum):
    """`--dtype`."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Quantize(StrEnum):
    """`--quantize`."""

    eight = "8bit"
    four = "4bit"


def split(values: Iterable[str] | None) -> list[str]:
    """The parts of values that are separated by commas, each once."""
    return list(dict.fromkeys(part.strip() for value in values or () for part in value.split(",") if part.strip()))
