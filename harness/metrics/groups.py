"""Metrics that score several items as one: the answers to a question, the two halves of a pair, the passages of a query.

Their statistics have one row per group, so n counts groups, and resampling draws groups: items of a group are not independent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.contract import AnswerForm, ChoiceOutcome, Family
from harness.errors import MetricError
from harness.metrics.base import FloatArray, Metric, label, metric, per_item
from harness.metrics.choice import Normalization, predicted


@dataclass(frozen=True, kw_only=True)
class GroupMetric(Metric[ChoiceOutcome]):
    """A mean over groups of items.

    Options:
        by: label whose equal values make a group.
    """

    form: ClassVar[AnswerForm] = "choices"
    smallest: ClassVar[int] = 1
    by: str

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Score and count of each group, in the order in which groups first appear: array [groups, 2].

        Raises:
            MetricError: an item lacks the label.
        """
        return per_item([self.score_group([outcomes[place] for place in group]) for group in self._groups(outcomes)])

    def sources(self, outcomes: Sequence[ChoiceOutcome]) -> Sequence[int]:
        """Index of the first item of each group."""
        return [group[0] for group in self._groups(outcomes)]

    def _groups(self, outcomes: Sequence[ChoiceOutcome]) -> list[list[int]]:
        """Indices of the items of each group that is large enough."""
        groups: dict[str, list[int]] = {}
        for place, outcome in enumerate(outcomes):
            groups.setdefault(json.dumps(label(outcome, self.by, self), sort_keys=True, default=str), []).append(place)
        return [group for group in groups.values() if len(group) >= self.smallest]

    def score_group(self, group: Sequence[ChoiceOutcome]) -> float:
        """The score of one group, of at least `smallest` items."""
        raise NotImplementedError

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """None: groups are scored, not items."""
        return None

    def refused(self, statistics: FloatArray) -> str | None:
        """The reason, if there is no group to score."""
        return self.no_interval(statistics)

    def no_interval(self, statistics: FloatArray) -> str | None:
        """The reason, if there is no group to score."""
        return None if len(statistics) else f"no group of {self.smallest} or more items with the same {self.by}"


@metric("all_correct")
@dataclass(frozen=True, kw_only=True)
class AllCorrect(GroupMetric):
    """Share of groups whose items are all correct; MultiRC's exact match, by question (Khashabi et al., 2018, as in SuperGLUE).

    Options:
        by: label whose equal values make a group.
        normalize: as for accuracy.
    """

    normalize: Normalization = "none"

    def score_group(self, group: Sequence[ChoiceOutcome]) -> float:
        """1 if every item is correct, otherwise 0."""
        return float(all(predicted(outcome, self.normalize) in outcome.targets for outcome in group))


@metric("agreement")
@dataclass(frozen=True, kw_only=True)
class Agreement(GroupMetric):
    """Share of groups of two or more items whose predictions are all equal; AX-g's gender parity (Rudinger et al., 2018).

    Single items, such as half of a pair that --limit cut, are excluded.

    Options:
        by: label whose equal values make a group.
        normalize: as for accuracy.
    """

    family: ClassVar[Family] = "bias"
    smallest: ClassVar[int] = 2
    normalize: Normalization = "none"

    def score_group(self, group: Sequence[ChoiceOutcome]) -> float:
        """1 if all items get the same prediction, otherwise 0."""
        return float(len({predicted(outcome, self.normalize) for outcome in group}) == 1)


@metric("reciprocal_rank")
@dataclass(frozen=True, kw_only=True)
class ReciprocalRank(GroupMetric):
    """Mean over queries of 1 / rank of the first relevant passage, 0 if it is not among the first k (RR@10 in MS MARCO).

    An item is a passage of a query. Passages are ranked by the log-odds of the choice `positive`, and are relevant if it is
    the target. A passage with the same log-odds as the first relevant one ranks before it, so that a model without
    preferences gains nothing from the order of the data. A query without a relevant passage scores 0.

    Options:
        by: label that names the query.
        k: number of ranks that count.
        positive: index of the choice for a relevant passage.
    """

    k: int = 10
    positive: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"option 'k' is at least 1, not {self.k}")
        if self.positive < 0:
            raise ValueError(f"option 'positive' is an index from 0, not {self.positive}")

    def score_group(self, group: Sequence[ChoiceOutcome]) -> float:
        """Reciprocal rank of one query."""
        odds = np.array([self._log_odds(outcome) for outcome in group])
        relevant = np.array([self.positive in outcome.targets for outcome in group])
        if not relevant.any():
            return 0.0
        rank = 1 + int((odds[~relevant] >= odds[relevant].max()).sum())
        return 1.0 / rank if rank <= self.k else 0.0

    def _log_odds(self, outcome: ChoiceOutcome) -> float:
        others = [value for index, value in enumerate(outcome.logprobs) if index != self.positive]
        if not others or len(others) == len(outcome.logprobs):
            raise MetricError(
                f"Metric {self.name!r}: option 'positive' is {self.positive}, but an item has the choices {list(outcome.choices)!r}.",
                "Choices are counted from 0; there must be at least one other choice.",
            )
        return float(outcome.logprobs[self.positive] - np.logaddexp.reduce(others))
