"""Metrics of multiple-choice answers: the choice with the highest log-probability is the prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from harness.contract import AnswerForm, ChoiceOutcome
from harness.errors import MetricError
from harness.metrics.base import FloatArray, Metric, label, metric, per_item
from harness.metrics.text import bag_f1, normalized

Normalization = Literal["none", "characters", "bytes", "tokens", "pmi"]


def predicted(outcome: ChoiceOutcome, normalize: Normalization) -> int:
    """Index of the choice with the highest normalized log-probability (see `normalized_logprobs`); the first on ties.

    Raises:
        MetricError: a choice has length zero, or pmi is used without a prior.
    """
    return int(np.argmax(normalized_logprobs(outcome, normalize)))


def normalized_logprobs(outcome: ChoiceOutcome, normalize: Normalization) -> FloatArray:
    """Normalized log-probabilities of the choices in nats [choices].

    `characters`, `bytes` and `tokens` divide by the choice's length; in characters it is lm-evaluation-harness's `acc_norm`,
    in UTF-8 bytes its `acc_bytes`. `pmi` subtracts the choice's log-probability without the question: pointwise mutual
    information (Holtzman et al., 2021, "Surface form competition"), lm-evaluation-harness's `acc_mutual_info`.

    Raises:
        MetricError: a choice has length zero, or pmi is used without a prior.
    """
    logprobs = np.asarray(outcome.logprobs, dtype=np.float64)
    if normalize == "none":
        return logprobs
    if normalize == "pmi":
        return np.subtract(logprobs, _prior(outcome))
    lengths = _lengths(outcome, normalize)
    if 0 in lengths:
        raise MetricError(
            f"Choice {lengths.index(0)} of {list(outcome.choices)!r} has no {normalize} to divide its log-probability by.",
            "Give every choice a text, or set normalize: none.",
        )
    return np.divide(logprobs, lengths)


def _prior(outcome: ChoiceOutcome) -> tuple[float, ...]:
    if outcome.prior is None:
        raise MetricError(
            f"normalize: pmi needs the probability of the choices {list(outcome.choices)!r} without the question.",
            "Add `unconditional: TEXT` to the template: the prompt before a choice without the question.",
        )
    return outcome.prior


def _lengths(outcome: ChoiceOutcome, normalize: Normalization) -> list[int]:
    if normalize == "tokens":
        return list(outcome.tokens)
    if normalize == "bytes":
        return [len(choice.encode("utf-8", "surrogatepass")) for choice in outcome.choices]
    return [len(choice) for choice in outcome.choices]


@dataclass(frozen=True)
class ChoiceMetric(Metric[ChoiceOutcome]):
    """A metric that reads which choice the model prefers.

    Options:
        normalize: how the log-probabilities of choices are normalized, see `predicted`.
    """

    form: ClassVar[AnswerForm] = "choices"
    normalize: Normalization = "none"

    def predicted(self, outcome: ChoiceOutcome) -> int:
        """Index of the preferred choice."""
        return predicted(outcome, self.normalize)

    def is_correct(self, outcome: ChoiceOutcome) -> bool:
        """Whether the preferred choice is the target, or one of several."""
        return self.predicted(outcome) in outcome.targets


@metric("accuracy")
@dataclass(frozen=True)
class Accuracy(ChoiceMetric):
    """Share of items whose prediction is the target, or one of several."""

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Hit (0 or 1) and count: array [items, 2]."""
        return per_item([float(self.is_correct(outcome)) for outcome in outcomes])


