"""What a toxicity scorer is: texts in, numbers from 0 to 1 out, and a signature that says whose numbers they are.

To add one, write one class in one file and decorate it with `@scorer("name")`; its fields are its options.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from harness.errors import MetricError, NumericError
from harness.plugins import Plugins, code_of
from harness.store.signature import Signature

FloatArray = NDArray[np.float64]

_NEXT_OPTION = re.compile(r",(?=\s*[A-Za-z_]\w*=)")


@dataclass(kw_only=True)
class Scorer:
    """Base of all scorers. Fields of a subclass are its options, and part of its signature.

    A subclass implements `compute`. What it needs beside its options (weights, a package) it looks for when it scores or is asked
    for its signature, not when it is made: results are read again where none of it is at hand.

    Class attributes:
        name: as specifications call it.
        argument: the option that a specification sets after the colon; None where it takes nothing there.
        version: raised whenever the same text would score differently.

    Attributes:
        threshold: a text is toxic from this score on.
    """

    name: ClassVar[str]
    argument: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"option 'threshold' is from 0 to 1, not {self.threshold}")

    def compute(self, texts: Sequence[str]) -> FloatArray:
        """Scores [texts] from 0 to 1 of texts that are all different, none of white space alone."""
        raise NotImplementedError

    def settings(self) -> dict[str, object]:
        """Whatever decides a score, by name; by default every option but the threshold."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "threshold"}

    def notes(self) -> list[str]:
        """What the user should know about the texts scored so far, one sentence each."""
        return []

    @cached_property
    def _scores(self) -> dict[str, float]:
        return {}

    def score(self, texts: Sequence[str]) -> FloatArray:
        """Scores [texts] from 0 (not toxic) to 1; white space alone scores 0. Equal texts are computed once in a scorer's life.

        Raises:
            NumericError: a score is not a number from 0 to 1.
            InputError: what the scorer needs cannot be had.
        """
        new = [text for text in dict.fromkeys(texts) if text.strip() and text not in self._scores]
        if new:
            self._scores.update(zip(new, self._checked(new).tolist(), strict=True))
        return np.array([self._scores.get(text, 0.0) for text in texts], dtype=np.float64)

    def _checked(self, texts: Sequence[str]) -> FloatArray:
        found = np.asarray(self.compute(texts), dtype=np.float64)
        if found.shape != (len(texts),):
            raise NumericError(f"The toxicity scorer {self.name!r} gave scores of shape {found.shape} for {len(texts)} texts.")
        wrong = ~((found >= 0.0) & (found <= 1.0))
        if wrong.any():
            raise NumericError(f"The toxicity scorer {self.name!r} gave {found[wrong][0]}, which is not from 0 to 1.")
        return found

    @property
    def identity(self) -> Signature:
        """Everything that decides a score: the scorer, its version, its settings, and its code where it came as a plug-in."""
        return Signature.of(self.name, {"version": self.version, **self.settings(), **code_of(type(self))})

    @property
    def signature(self) -> Signature:
        """`identity` with the threshold: everything that decides whether a text is toxic."""
        return self.identity.with_fields(threshold=self.threshold)


PLUGINS: Plugins[Scorer] = Plugins("toxicity scorer", "harness.toxicity", "toxicity", MetricError)
ScorerClass = TypeVar("ScorerClass", bound=type[Scorer])


def scorer(name: str) -> Callable[[ScorerClass], ScorerClass]:
    """Class decorator: make a scorer known under `name`.

    Raises:
        MetricError: another class has that name.
    """

    def register(cls: ScorerClass) -> ScorerClass:
        PLUGINS.register(name, cls)
        cls.name = name
        return cls

    return register


def build(spec: str) -> Scorer:
    """Make the scorer that `NAME[:ARGUMENT][,OPTION=VALUE]…` names. A comma that no `OPTION=` follows belongs to the value.

    Raises:
        MetricError: the name is unknown, an option does not exist, or its value is not allowed.
    """
    head, *rest = _NEXT_OPTION.split(spec.strip())
    name, colon, argument = head.partition(":")
    cls = PLUGINS.known().get(name)
    if cls is None:
        return PLUGINS.build(name, {}, f"A classification model is classifier:{name}." if "/" in name else "")
    options = dict(_pair(one) for one in rest)
    if colon:
        if cls.argument is None or not argument:
            form = f"{name}:{cls.argument.upper()}" if cls.argument else name
            raise MetricError(f"The toxicity scorer {spec!r} has {argument or 'nothing'} after the colon.", f"Write {form}.")
        options[cls.argument] = argument
    return PLUGINS.build(name, _read(cls, options))


def _pair(text: str) -> tuple[str, str]:
    option, _, value = text.partition("=")
    return option.strip(), value.strip()


def _read(cls: type[Scorer], options: Mapping[str, str]) -> dict[str, Any]:
    """Options as their fields are annotated; what cannot be read so stays a text, which `build` then refuses."""
    from pydantic import TypeAdapter, ValidationError

    known, hints, read = {one.name for one in dataclasses.fields(cls)}, get_type_hints(cls), dict[str, Any](options)
    for option in known & set(options):
        try:
            read[option] = TypeAdapter(hints[option]).validate_strings(options[option])
        except ValidationError:
            continue
    return read
