"""What several commands ask for in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import get_args

from harness.contract import Family
from harness.errors import InputError


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


MOST_TOKENS = MOST_ITEMS = 2**31 - 1
MOST_TEXTS = 10_000
MOST_SHOTS = 10_000
"""Largest values of options: what is above them is a slip, and would end in no memory or in numbers that libraries do not take."""


def whole_number(option: str, text: str, low: int, high: int, also: str = "") -> int:
    """A number that an option takes as text.

    Args:
        option: its name, for the message.
        text: what was given.
        low: least value.
        high: largest value.
        also: what else the option takes, for the message.

    Raises:
        InputError: it is no whole number, or out of range.
    """
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InputError(f"{option} takes numbers from {low} to {high:,}{also}, not {text[:50]!r}.")
    return value


def split(values: Iterable[str] | None) -> list[str]:
    """The parts of values that are separated by commas, each once."""
    return list(dict.fromkeys(part.strip() for value in values or () for part in value.split(",") if part.strip()))


def adapter_names(values: Sequence[str] | None) -> list[str]:
    """What `--adapter` names; "none", the base, where it is not given.

    Raises:
        InputError: it is given and names nothing, such as an environment variable that is not set.
    """
    names = split(values) if values is not None else ["none"]
    if not names:
        raise InputError("--adapter names no adapter.", "Give a card, a folder or a Hub id; 'none' is the base.")
    return names


def check_places(files: Mapping[str, Path | None]) -> None:
    """Tell what cannot be written before anything is computed.

    Args:
        files: by the option that names them; None where it is not given.

    Raises:
        StorageError: a file cannot be written.
    """
    from harness.util.writable import check_files

    for option, path in files.items():
        if path is not None:
            check_files([path], option)


def families(text: str | None) -> tuple[Family, ...]:
    """The families of measures that are named, separated by commas, or all; in their own order.

    Raises:
        InputError: there is no such family.
    """
    known: tuple[Family, ...] = get_args(Family)
    wanted = split([text or ""])
    for name in wanted:
        if name not in (*known, "all"):
            raise InputError(f"There is no measure {name!r}.", f"Measures: {', '.join(known)}, or all.")
    return known if "all" in wanted else tuple(family for family in known if family in wanted)
