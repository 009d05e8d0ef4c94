"""Calibration: HELM's measures (Liang et al., 2022), and details that HELM leaves open.

An item's confidence is the probability of its predicted choice. Bins and ranks come from the confidences of all items of a
task; resampling and pairing do not change them, and pooled tasks keep their own. Metrics with HELM's names follow HELM's
definitions: `ece_10_bin`, `ece_1_bin`, `selective_acc@10` and `selective_cov_acc_area` equal the package
uncertainty-calibration 0.1.4, which HELM calls.

An expected calibration error is a sum of absolute differences, so chance alone keeps it above 0, especially with few
items. Its percentile interval is higher still, and does not reach 0 even for a calibrated model: compare it with another system's.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from harness.contract import ChoiceOutcome, Family
from harness.metrics.base import FloatArray, metric, per_item
from harness.metrics.choice import ChoiceMetric, probabilities

Confidence = Literal["joint", "renormalized"]

RELIABLE = 300
"""Fewest items for which HELM considers an expected calibration error reliable."""

_BINS = 10
_FOLDS = 5
_LOG_ODDS_LIMIT = 1e-12  # probabilities are clipped this close to 0 and 1, as in HELM


@dataclass(frozen=True)
class CalibrationMetric(ChoiceMetric):
    """A metric of the probability that a model gives to its choice.

    Options:
        normalize: how the log-probabilities of choices are normalized, see `predicted`.
        confidence: "joint" is the probability of the predicted choice's text, exp of its summed log-probability, as HELM takes
            it; "renormalized" is its share of the choices together, the softmax of the normalized log-probabilities.
    """

    family: ClassVar[Family] = "calibration"
    confidence: Confidence = "joint"

    def probabilities(self, outcome: ChoiceOutcome) -> FloatArray:
        """Probability of each choice [choices]; joint probabilities do not add up to 1."""
        if self.confidence == "joint":
            return np.minimum(np.exp(np.asarray(outcome.logprobs, dtype=np.float64)), 1.0)
        return probabilities(outcome, self.normalize)

    def confidences(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Probability of each item's predicted choice [items]."""
        return np.array([self.probabilities(outcome)[self.predicted(outcome)] for outcome in outcomes], dtype=np.float64)

    def hits(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Whether each item's predicted choice is correct, 0 or 1 [items]."""
        return np.array([self.is_correct(outcome) for outcome in outcomes], dtype=np.float64)


@dataclass(frozen=True)
class SampleCalibration(CalibrationMetric):
    """A calibration metric that single items and small samples do not have.

    Options:
        normalize, confidence: as for every calibration metric.
        small: also compute it for samples too small for HELM's bins: under 300 items, or under 10 bins.
    """

    small: bool = False

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """None: a single answer is correct or incorrect, not calibrated."""
        return None

    def refused(self, statistics: FloatArray) -> str | None:
        """The reason, if there are too few items."""
        items = len(statistics)
        if items >= RELIABLE or (self.small and items):
            return None
        return f"only {items} items; calibration needs {RELIABLE} (--small-samples, or `small: true` in a task, allows fewer)"


@dataclass(frozen=True)
class CalibrationError(SampleCalibration):
    """An expected calibration error: over bins, the absolute difference of mean confidence and accuracy, weighted by their items."""

    higher_is_better: ClassVar[bool] = False
    pulled: ClassVar[bool] = True
    bins: ClassVar[int] = _BINS

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Confidence, correct (0 or 1) and count in the item's bin, 0 in the others: array [items, bins x 3]."""
        return _binned(self.confidences(outcomes), self.hits(outcomes), self.bins)

    def score(self, totals: FloatArray) -> FloatArray:
        """Errors [...] from summed statistics [..., bins x 3]."""
        confidence, correct, count = _bins(totals)
        with np.errstate(invalid="ignore", divide="ignore"):
            result: FloatArray = np.abs(confidence - correct).sum(axis=-1) / count.sum(axis=-1)
        return result

    def gather(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Statistics of all items in new, common bins."""
        confidence, correct, _ = (np.concatenate([_bins(part)[which].sum(axis=1) for part in parts]) for which in range(3))
        return _binned(confidence, correct, self.bins)

    def beside(self, statistics: FloatArray) -> Mapping[str, float]:
        """`by chance`: approximately the error of a calibrated model with these confidences, from the mean of |normal| in each bin."""
        confidence, _, count = _bins(statistics)
        variances = (confidence * (count - confidence)).sum(axis=0)
        return {"by chance": float(np.sqrt(2.0 / np.pi * variances).sum() / count.sum())}

    def refused(self, statistics: FloatArray) -> str | None:
        """The reason, if there are too few items, or too few bins because of equal confidences."""
        if reason := super().refused(statistics):
            return reason
        filled = len(reliability(statistics).count)
        if filled >= self.bins or self.small:
            return None
        return f"equal confidences leave only {filled} of {self.bins} bins (--small-samples, or `small: true` in a task, allows fewer)"


@metric("ece_10_bin")
@dataclass(frozen=True)
class EqualMassError(CalibrationError):
    """HELM's expected calibration error: top label, 10 bins of equally many items, absolute differences.

    The sorted confidences are split into 10 nearly equal chunks; a bin ends half-way between the last value of a chunk and the
    first of the next, and equal ends are merged. Items are binned by these ends, so that equal confidences share a bin.

    Options:
        normalize, confidence: as for every calibration metric.
        small: also compute it for under 300 items, or if equal confidences leave under 10 bins.
    """


@metric("ece_1_bin")
@dataclass(frozen=True)
class OneBinError(CalibrationError):
    """HELM's calibration error in one bin: the absolute difference of mean confidence and accuracy.

    Options:
        normalize, confidence: as for every calibration metric.
        small: also compute it for under 300 items.
    """

    bins: ClassVar[int] = 1


@metric("platt_ece")
@dataclass(frozen=True)
class PlattError(CalibrationError):
    """`ece_10_bin` after Platt scaling, each item scaled by a fit to other items: the error that scaling cannot remove.

    A fixed shuffle assigns items to 5 folds; a fold's confidences are scaled by the logistic regression of correctness on
    log-odds, fitted to the other folds. HELM's `platt_ece_10_bin` fits and scores the same items, so it is lower; it is 0 if all
    answers are correct or all are incorrect, in which case there is no score here.

    Options:
        normalize, confidence: as for every calibration metric.
        small: also compute it for under 300 items, or if equal confidences leave under 10 bins.
    """

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Scaled confidence, correct (0 or 1) and count in the item's bin, 0 in the others: array [items, bins x 3]."""
        correct = self.hits(outcomes)
        return _binned(_scaled_by_others(self.confidences(outcomes), correct), correct, self.bins)

    def refused(self, statistics: FloatArray) -> str | None:
        """The reason, if there are too few items or bins, or if all answers are correct or all are incorrect."""
        _, correct, count = _bins(statistics.sum(axis=0))
        if correct.sum() in (0.0, count.sum()):
            return f"there is nothing to fit: {int(correct.sum())} of {int(count.sum())} answers are correct"
        return super().refused(statistics)


@dataclass(frozen=True)
class Selective(SampleCalibration):
    """Accuracy weighted by the rank of the model's confidence. Items of equal confidence share the mean weight of their ranks.

    HELM's sort decides the order of equal confidences; this is the mean over all orders.
    """

    def weights(self, items: int) -> FloatArray:
        """The weight of each rank, the most confident item first [items]."""
        raise NotImplementedError

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Weight if correct, and weight: array [items, 2]."""
        weights = _by_rank(self.confidences(outcomes), self.weights(len(outcomes)))
        return np.stack([weights * self.hits(outcomes), weights], axis=1)


@metric("selective_acc@10")
@dataclass(frozen=True)
class SelectiveAccuracy(Selective):
    """HELM's accuracy over the 10 % of items with the highest confidence: int(N / 10) + 1 of N.

    Options:
        normalize, confidence: as for every calibration metric.
        small: also compute it for under 300 items.
    """

    def weights(self, items: int) -> FloatArray:
        """1 for the ranks that count, 0 for the others [items]."""
        return (np.arange(items) <= int(0.1 * items)).astype(np.float64)


@metric("selective_cov_acc_area")
@dataclass(frozen=True)
class SelectiveArea(Selective):
    """HELM's area under accuracy by coverage: the mean over k of the accuracy over the k items with the highest confidence.

    Options:
        normalize, confidence: as for every calibration metric.
        small: also compute it for under 300 items.
    """

    def weights(self, items: int) -> FloatArray:
        """Rank r counts in the accuracies over r and more items: the sum of 1 / k for k from r to N [items]."""
        shares = 1.0 / np.arange(1, items + 1)
        result: FloatArray = shares[::-1].cumsum()[::-1]
        return result


@metric("brier")
@dataclass(frozen=True)
class Brier(CalibrationMetric):
    """Mean squared error of the choices' probabilities, summed over the choices: 0 at best, 2 at worst.

    Brier (1950), "Verification of forecasts expressed in terms of probability"; lm-evaluation-harness's `brier_score`. Several
    correct choices are one event, with their probabilities added. It is a plain mean over items, so it has no minimum sample.

    Options:
        normalize: as for accuracy; only with renormalized confidence.
        confidence: "renormalized" (the softmax over the choices) or "joint" (the texts' own probabilities).
    """

    higher_is_better: ClassVar[bool] = False
    high: ClassVar[float] = 2.0
    unit: ClassVar[str] = "squared error"
    confidence: Confidence = "renormalized"

    def __post_init__(self) -> None:
        if self.confidence == "joint" and self.normalize != "none":
            raise ValueError("option 'normalize' requires confidence: renormalized; joint probabilities are not normalized")

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Squared error and count: array [items, 2]."""
        return per_item([self._item(outcome) for outcome in outcomes])

    def _item(self, outcome: ChoiceOutcome) -> float:
        shares, correct = self.probabilities(outcome), sorted(set(outcome.targets))
        incorrect = np.delete(shares, correct)
        return float((1.0 - shares[correct].sum()) ** 2 + (incorrect**2).sum())


@dataclass(frozen=True, slots=True)
class Reliability:
    """The points of a reliability diagram by increasing confidence, without empty bins.

    Attributes:
        confidence: mean confidence [bins].
        accuracy: share of correct answers [bins].
        count: number of items [bins].
    """

    confidence: FloatArray
    accuracy: FloatArray
    count: NDArray[np.int64]


def reliability(statistics: FloatArray) -> Reliability:
    """The reliability diagram from statistics [items, bins x 3] of `ece_10_bin`, `ece_1_bin` or `platt_ece`.

    DeGroot and Fienberg (1983), "The comparison and evaluation of forecasters".
    """
    confidence, correct, count = _bins(statistics.sum(axis=0))
    filled = count > 0
    return Reliability(confidence[filled] / count[filled], correct[filled] / count[filled], count[filled].astype(np.int64))


def platt(confidence: FloatArray, correct: FloatArray) -> tuple[float, float]:
    """Slope and intercept of Platt's scaling: the logistic regression of correctness on the log-odds of confidence.

    Fitted without regularization except for a penalty of 1e-10 / 2 times the squared slope, which keeps it finite if the
    confidences separate correct from incorrect answers: scikit-learn's `LogisticRegression(C=1e10)`, which HELM uses. Platt (1999),
    "Probabilistic outputs for support vector machines".

    Args:
        confidence: between 0 and 1 [items].
        correct: 0 or 1 [items].
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    design = np.stack([_log_odds(confidence), np.ones_like(confidence)], axis=1)
    penalty = np.array([1e-10, 0.0])

    def loss(line: FloatArray) -> float:
        scores = design @ line
        return float((np.logaddexp(0.0, scores) - correct * scores).sum() + penalty @ line**2 / 2)

    def gradient(line: FloatArray) -> FloatArray:
        result: FloatArray = design.T @ (expit(design @ line) - correct) + penalty * line
        return result

    def hessian(line: FloatArray) -> FloatArray:
        shares = expit(design @ line)
        result: FloatArray = (design.T * (shares * (1.0 - shares))) @ design + np.diag(penalty)
        return result

    slope, intercept = minimize(loss, np.zeros(2), jac=gradient, hess=hessian, method="trust-exact").x
    return float(slope), float(intercept)


def _log_odds(confidence: FloatArray) -> FloatArray:
    inside = np.clip(confidence, _LOG_ODDS_LIMIT, 1.0 - _LOG_ODDS_LIMIT)
    result: FloatArray = np.log(inside / (1.0 - inside))
    return result


def _scaled_by_others(confidence: FloatArray, correct: FloatArray) -> FloatArray:
    """Confidences scaled by Platt's fit to the other folds [items]; 1 or 0 if those are all correct or all incorrect."""
    folds = np.random.default_rng(0).permutation(len(confidence)) % _FOLDS
    scaled = np.zeros_like(confidence)
    for fold in range(min(_FOLDS, len(confidence))):
        held_out, others = folds == fold, folds != fold
        scaled[held_out] = _scaled(confidence[held_out], confidence[others], correct[others])
    return scaled


def _scaled(confidence: FloatArray, known: FloatArray, correct: FloatArray) -> FloatArray:
    from scipy.special import expit

    if correct.all() or not correct.any():
        return np.full_like(confidence, float(correct.all()))
    slope, intercept = platt(known, correct)
    result: FloatArray = expit(slope * _log_odds(confidence) + intercept)
    return result


def _binned(confidence: FloatArray, correct: FloatArray, bins: int) -> FloatArray:
    """One-hot bin times confidence, correctness and 1: array [items, bins x 3]."""
    items = len(confidence)
    table = np.zeros((items, bins, 3))
    table[np.arange(items), np.searchsorted(_ends(confidence, bins), confidence)] = np.stack([confidence, correct, np.ones(items)], axis=1)
    return table.reshape(items, bins * 3)


def _ends(confidence: FloatArray, bins: int) -> FloatArray:
    """Upper ends of all bins but the last, increasing and distinct [at most bins - 1]."""
    chunks = [chunk for chunk in np.array_split(np.sort(confidence), bins) if len(chunk)]
    return np.unique([(low[-1] + high[0]) / 2 for low, high in itertools.pairwise(chunks)])


def _bins(totals: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Summed confidence, correct answers and items of each bin [..., bins]."""
    table = totals.reshape(*totals.shape[:-1], -1, 3)
    return table[..., 0], table[..., 1], table[..., 2]


def _by_rank(confidence: FloatArray, weights: FloatArray) -> FloatArray:
    """Each item's weight by its rank, the most confident first [items]; equal confidences share the mean of theirs."""
    _, places, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    sums = np.bincount(np.repeat(np.arange(len(counts)), counts), weights=weights, minlength=len(counts))
    result: FloatArray = (sums / counts)[places]
    return result
