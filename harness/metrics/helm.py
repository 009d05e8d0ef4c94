"""HELM's accuracy metrics that harness has under no other name; the best reference counts.

Definitions of HELM 0.5.16 (Liang et al., 2022) under HELM's names. As in HELM, a prediction is stripped of white space, and an
empty one is incorrect for every reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.contract import AnswerForm, TextOutcome
from harness.metrics.base import FloatArray, Metric, metric, per_item
from harness.metrics.text import normalized


@dataclass(frozen=True)
class HelmMetric(Metric[TextOutcome]):
    """A mean over items of how a prediction compares with its best reference."""

    form: ClassVar[AnswerForm] = "generate"

    def compare(self, said: str, wanted: str) -> float:
        """A score of one pair of texts; `said` is not empty."""
        raise NotImplementedError

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """Score and count: array [items, 2]."""
        return per_item([self._item(outcome) for outcome in outcomes])

    def _item(self, outcome: TextOutcome) -> float:
        said = outcome.prediction.strip()
        return max(self.compare(said, reference) for reference in outcome.references) if said else 0.0


@metric("f1_score")
@dataclass(frozen=True)
class SetF1(HelmMetric):
    """HELM's F1: of the sets of normalized words, each counted once.

    SQuAD's F1, `token_f1`, counts every occurrence ("cat cat" against "cat" is 2/3 there, 1 here) and is 1 if both texts are
    empty after normalization; HELM's is 0 if either is.
    """

    def compare(self, said: str, wanted: str) -> float:
        """F1 of the sets of normalized words."""
        mine, theirs = set(normalized(said).split()), set(normalized(wanted).split())
        return 2.0 * len(mine & theirs) / (len(mine) + len(theirs)) if mine and theirs else 0.0


@metric("prefix_exact_match")
@dataclass(frozen=True)
class PrefixExactMatch(HelmMetric):
    """Share of predictions that begin with a reference, letter by letter; a reference without letters begins every prediction."""

    def compare(self, said: str, wanted: str) -> float:
        """1 if the prediction begins with the reference, otherwise 0."""
        return float(said.startswith(wanted.strip()))


@metric("quasi_prefix_exact_match")
@dataclass(frozen=True)
class QuasiPrefixExactMatch(HelmMetric):
    """Share of predictions that begin with a reference after `normalized`: which ignores case, punctuation, articles and spacing.

    Letters are compared, not words: "yesterday" begins with "yes". A reference that is empty after normalization ("The")
    matches every prediction: a flaw of HELM's definition, preserved under HELM's name.
    """

    def compare(self, said: str, wanted: str) -> float:
        """1 if the normalized prediction begins with the normalized reference, otherwise 0."""
        return float(normalized(said).startswith(normalized(wanted)))