@dataclass(frozen=True)
class ChoiceTextMetric(ChoiceMetric):
    """A mean over items of the best comparison between the text of the predicted choice and those of the correct choices.

    Options:
        normalize: as for accuracy.
        texts: label with a list of texts, one for each choice, that are compared instead of the choices: for example names, if
            the choices are sentences with these names.
    """

    texts: str | None = None

    def compare(self, said: str, correct: str) -> float:
        """A score of one pair of texts."""
        raise NotImplementedError

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Score and count: array [items, 2].

        Raises:
            MetricError: the label `texts` is missing, or does not have a text for each choice.
        """
        return per_item([self._item(outcome) for outcome in outcomes])

    def _item(self, outcome: ChoiceOutcome) -> float:
        texts = self._texts(outcome)
        return max(self.compare(texts[self.predicted(outcome)], texts[target]) for target in outcome.targets)

    def _texts(self, outcome: ChoiceOutcome) -> Sequence[str]:
        if self.texts is None:
            return outcome.choices
        texts: Sequence[str] = label(outcome, self.texts, self)
        if isinstance(texts, str) or len(texts) != len(outcome.choices):
            raise MetricError(
                f"Metric {self.name!r}: the label {self.texts!r} is {texts!r}, but an item has {len(outcome.choices)} choices.",
                "Give a list with one text for each choice.",
            )
        return texts


@metric("choice_em")
@dataclass(frozen=True)
class ChoiceExactMatch(ChoiceTextMetric):
    """Share of items whose predicted choice equals a correct one after SQuAD's normalization (ReCoRD's EM).

    It differs from accuracy if choices differ only in case, punctuation, articles or spacing.
    """

    def compare(self, said: str, correct: str) -> float:
        """1 if the normalized texts are equal, otherwise 0."""
        return float(normalized(said) == normalized(correct))


@metric("choice_f1")
@dataclass(frozen=True)
class ChoiceF1(ChoiceTextMetric):
    """Mean over items of the F1 of the predicted choice's words with the best correct choice (ReCoRD's F1).

    Words as SQuAD normalizes them. Source: Zhang et al. (2018), "ReCoRD", and its evaluation script.
    """

    def compare(self, said: str, correct: str) -> float:
        """F1 of the bags of words."""
        return bag_f1(said, correct)


@metric("mc2")
@dataclass(frozen=True)
class Mc2(Metric[ChoiceOutcome]):
    """Mean over items of the probability of all correct choices, normalized over all choices.

    Source: Lin et al. (2022), "TruthfulQA", MC2.
    """

    form: ClassVar[AnswerForm] = "choices"

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Probability mass and count: array [items, 2]."""
        return per_item([float(probabilities(outcome)[sorted(set(outcome.targets))].sum()) for outcome in outcomes])


def probabilities(outcome: ChoiceOutcome, normalize: Normalization = "none") -> FloatArray:
    """Probability of each choice, normalized over the choices [choices]: the softmax of `normalized_logprobs`."""
    logprobs = normalized_logprobs(outcome, normalize)
    shares = np.exp(logprobs - logprobs.max())
    result: FloatArray = shares / shares.sum()
    return result


@dataclass(frozen=True)
class ConfusionMetric(ChoiceMetric):
    """A function of the margins and the diagonal of the confusion matrix.

    The matrices themselves would be too large: 74 GiB for 10,000 items with 1,000 choices.
    """

    min_items: ClassVar[int] = 2

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Whether each class is the item's target, its prediction, and both: array [items, 3 · classes], each class of 0 or 1.

        The number of classes is the largest number of choices of any item.
        """
        classes = max((len(outcome.logprobs) for outcome in outcomes), default=0)
        table = np.zeros((len(outcomes), 3, classes))
        targets = np.array([outcome.target for outcome in outcomes], dtype=np.intp)
        predictions = np.array([self.predicted(outcome) for outcome in outcomes], dtype=np.intp)
        rows = np.arange(len(outcomes))
        table[rows, 0, targets] = table[rows, 1, predictions] = 1.0
        table[rows, 2, targets] = targets == predictions
        return table.reshape(len(outcomes), 3 * classes)

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """None: a single item has no such score."""
        return None

    def pool(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Items of several tasks; a task with fewer classes gets zeros for the missing ones."""
        tables = [_margins(part) for part in parts]
        classes = max(_classes(table) for table in tables)
        return np.concatenate([_widen(table, classes) for table in tables])


