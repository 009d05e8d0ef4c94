"""Signatures: every score's record of how it was measured."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, Union

Value: TypeAlias = Union[str, int, float, bool, tuple["Value", ...], "Signature", None]
"""Value of a field. Mappings become signatures without a name, lists become tuples."""

NAME = "name"

AVERAGE_FIELDS = ("average", "tasks", "tasks_digest")
"""Fields that an average over tasks adds to the signature of the averaged metric."""


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field in which two signatures differ.

    Attributes:
        field: its name; for a nested field, both names joined by a dot.
        mine, theirs: the values as text; None if the signature lacks the field.
    """

    field: str
    mine: str | None
    theirs: str | None


@dataclass(frozen=True, slots=True)
class Signature:
    """Everything that can change a score, as an ordered list of named values.

    Two scores are comparable if their signatures are equal. Signatures can be nested: that of a toxicity metric has its scorer's.

    Attributes:
        name: of the metric, task, perturbation or scorer.
        fields: (field, value) in display order.
    """

    name: str
    fields: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def of(cls, name: str, fields: Mapping[str, object] | None = None) -> Signature:
        """A signature of plain values: numbers, texts, booleans, None, and lists, mappings and signatures of these.

        Raises:
            ValueError: a field is called "name".
        """
        fields = fields or {}
        if NAME in fields:
            raise ValueError(f"a field of a signature cannot be called {NAME!r}")
        return cls(name, tuple((field, _value(value)) for field, value in fields.items()))

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | str) -> Signature:
        """The inverse of `to_json`. A text, as in results of schema 1, becomes a name without fields; it is never parsed."""
        if isinstance(content, str):
            return cls(content)
        return cls.of(str(content.get(NAME, "")), {field: value for field, value in content.items() if field != NAME})

    def to_json(self) -> dict[str, Any]:
        """An object with the name and every field."""
        return ({NAME: self.name} if self.name else {}) | {field: _json(value) for field, value in self.fields}

    def __getitem__(self, field: str) -> Value:
        """The value of a field; raises KeyError if there is none."""
        return dict(self.fields)[field]

    def get(self, field: str) -> Value:
        """The value of a field, or None if there is none."""
        return dict(self.fields).get(field)

    def __contains__(self, field: object) -> bool:
        return any(known == field for known, _ in self.fields)

    def with_fields(self, **fields: object) -> Signature:
        """The same signature with other values for its fields, or with further fields at the end."""
        return Signature.of(self.name, dict(self.fields) | fields)

    def without(self, *fields: str) -> Signature:
        """The same signature without some fields."""
        return Signature(self.name, tuple((field, value) for field, value in self.fields if field not in fields))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of name and fields, independent of their order."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True, allow_nan=False).encode()).hexdigest()

    @property
    def short(self) -> str:
        """The name and eight characters of the digest, such as `accuracy@1f0c93ab`."""
        return f"{self.name}@{self.digest[:8]}"

    @property
    def long(self) -> str:
        """Name and fields, such as `rouge1|version:1|stemmer:true`."""
        return "|".join([self.name, *(f"{field}:{_text(value)}" for field, value in self.fields)])

    def __str__(self) -> str:
        return self.long

    def difference(self, other: Signature) -> tuple[FieldDifference, ...]:
        """The fields in which this signature differs from another, in the other's order; empty if they are equal."""
        return tuple(_differences(self, other, ""))


def _differences(signature: Signature, other: Signature, before: str) -> Iterator[FieldDifference]:
    if signature.name != other.name:
        yield FieldDifference(before.removesuffix(".") or NAME, signature.name, other.name)
    mine, theirs = dict(signature.fields), dict(other.fields)
    for field in [*theirs, *(field for field in mine if field not in theirs)]:
        here, there = mine.get(field), theirs.get(field)
        if field in mine and field in theirs and here == there:
            continue
        if isinstance(here, Signature) and isinstance(there, Signature):
            yield from _differences(here, there, f"{before}{field}.")
        else:
            yield FieldDifference(f"{before}{field}", _text(here) if field in mine else None, _text(there) if field in theirs else None)


def _value(value: object) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | Signature):
        return value
    if isinstance(value, Mapping):
        return Signature.from_json({str(field): inner for field, inner in value.items()})
    if isinstance(value, Sequence | set | frozenset):
        return tuple(_value(inner) for inner in (value if isinstance(value, Sequence) else sorted(value)))
    return str(value)


def _json(value: Value) -> Any:
    if isinstance(value, Signature):
        return value.to_json()
    return [_json(inner) for inner in value] if isinstance(value, tuple) else value


def _text(value: Value) -> str:
    """A value for display: as in JSON, but without quotation marks around a single text."""
    if isinstance(value, Signature):
        return f"({value.long})" if value.name else f"({', '.join(f'{field}: {_text(inner)}' for field, inner in value.fields)})"
    if isinstance(value, tuple):
        return f"[{', '.join(repr(inner) if isinstance(inner, str) else _text(inner) for inner in value)}]"
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)
