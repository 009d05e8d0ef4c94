"""The base class of perturbations: they map a text to a perturbed text, with a random generator for each item.

To add one, write a class in a file and decorate it with `@perturbation("name")`; its fields are its options.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal, TypeVar

from harness import lists
from harness.errors import InputError
from harness.store.signature import Signature
from harness.util.plugins import Plugins

MASK = "\U000f0000"
"""Replaces a protected part in the text that `Perturbation.apply` gets: a private-use character, neither letter nor space."""

_PROTECTED = re.compile(
    r"""
      ```.*?```                                               # code
    | `[^`\n]+`
    | (?:https?://|www\.)\S+ | (?<!\S)\S+@\w[\w-]*\.\w+        # addresses
    | \{\{.*?\}\} | \{%.*?%\} | \{[^{}\n]*\}                  # placeholders
    | <[^\s<>][^<>\n]*> | \[[^\[\]\n]*\] | __+ | [@#]\w+
    | \\[A-Za-z]+                                             # commands of TeX
    | \d+(?:[ ]\d{3})+(?!\w) | (?<!\w)\w*\d\w*(?:[.,:/]\d\w*)* # numbers, and words with digits
    | \([A-Za-z]\)(?!\w) | (?<![\w'’])[A-Za-z]\)                    # letters of answers: (C) and C)
    | (?m:^)[ \t]*[a-z][.:](?=\s)                             # a. at the start of a line
    | \b(?i:answer|choice|option|statement)s?(?:[ ]is)?:?[ ]+A(?![\w'’])
    | (?<![\w'’])(?:[B-HJ-Z](?!\w|['’]\w)|[AI](?=[.:,;/]|[ ]*(?:[\n|]|\Z)|[ ]+(?i:or|and)[ ]+[A-Z](?!\w)))
    | """
    + MASK,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Perturbation:
    """Base class of all perturbations. Fields of a subclass are its options and part of its signature.

    Options are checked like those of metrics. An option `rate` is a share from 0 to 1, and `NAME:RATE` sets it.

    Class attributes:
        name: on the command line.
        family: family of measures of scores on perturbed items.
        version: increased whenever the same text would be perturbed differently.
        references: whether targets and references are perturbed as well.
        per_item: whether all fields of an item get the same generator, so that draws before the text is read (which name
            replaces which) are the same in all of them.
        lists: the word lists that it uses.
    """

    name: ClassVar[str]
    family: ClassVar[Literal["robustness", "fairness"]] = "robustness"
    version: ClassVar[int] = 1
    references: ClassVar[bool] = False
    per_item: ClassVar[bool] = False
    lists: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        rate = getattr(self, "rate", 0.0)
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is a share from 0 to 1, not {rate}")

    def apply(self, text: str, random: Random) -> str:
        """The perturbed text, or the same text if there is nothing to perturb.

        Args:
            text: each protected part (an answer's letter, a placeholder, an address, a number) is one `MASK`; the result must
                contain as many.
            random: the only source of randomness.
        """
        raise NotImplementedError

    def unavailable(self) -> str | None:
        """Why this perturbation is not available here, such as a dictionary that is not installed; None if it is."""
        return None

    @property
    def label(self) -> str:
        """The name with options that differ from their defaults, such as `typos:0.05` or `gender:words=both`."""
        changed = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}
        parts = [str(value) if name == "rate" else f"{name}={value}" for name, value in changed.items()]
        return f"{self.name}:{','.join(parts)}" if parts else self.name

    @property
    def signature(self) -> Signature:
        """Everything that can change a perturbed text: version, options, digests of the lists, and libraries."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        digests = {name: lists.digest(name) for name in self.lists}
        return Signature.of(self.name, {"version": self.version, **options, **digests, **self.libraries()})

    def libraries(self) -> dict[str, str]:
        """By name, the release of each library that can change a text."""
        return {}


def perturb(perturbation: Perturbation, text: str, *, seed: int, item: str, field: str) -> str:
    """Perturb a text; the result depends only on perturbation, text, seed, item and field.

    Raises:
        InputError: the perturbation is not available here, or it removed or added a protected part.
    """
    random = Random(f"{seed}/{perturbation.name}/{item}" + ("" if perturbation.per_item else f"/{field}"))
    protected = _PROTECTED.findall(text)
    perturbed = perturbation.apply(_PROTECTED.sub(MASK, text), random)
    if perturbed.count(MASK) != len(protected):
        raise InputError(
            f"Perturbation {perturbation.name!r} left {perturbed.count(MASK)} of {len(protected)} protected parts "
            f"in {field!r}, item {item!r}.",
            "Its `apply` must keep every character harness.perturb.base.MASK.",
        )
    parts = iter(protected)
    return re.sub(MASK, lambda _: next(parts), perturbed)


def perturb_fields(perturbation: Perturbation, fields: Mapping[str, str], *, seed: int, item: str) -> dict[str, str]:
    """Perturb all fields of an item; with `per_item`, all fields get the same replacements.

    Raises:
        InputError: as `perturb`.
    """
    return {field: perturb(perturbation, text, seed=seed, item=item, field=field) for field, text in fields.items()}


PLUGINS: Plugins[Perturbation] = Plugins("perturbation", "harness.perturb", "perturbations")
PerturbationClass = TypeVar("PerturbationClass", bound=type[Perturbation])


def perturbation(name: str) -> Callable[[PerturbationClass], PerturbationClass]:
    """Class decorator: register a perturbation under `name`.

    Raises:
        InputError: another class has that name.
    """

    def register(cls: PerturbationClass) -> PerturbationClass:
        PLUGINS.register(name, cls)
        cls.name = name
        return cls

    return register
