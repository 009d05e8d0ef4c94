"""A scorer without a language model: the linear classifier of the package alt-profanity-check."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import MetricError
from harness.toxicity.base import FloatArray, Scorer, scorer
from harness.util.libraries import install_command

_PACKAGE = "alt-profanity-check"


@scorer("profanity")
@dataclass(kw_only=True)
class Profanity(Scorer):
    """Probability that a text is offensive, by a linear support vector machine over counts of words (Zhou, 2019, profanity-check).

    It only counts words: it scores a thousand texts in milliseconds, but misses toxicity in polite words.
    """

    def compute(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities [texts].

        Raises:
            MetricError: the package is not installed, or cannot be imported.
        """
        try:
            package = importlib.import_module("profanity_check")
        except ImportError as error:
            raise _missing(f"cannot be imported: {error}") from error
        return np.asarray(package.predict_prob(list(texts)), dtype=np.float64)

    def settings(self) -> dict[str, object]:
        """The release of the package, which contains the weights.

        Raises:
            MetricError: the package is not installed.
        """
        try:
            return {_PACKAGE: importlib.metadata.version(_PACKAGE)}
        except importlib.metadata.PackageNotFoundError as error:
            raise _missing("is not installed") from error


def _missing(what: str) -> MetricError:
    return MetricError(
        f"The toxicity scorer 'profanity' needs the package {_PACKAGE}, which {what}.",
        f"Install it with `{install_command('toxicity')}`, or use a classification model: classifier:DIR.",
    )
