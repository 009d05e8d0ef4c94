"""Correlation of predicted numbers with a number that the task gives as a label (STS-B)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from harness.contract import AnswerForm, ChoiceOutcome, TextOutcome
from harness.errors import MetricError
from harness.metrics.base import AnyOutcome, FloatArray, Metric, label, metric
from harness.metrics.choice import probabilities
from harness.metrics.numbers import number_in

_CONSTANT = 1e-12  # a variance below this share of the mean square is rounding


@dataclass(frozen=True, kw_only=True)
class Correlation(Metric[AnyOutcome]):
    """Pearson's correlation of a prediction with a label, of the numbers or of their ranks.

    Ranks (Spearman) are computed once over all items of the task, with mean ranks for ties; resampling draws pairs of ranks and
    does not rank them again. Pooled tasks keep their own ranks, as shares of their items.

    Options:
        gold: label with the correct number.
    """

    low: ClassVar[float] = -1.0
    unit: ClassVar[str] = "correlation"
    min_items: ClassVar[int] = 3
    ranked: ClassVar[bool] = False
    gold: str

    def number(self, outcome: AnyOutcome) -> float:
        """The predicted number."""
        raise NotImplementedError

    def statistics(self, outcomes: Sequence[AnyOutcome]) -> FloatArray:
        """Count, prediction x, label y, x², y² and xy: array [items, 6].

        Raises:
            MetricError: an item lacks the label, or the label is not a number.
        """
        said = np.array([self.number(outcome) for outcome in outcomes], dtype=np.float64)
        wanted = np.array([self._wanted(outcome) for outcome in outcomes], dtype=np.float64)
        if self.ranked:
            said, wanted = _ranks(said), _ranks(wanted)
        return np.stack([np.ones_like(said), said, wanted, said**2, wanted**2, said * wanted], axis=1)

    def score(self, totals: FloatArray) -> FloatArray:
        """Correlations [...] from summed statistics [..., 6]; NaN if the predictions or the labels are constant."""
        count, said, wanted, said_squares, wanted_squares, products = np.moveaxis(totals, -1, 0)
        variances = [count * said_squares - said**2, count * wanted_squares - wanted**2]
        floors = [_CONSTANT * count * said_squares, _CONSTANT * count * wanted_squares]
        defined = (variances[0] > floors[0]) & (variances[1] > floors[1])
        spread = np.sqrt(np.where(defined, variances[0], 1.0)) * np.sqrt(np.where(defined, variances[1], 1.0))
        return np.where(defined, np.clip((count * products - said * wanted) / spread, -1.0, 1.0), np.nan)

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """None: one item has no correlation."""
        return None

    def no_interval(self, statistics: FloatArray) -> str | None:
        """The reason, if there is no correlation."""
        if np.isfinite(self.score(statistics.sum(axis=0))):
            return None
        return f"no correlation: the predictions or the labels {self.gold!r} are all equal"

    def _wanted(self, outcome: AnyOutcome) -> float:
        value = label(outcome, self.gold, self)
        number = _float(value)
        if number is None:
            raise MetricError(f"Metric {self.name!r}: the label {self.gold!r} is {value!r}, not a number.", "Correct the task's labels.")
        return number


def _float(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _ranks(values: FloatArray) -> FloatArray:
    """Mean ranks as shares of the number of values, between 0 and 1 [values]."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    result: FloatArray = middles[places] / max(len(values), 1)
    return result


@dataclass(frozen=True, kw_only=True)
class _Generated(Correlation[TextOutcome]):
    form: ClassVar[AnswerForm] = "generate"
    which: Literal["first", "last"] = "first"
    missing: float = -1.0

    def number(self, outcome: TextOutcome) -> float:
        predicted = _float(number_in(outcome.prediction, self.which))
        return self.missing if predicted is None else predicted


@metric("pearson")
@dataclass(frozen=True, kw_only=True)
class Pearson(_Generated):
    """Pearson's correlation of the number in a generated text with a label.

    Options:
        gold: label with the correct number.
        which: the first or the last number in the text.
        missing: value of a text without a number; -1 as for T5 on STS-B (Raffel et al., 2020).
    """


@metric("spearman")
@dataclass(frozen=True, kw_only=True)
class Spearman(_Generated):
    """Spearman's rank correlation of the number in a generated text with a label.

    Ranks are computed once over all items, and the interval resamples pairs of ranks.

    Options:
        gold, which, missing: as for pearson.
    """

    ranked: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class _Expected(Correlation[ChoiceOutcome]):
    form: ClassVar[AnswerForm] = "choices"

    def number(self, outcome: ChoiceOutcome) -> float:
        numbers = [_float(choice) for choice in outcome.choices]
        if None in numbers:
            raise MetricError(
                f"Metric {self.name!r} needs choices that are numbers; {outcome.choices[numbers.index(None)]!r} is not a number.",
                "Write every choice of the task as a plain number.",
            )
        return float(probabilities(outcome) @ np.array(numbers, dtype=np.float64))


@metric("expected_pearson")
@dataclass(frozen=True, kw_only=True)
class ExpectedPearson(_Expected):
    """Pearson's correlation of the expected number with a label, if the choices are numbers.

    The expectation is over the choices' probabilities, normalized over the choices.

    Options:
        gold: label with the correct number.
    """


@metric("expected_spearman")
@dataclass(frozen=True, kw_only=True)
class ExpectedSpearman(_Expected):
    """Spearman's rank correlation of the expected number with a label, if the choices are numbers.

    Ranks are computed once over all items, and the interval resamples pairs of ranks.

    Options:
        gold: label with the correct number.
    """

    ranked: ClassVar[bool] = True
