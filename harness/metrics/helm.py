"""HELM's accuracy metrics that the harness has under no other name; the best reference counts.

Definitions of HELM 0.5.16 (Liang et al., 2022) under HELM's names. Like HELM's, they read a prediction without the white space
around it, and an empty one is wrong whatever the reference.
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
    """HELM's F1: of the sets of normalized words, each counted once however often it stands there.

    SQuAD's F1, `token_f1`, counts every occurrence ("cat cat" against "cat" is 2/3 there, 1 here) and gives 1 where both texts
    are empty after normalization; HELM gives 0 where either is.
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
        """1 where the prediction begins with the reference, else 0."""
        return float(said.startswith(wanted.strip()))


@metric("quasi_prefix_exact_match")
@dataclass(frozen=True)
class QuasiPrefixExactMatch(HelmMetric):
    """Share of predictions that begin with a reference after `normalized`: case, punctuation, articles and spacing aside.

    Letter by letter, not word by word: "yesterday" begins with "yes". A reference that normalization leaves empty ("The")
    begins every prediction, so that all of them are right: a fault of HELM's definition, kept under HELM's name.
    """

    def compare(self, said: str, wanted: str) -> float:
        """1 where the normalized prediction begins with the normalized reference, else 0."""
        return float(normalized(said).startswith(normalized(wanted)))
