"""What a perturbation is: text in, disturbed text out, drawn from a generator that belongs to one item alone.

To add one, write one class in one file and decorate it with `@perturbation("name")`; its fields are its options.
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
"""Stands for one protected part in the text that `Perturbation.apply` reads: a private-use character, no letter and no space."""

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
    """Base of all perturbations. Fields of a subclass are its options and become part of its signature.

    Options are checked as those of metrics are. An option `rate` is a share from 0 to 1, and `NAME:RATE` sets it.

    Class attributes:
        name: as the command line calls it.
        family: what a score on perturbed items is a measure of.
        version: raised whenever the same text would be perturbed differently.
        references: whether targets and references are perturbed as well.
        per_item: whether all fields of an item are given the same generator, so that what is drawn before the text is
            looked at (which name becomes which) is the same in all of them.
        lists: the word lists that decide what becomes of a text.
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
        """The disturbed text; the same text where there is nothing to disturb.

        Args:
            text: each protected part of it (an answer's letter, a placeholder, an address, a number) is one `MASK`,
                which the result must hold as often.
            random: the only source of chance.
        """
        raise NotImplementedError

    def unavailable(self) -> str | None:
        """Why this perturbation cannot be had here, such as a dictionary that is not installed; None where it can."""
        return None

    @property
    def label(self) -> str:
        """The name with the options that differ from their defaults, as `typos:0.05` or `gender:words=both`."""
        changed = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}
        parts = [str(value) if name == "rate" else f"{name}={value}" for name, value in changed.items()]
        return f"{self.name}:{','.join(parts)}" if parts else self.name

    @property
    def signature(self) -> Signature:
        """Everything that decides what becomes of a text: its version, options, the lists' digests, and the libraries behind it."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        digests = {name: lists.digest(name) for name in self.lists}
        return Signature.of(self.name, {"version": self.version, **options, **digests, **self.libraries()})

    def libraries(self) -> dict[str, str]:
        """The release of each library that can change a text, by name."""
        return {}


def perturb(perturbation: Perturbation, text: str, *, seed: int, item: str, field: str) -> str:
    """`text` as `perturbation` disturbs it: the same for the same seed, item and field, whatever else is perturbed.

    Raises:
        InputError: the perturbation is unavailable here, or it lost or made up a protected part.
    """
    random = Random(f"{seed}/{perturbation.name}/{item}" + ("" if perturbation.per_item else f"/{field}"))
    kept = _PROTECTED.findall(text)
    perturbed = perturbation.apply(_PROTECTED.sub(MASK, text), random)
    if perturbed.count(MASK) != len(kept):
        raise InputError(
            f"Perturbation {perturbation.name!r} left {perturbed.count(MASK)} of {len(kept)} protected parts in {field!r}, item {item!r}.",
            "Its `apply` must keep the character harness.perturb.base.MASK wherever it stands.",
        )
    parts = iter(kept)
    return re.sub(MASK, lambda _: next(parts), perturbed)


def perturb_fields(perturbation: Perturbation, fields: Mapping[str, str], *, seed: int, item: str) -> dict[str, str]:
    """All fields of one item: where `per_item` is set, what one field replaces every other field replaces alike.

    Raises:
        InputError: as `perturb`.
    """
    return {field: perturb(perturbation, text, seed=seed, item=item, field=field) for field, text in fields.items()}


PLUGINS: Plugins[Perturbation] = Plugins("perturbation", "harness.perturb", "perturbations")
PerturbationClass = TypeVar("PerturbationClass", bound=type[Perturbation])


def perturbation(name: str) -> Callable[[PerturbationClass], PerturbationClass]:
    """Class decorator: make a perturbation known under `name`.

    Raises:
        InputError: another class has that name.
    """

    def register(cls: PerturbationClass) -> PerturbationClass:
        PLUGINS.register(name, cls)
        cls.name = name
        return cls

    return register
