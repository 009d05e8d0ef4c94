"""Metrics that compare a generated text with its references word by word; the best reference counts."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.contract import AnswerForm, TextOutcome
from harness.metrics.base import FloatArray, Metric, metric, per_item

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalized(text: str) -> str:
    """Lowercased, without ASCII punctuation, then without English articles, single-spaced: SQuAD's normalization, as in HELM."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def bag_f1(prediction: str, reference: str) -> float:
    """F1 of the bags of normalized words: 1 if both are empty, 0 if only one is. Source: the SQuAD 2.0 evaluation script."""
    said, wanted = normalized(prediction).split(), normalized(reference).split()
    if not said or not wanted:
        return float(said == wanted)
    shared = (Counter(said) & Counter(wanted)).total()
    return 2.0 * shared / (len(said) + len(wanted))


@metric("exact_match")
@dataclass(frozen=True)
class ExactMatch(Metric[TextOutcome]):
    """Share of predictions equal to a reference, ignoring white space at both ends.

    Options:
        ignore_case: compare in lower case.
        ignore_punctuation: compare without ASCII punctuation.
        extract: regular expression that finds the answer in the prediction: its first matching group, or the whole match. A
            prediction without a match is incorrect.
        which: the first or the last match of `extract`.
    """

    form: ClassVar[AnswerForm] = "generate"
    ignore_case: bool = False
    ignore_punctuation: bool = False
    extract: str | None = None
    which: Literal["first", "last"] = "first"

    def __post_init__(self) -> None:
        try:
            re.compile(self.extract or "")
        except re.error as error:
            raise ValueError(f"option 'extract' is not a regular expression: {error}") from error

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """Hit (0 or 1) and count: array [items, 2]."""
        return per_item([float(self._hit(outcome)) for outcome in outcomes])

    def _hit(self, outcome: TextOutcome) -> bool:
        said = self._answer(outcome.prediction)
        return said is not None and self._compared(said) in {self._compared(reference) for reference in outcome.references}

    def _answer(self, prediction: str) -> str | None:
        if self.extract is None:
            return prediction
        matches = list(re.finditer(self.extract, prediction))
        if not matches:
            return None
        match = matches[0 if self.which == "first" else -1]
        return next((group for group in match.groups() if group is not None), match[0])

    def _compared(self, text: str) -> str:
        text = text.lower() if self.ignore_case else text
        return (text.translate(_PUNCTUATION) if self.ignore_punctuation else text).strip()


@metric("quasi_exact_match")
@dataclass(frozen=True)
class QuasiExactMatch(Metric[TextOutcome]):
    """Share of predictions equal to a reference after `normalized`: which ignores case, punctuation, articles and spacing."""

    form: ClassVar[AnswerForm] = "generate"

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """Hit (0 or 1) and count: array [items, 2]."""
        return per_item([float(normalized(o.prediction) in {normalized(r) for r in o.references}) for o in outcomes])


@metric("token_f1")
@dataclass(frozen=True)
class TokenF1(Metric[TextOutcome]):
    """Mean over items of `bag_f1` with the best reference."""

    form: ClassVar[AnswerForm] = "generate"

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """F1 and count: array [items, 2]."""
        return per_item([max(bag_f1(o.prediction, r) for r in o.references) for o in outcomes])