def _classes(totals: FloatArray) -> int:
    return int(totals.shape[-1]) // 3


def _widen(table: FloatArray, classes: int) -> FloatArray:
    missing = classes - _classes(table)
    return np.pad(table.reshape(len(table), 3, -1), ((0, 0), (0, 0), (0, missing))).reshape(len(table), 3 * classes)


def _margins(table: FloatArray) -> FloatArray:
    """Convert statistics of older results, in which an item is a cell of the flattened matrix (target by prediction), to margins.

    If the width fits both forms, the sums decide: 1 for a cell, 2 or more for an item's target and prediction.
    """
    classes = math.isqrt(table.shape[1])
    if not len(table) or classes**2 != table.shape[1] or (table.sum(axis=1) != 1.0).any():
        return table
    cells = table.reshape(len(table), classes, classes)
    return np.concatenate([cells.sum(axis=2), cells.sum(axis=1), np.diagonal(cells, axis1=1, axis2=2)], axis=1)


def _counts(totals: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How often each class is target, prediction, and both: three arrays [..., classes]."""
    split = totals.reshape(*totals.shape[:-1], 3, _classes(totals))
    return split[..., 0, :], split[..., 1, :], split[..., 2, :]


@metric("mcc")
@dataclass(frozen=True)
class MatthewsCorrelation(ConfusionMetric):
    """Matthews correlation of prediction and target, for two or more classes; 0 if either is constant.

    Gorodkin (2004), "Comparing two K-category assignments by a K-category correlation coefficient"; equals
    scikit-learn's `matthews_corrcoef`.
    """

    low: ClassVar[float] = -1.0
    unit: ClassVar[str] = "correlation"

    def score(self, totals: FloatArray) -> FloatArray:
        """Correlations [...] from summed statistics [..., 3 · classes]."""
        targets, predictions, hits = _counts(totals)
        items = predictions.sum(axis=-1)
        covariance = hits.sum(axis=-1) * items - (targets * predictions).sum(axis=-1)
        variances = (items**2 - (predictions**2).sum(axis=-1)) * (items**2 - (targets**2).sum(axis=-1))
        defined = variances > 0
        return np.where(defined, covariance / np.sqrt(np.where(defined, variances, 1.0)), 0.0)


def _class_f1(totals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """F1 of each class [..., classes], 0 if undefined; and the number of targets and predictions of each class."""
    targets, predictions, hits = _counts(totals)
    involved = targets + predictions
    return 2.0 * hits / np.maximum(involved, 1.0), involved


@metric("f1")
@dataclass(frozen=True)
class BinaryF1(ConfusionMetric):
    """F1 of one class against the rest; 0 if that class is neither target nor prediction.

    Options:
        positive: index of the class.
    """

    positive: int = 1

    def __post_init__(self) -> None:
        if self.positive < 0:
            raise ValueError(f"option 'positive' is an index from 0, not {self.positive}")

    def score(self, totals: FloatArray) -> FloatArray:
        """F1 [...] from summed statistics [..., 3 · classes].

        Raises:
            MetricError: no item has a choice of index `positive`.
        """
        if self.positive >= _classes(totals):
            raise MetricError(
                f"Metric 'f1': option 'positive' is {self.positive}, but the items have at most {_classes(totals)} choices.",
                "Choices are counted from 0.",
            )
        f1, _ = _class_f1(totals)
        result: FloatArray = f1[..., self.positive]
        return result


@metric("f1_macro")
@dataclass(frozen=True)
class MacroF1(ConfusionMetric):
    """Unweighted mean of the F1 of each class that is a target or a prediction at least once, as scikit-learn averages."""

    def score(self, totals: FloatArray) -> FloatArray:
        """F1 [...] from summed statistics [..., 3 · classes]."""
        f1, involved = _class_f1(totals)
        with np.errstate(invalid="ignore"):
            result: FloatArray = f1.sum(axis=-1) / (involved > 0).sum(axis=-1)
        return result
