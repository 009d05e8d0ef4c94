"""Arguments of a single backend, which `--engine-args` takes: a frozen dataclass for each backend, parsed and described from its fields."""

from __future__ import annotations

import math
from dataclasses import MISSING, Field, dataclass, field, fields
from types import UnionType
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.errors import InputError

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Value = TypeVar("Value")


@dataclass(frozen=True)
class ArgumentSpec:
    """What has to be known about an argument beside its name, type and default.

    Attributes:
        help: what it does, for messages and documents.
        low: least value of a number.
        high: largest value of a number.
        changes_numbers: a response can differ with it, so that it is part of the system.
    """

    help: str
    low: float | None = None
    high: float | None = None
    changes_numbers: bool = False


def argument(default: Value, help: str, *, low: float | None = None, high: float | None = None, changes_numbers: bool = False) -> Value:
    """A field of a backend's arguments; see `ArgumentSpec`."""
    made: Value = field(default=default, metadata={"argument": ArgumentSpec(help, low, high, changes_numbers)})
    return made


@dataclass(frozen=True)
class EngineArguments:
    """Base of the arguments of a backend. Fields are bool, int, float or a Literal of texts, or one of them or None."""

    @classmethod
    def parse(cls, text: str, engine: str) -> Self:
        """Read `key=value,key=value`.

        Args:
            text: from the user.
            engine: name of the backend, for messages.

        Raises:
            InputError: a key is unknown or is given twice, or a value has another type or is out of range; lists the keys.
        """
        known, types = {entry.name: entry for entry in fields(cls)}, get_type_hints(cls)
        given: dict[str, Any] = {}
        if text.strip() == "help":
            raise InputError(f"Arguments of --engine {engine}:", cls._keys())
        for part in filter(None, (part.strip() for part in text.split(","))):
            key, equals, value = (side.strip() for side in part.partition("="))
            if not equals or key not in known:
                what = f"has no value for {key!r}" if key in known else f"does not know {key[:50]!r}"
                raise InputError(f"--engine-args of --engine {engine} {what}.", cls._keys())
            if key in given:
                raise InputError(f"--engine-args has {key} twice.", "Give it once.")
            given[key] = _converted(key, value, types[key], known[key].metadata["argument"])
        return cls(**given)

    @classmethod
    def describe(cls) -> list[tuple[str, str, str]]:
        """Key, what it takes, and what it does, of every argument."""
        types = get_type_hints(cls)
        return [(entry.name, _takes(types[entry.name], _spec(entry)), _spec(entry).help) for entry in fields(cls)]

    @classmethod
    def _keys(cls) -> str:
        return "Give KEY=VALUE, separated by commas; keys are\n" + "\n".join(
            f"  {key} ({takes}): {does}" for key, takes, does in cls.describe()
        )

    @property
    def text(self) -> str:
        """Everything that is not at its default, in the form that `parse` reads, sorted."""
        return self._text(changing=False)

    @property
    def changing(self) -> str:
        """As `text`, only what can change a response."""
        return self._text(changing=True)

    def _text(self, *, changing: bool) -> str:
        chosen = [entry for entry in fields(self) if _spec(entry).changes_numbers or not changing]
        values = {entry.name: getattr(self, entry.name) for entry in chosen if getattr(self, entry.name) != entry.default}
        return ",".join(f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in sorted(values.items()))


def _spec(entry: Field[Any]) -> ArgumentSpec:
    assert entry.default is not MISSING
    spec: ArgumentSpec = entry.metadata["argument"]
    return spec


def _plain(kind: Any) -> Any:
    """The type without None."""
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (member for member in get_args(kind) if member is not type(None))
    return kind


def _takes(kind: Any, spec: ArgumentSpec) -> str:
    plain = _plain(kind)
    if plain is bool:
        return "true or false"
    if get_origin(plain) is Literal:
        return " or ".join(map(str, get_args(plain)))
    number = "whole number" if plain is int else "number"
    limits = [f"{word} {limit:g}" for word, limit in (("from", spec.low), ("to", spec.high)) if limit is not None]
    return " ".join([number, *limits])


def _converted(key: str, text: str, kind: Any, spec: ArgumentSpec) -> Any:
    plain = _plain(kind)
    value: Any
    try:
        value = _TRUTH[text.lower()] if plain is bool else plain(text) if plain in (int, float) else text
    except (KeyError, ValueError):
        value = None
    allowed = value is not None and (get_origin(plain) is not Literal or value in get_args(plain))
    if allowed and plain in (int, float):
        allowed = math.isfinite(value) and (spec.low is None or value >= spec.low) and (spec.high is None or value <= spec.high)
    if not allowed:
        raise InputError(f"--engine-args {key} takes {_takes(kind, spec)}, not {text[:50]!r}.")
    return value
