"""Metrics that judge several items as one: the answers to one question, the two halves of a pair, the passages of a query.

Their statistics have one row per group, so n counts groups, and groups are what is resampled: items of one group are not
independent of each other.
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
        return per_item([self.judge([outcomes[place] for place in group]) for group in self._groups(outcomes)])

    def sources(self, outcomes: Sequence[ChoiceOutcome]) -> Sequence[int]:
        """Place of each group's first item."""
        return [group[0] for group in self._groups(outcomes)]

    def _groups(self, outcomes: Sequence[ChoiceOutcome]) -> list[list[int]]:
        """Places of the items of each group that is large enough."""
        groups: dict[str, list[int]] = {}
        for place, outcome in enumerate(outcomes):
            groups.setdefault(json.dumps(label(outcome, self.by, self), sort_keys=True, default=str), []).append(place)
        return [group for group in groups.values() if len(group) >= self.smallest]

    def judge(self, group: Sequence[ChoiceOutcome]) -> float:
        """The score of one group, of at least `smallest` items."""
        raise NotImplementedError

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """None: groups are scored, not items."""
        return None

    def refused(self, statistics: FloatArray) -> str | None:
        """The reason, where there is no group to judge."""
        return self.no_interval(statistics)

    def no_interval(self, statistics: FloatArray) -> str | None:
        """The reason, where there is no group to judge."""
        return None if len(statistics) else f"no group of {self.smallest} or more items with the same {self.by}"


@metric("all_correct")
@dataclass(frozen=True, kw_only=True)
class AllCorrect(GroupMetric):
    """Share of groups whose items are all right; MultiRC's exact match, by question (Khashabi et al., 2018, as in SuperGLUE).

    Options:
        by: label whose equal values make a group.
        normalize: as for accuracy.
    """

    normalize: Normalization = "none"

    def judge(self, group: Sequence[ChoiceOutcome]) -> float:
        """1 where every item is right, else 0."""
        return float(all(predicted(outcome, self.normalize) in outcome.targets for outcome in group))


@metric("agreement")
@dataclass(frozen=True, kw_only=True)
class Agreement(GroupMetric):
    """Share of groups of two or more items whose predictions are all equal; AX-g's gender parity (Rudinger et al., 2018).

    Items that stand alone, as half a pair that a limit cut does, are left out.

    Options:
        by: label whose equal values make a group.
        normalize: as for accuracy.
    """

    family: ClassVar[Family] = "bias"
    smallest: ClassVar[int] = 2
    normalize: Normalization = "none"

    def judge(self, group: Sequence[ChoiceOutcome]) -> float:
        """1 where every item gets the same prediction, else 0."""
        return float(len({predicted(outcome, self.normalize) for outcome in group}) == 1)


@metric("reciprocal_rank")
@dataclass(frozen=True, kw_only=True)
class ReciprocalRank(GroupMetric):
    """Mean over queries of 1 / rank of the first relevant passage, 0 where it is not among the first k (RR@10 in MS MARCO).

    An item is a passage of a query. Passages are ranked by the log-odds of the choice `positive`, and are relevant where
    it is the target. A passage as likely as the first relevant one stands before it, so that a model which tells nothing
    apart earns nothing from the order of the data. A query without a relevant passage counts 0.

    Options:
        by: label that names the query.
        k: how many ranks count.
        positive: index of the choice that says a passage is relevant.
    """

    k: int = 10
    positive: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"option 'k' is at least 1, not {self.k}")
        if self.positive < 0:
            raise ValueError(f"option 'positive' is an index from 0, not {self.positive}")

    def judge(self, group: Sequence[ChoiceOutcome]) -> float:
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
                "Choices are counted from 0; it takes that one and at least one other.",
            )
        return float(outcome.logprobs[self.positive] - np.logaddexp.reduce(others))
