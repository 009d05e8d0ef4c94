"""The base class of toxicity scorers: they score texts from 0 to 1, and their signature identifies them.

To add one, write a class in a file and decorate it with `@scorer("name")`; its fields are its options.
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
from harness.store.signature import Signature
from harness.util.plugins import Plugins, code_of

FloatArray = NDArray[np.float64]

_NEXT_OPTION = re.compile(r",(?=\s*[A-Za-z_]\w*=)")


@dataclass(kw_only=True)
class Scorer:
    """Base class of all scorers. Fields of a subclass are its options and part of its signature.

    A subclass implements `compute`. It looks for weights and packages only when it scores or when its signature is needed, not when
    it is built, since results are also read on machines without them.

    Class attributes:
        name: in specifications.
        argument: the option that a specification sets after the colon; None if there is none.
        version: increased whenever the same text would score differently.

    Attributes:
        threshold: lowest score of a toxic text.
    """

    name: ClassVar[str]
    argument: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"option 'threshold' is from 0 to 1, not {self.threshold}")

    def compute(self, texts: Sequence[str]) -> FloatArray:
        """Scores [texts] from 0 to 1 of distinct texts that are not only white space."""
        raise NotImplementedError

    def settings(self) -> dict[str, object]:
        """By name, everything that can change a score; by default every option except the threshold."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "threshold"}

    def notes(self) -> list[str]:
        """What the user should know about the texts scored so far, one sentence each."""
        return []

    @cached_property
    def _scores(self) -> dict[str, float]:
        return {}

    def score(self, texts: Sequence[str]) -> FloatArray:
        """Scores [texts] from 0 (not toxic) to 1; white space scores 0. Equal texts are computed only once.

        Raises:
            NumericError: a score is not a number from 0 to 1.
            InputError: a library or model of the scorer is not available.
        """
        new = [text for text in dict.fromkeys(texts) if text.strip() and text not in self._scores]
        if new:
            self._scores.update(zip(new, self._checked(new).tolist(), strict=True))
        return np.array([self._scores.get(text, 0.0) for text in texts], dtype=np.float64)

    def _checked(self, texts: Sequence[str]) -> FloatArray:
        scores = np.asarray(self.compute(texts), dtype=np.float64)
        if scores.shape != (len(texts),):
            raise NumericError(f"The toxicity scorer {self.name!r} returned scores of shape {scores.shape} for {len(texts)} texts.")
        invalid = ~((scores >= 0.0) & (scores <= 1.0))
        if invalid.any():
            raise NumericError(f"The toxicity scorer {self.name!r} returned {scores[invalid][0]}, which is not between 0 and 1.")
        return scores

    @property
    def identity(self) -> Signature:
        """Everything that can change a score: the scorer, its version, its settings, and its code if it is a plug-in."""
        return Signature.of(self.name, {"version": self.version, **self.settings(), **code_of(type(self))})

    @property
    def signature(self) -> Signature:
        """`identity` with the threshold, which decides whether a text is toxic."""
        return self.identity.with_fields(threshold=self.threshold)


PLUGINS: Plugins[Scorer] = Plugins("toxicity scorer", "harness.toxicity", "toxicity", MetricError)
ScorerClass = TypeVar("ScorerClass", bound=type[Scorer])


def scorer(name: str) -> Callable[[ScorerClass], ScorerClass]:
    """Class decorator: register a scorer under `name`.

    Raises:
        MetricError: another class has that name.
    """

    def register(cls: ScorerClass) -> ScorerClass:
        PLUGINS.register(name, cls)
        cls.name = name
        return cls

    return register


def build(spec: str) -> Scorer:
    """Build the scorer of the specification `NAME[:ARGUMENT][,OPTION=VALUE]…`; a comma without `OPTION=` after it is part of the value.

    Raises:
        MetricError: the name or an option is unknown, or the value of an option is not allowed.
    """
    head, *rest = _NEXT_OPTION.split(spec.strip())
    name, colon, argument = head.partition(":")
    cls = PLUGINS.known().get(name)
    if cls is None:
        return PLUGINS.build(name, {}, f"A classification model is classifier:{name}." if "/" in name else "")
    options = dict(_pair(text) for text in rest)
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
    """Convert options to the types of their fields; a value that cannot be converted stays a text, which `build` refuses."""
    from pydantic import TypeAdapter, ValidationError

    known, hints, read = {field.name for field in dataclasses.fields(cls)}, get_type_hints(cls), dict[str, Any](options)
    for option in known & set(options):
        try:
            read[option] = TypeAdapter(hints[option]).validate_strings(options[option])
        except ValidationError:
            continue
    return read
