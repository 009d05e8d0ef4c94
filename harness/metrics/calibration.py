"""Whether a model is as sure as it is right: HELM's calibration measures (Liang et al., 2022), and what they leave open.

An item's confidence is the probability of its predicted choice. Bins and ranks are made from the confidences of all items of
a task; resampling and pairing hold them fixed, and tasks that are pooled keep their own. HELM's names stand for HELM's
definitions: `ece_10_bin`, `ece_1_bin`, `selective_acc@10` and `selective_cov_acc_area` equal the package
uncertainty-calibration 0.1.4, which HELM calls.

An expected calibration error is a sum of absolute differences, so chance alone keeps it above 0, the more so the fewer the
items. Its percentile interval lies higher still, and does not reach 0 even for a calibrated model: read it beside another system's.
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
"""Items from which on HELM holds an expected calibration error to be reliable."""

_BINS = 10
_FOLDS = 5
_LOG_ODDS_LIMIT = 1e-12  # how near to 0 and 1 a log-odds is taken, as in HELM


@dataclass(frozen=True)
class CalibrationMetric(ChoiceMetric):
    """A metric of the probability that a model gives to its choice.

    Options:
        normalize: how log-probabilities are made comparable between the choices, see `predicted`.
        confidence: "joint" is the probability of the predicted choice's text, exp of its summed log-probability, as HELM takes
            it; "renormalized" is its share of the choices together, the softmax of the normalized log-probabilities.
    """

    family: ClassVar[Family] = "calibration"
    confidence: Confidence = "joint"

    def probabilities(self, outcome: ChoiceOutcome) -> FloatArray:
        """Probability of each choice [choices]; they need not add up to 1 where confidence is joint."""
        if self.confidence == "joint":
            return np.minimum(np.exp(np.asarray(outcome.logprobs, dtype=np.float64)), 1.0)
        return probabilities(outcome, self.normalize)

    def confidences(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Probability of each item's predicted choice [items]."""
        return np.array([self.probabilities(outcome)[self.predicted(outcome)] for outcome in outcomes], dtype=np.float64)

    def hits(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Whether each item's predicted choice is right, 0 or 1 [items]."""
        return np.array([self.is_correct(outcome) for outcome in outcomes], dtype=np.float64)


@dataclass(frozen=True)
class SampleCalibration(CalibrationMetric):
    """A calibration metric of a sample, which a single item or a small sample has not.

    Options:
        normalize, confidence: as for every calibration metric.
        small: compute it for samples that are too small for HELM's bins too: of under 300 items, or with under 10 bins.
    """

    small: bool = False

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """None: one answer is right or wrong, not calibrated."""
        return None

    def refused(self, statistics: FloatArray) -> str | None:
        """The reason, where there are too few items."""
        items = len(statistics)
        if items >= RELIABLE or (self.small and items):
            return None
        return f"{items} items, of the {RELIABLE} that calibration needs (--small-samples, or `small: true` in a task, takes fewer)"


@dataclass(frozen=True)
class CalibrationError(SampleCalibration):
    """An expected calibration error: over bins, the absolute difference of mean confidence and accuracy, weighed by their items."""

    higher_is_better: ClassVar[bool] = False
    pulled: ClassVar[bool] = True
    bins: ClassVar[int] = _BINS

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Confidence, right (0 or 1) and count in the item's bin, 0 in the others: array [items, bins x 3]."""
        return _binned(self.confidences(outcomes), self.hits(outcomes), self.bins)

    def score(self, totals: FloatArray) -> FloatArray:
        """Errors [...] from summed statistics [..., bins x 3]."""
        confidence, correct, count = _bins(totals)
        with np.errstate(invalid="ignore", divide="ignore"):
            result: FloatArray = np.abs(confidence - correct).sum(axis=-1) / count.sum(axis=-1)
        return result

    def gather(self, parts: Sequence[FloatArray]) -> FloatArray:
        """All items in bins that are made anew for them together."""
        confidence, correct, _ = (np.concatenate([_bins(part)[which].sum(axis=1) for part in parts]) for which in range(3))
        return _binned(confidence, correct, self.bins)

    def beside(self, statistics: FloatArray) -> Mapping[str, float]:
        """`by chance`: about the error of a calibrated model with these confidences, the mean of |normal| in each bin."""
        confidence, _, count = _bins(statistics)
        variances = (confidence * (count - confidence)).sum(axis=0)
        return {"by chance": float(np.sqrt(2.0 / np.pi * variances).sum() / count.sum())}

    def refused(self, statistics: FloatArray) -> str | None:
        """The reason, where there are too few items, or where equal confidences leave too few bins."""
        if reason := super().refused(statistics):
            return reason
        filled = len(reliability(statistics).count)
        if filled >= self.bins or self.small:
            return None
        return f"equal confidences leave {filled} distinct bins, of {self.bins} (--small-samples, or `small: true` in a task, takes fewer)"


@metric("ece_10_bin")
@dataclass(frozen=True)
class EqualMassError(CalibrationError):
    """HELM's expected calibration error: top label, 10 bins of equally many items, absolute differences.

    The sorted confidences are cut into 10 nearly equal chunks; a bin ends half-way between the last of a chunk and the first
    of the next, and ends that coincide are one. Items are put into bins by these ends, so that equal confidences share a bin.

    Options:
        normalize, confidence: as for every calibration metric.
        small: compute it for under 300 items, or where equal confidences leave under 10 bins.
    """


@metric("ece_1_bin")
@dataclass(frozen=True)
class OneBinError(CalibrationError):
    """HELM's calibration error in one bin: the absolute difference of mean confidence and accuracy.

    Options:
        normalize, confidence: as for every calibration metric.
        small: compute it for under 300 items.
    """

    bins: ClassVar[int] = 1


@metric("platt_ece")
@dataclass(frozen=True)
class PlattError(CalibrationError):
    """`ece_10_bin` after Platt scaling, each item scaled by a fit to others: the error that no scaling of confidences mends.

    Items are dealt to 5 folds by a fixed shuffle of their places; a fold's confidences are scaled by the logistic regression of
    right answers on log-odds that fits the other folds. HELM's `platt_ece_10_bin` fits and scores the same items, and so reads
    lower; it gives 0 where all answers are right or all are wrong, which here have no score.

    Options:
        normalize, confidence: as for every calibration metric.
        small: compute it for under 300 items, or where equal confidences leave under 10 bins.
    """

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Scaled confidence, right (0 or 1) and count in the item's bin, 0 in the others: array [items, bins x 3]."""
        correct = self.hits(outcomes)
        return _binned(_scaled_by_others(self.confidences(outcomes), correct), correct, self.bins)

    def refused(self, statistics: FloatArray) -> str | None:
        """The reason, where there are too few items or bins, or all answers are right or all are wrong."""
        _, correct, count = _bins(statistics.sum(axis=0))
        if correct.sum() in (0.0, count.sum()):
            return f"there is nothing to fit: {int(correct.sum())} of {int(count.sum())} answers are right"
        return super().refused(statistics)


@dataclass(frozen=True)
class Selective(SampleCalibration):
    """Accuracy where items count by how sure the model is. Items equally sure share the mean weight of their ranks.

    HELM leaves the order of items that are equally sure to its sort; this is the mean over their orders.
    """

    def weights(self, items: int) -> FloatArray:
        """The weight of each rank, the most confident item first [items]."""
        raise NotImplementedError

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Weight where right, and weight: array [items, 2]."""
        weights = _by_rank(self.confidences(outcomes), self.weights(len(outcomes)))
        return np.stack([weights * self.hits(outcomes), weights], axis=1)


@metric("selective_acc@10")
@dataclass(frozen=True)
class SelectiveAccuracy(Selective):
    """HELM's accuracy over the tenth of the items of which the model is most sure: int(N / 10) + 1 of N.

    Options:
        normalize, confidence: as for every calibration metric.
        small: compute it for under 300 items.
    """

    def weights(self, items: int) -> FloatArray:
        """1 for the ranks that count, 0 for the others [items]."""
        return (np.arange(items) <= int(0.1 * items)).astype(np.float64)


@metric("selective_cov_acc_area")
@dataclass(frozen=True)
class SelectiveArea(Selective):
    """HELM's area under accuracy by coverage: the mean over k of the accuracy over the k items of which the model is most sure.

    Options:
        normalize, confidence: as for every calibration metric.
        small: compute it for under 300 items.
    """

    def weights(self, items: int) -> FloatArray:
        """Rank r is in the accuracies over r items and more: the sum of 1 / k over k from r to N [items]."""
        shares = 1.0 / np.arange(1, items + 1)
        result: FloatArray = shares[::-1].cumsum()[::-1]
        return result


@metric("brier")
@dataclass(frozen=True)
class Brier(CalibrationMetric):
    """Mean squared error of the choices' probabilities, summed over the choices: 0 at best, 2 at worst.

    Brier (1950), "Verification of forecasts expressed in terms of probability"; lm-evaluation-harness's `brier_score`. Several
    right choices are one event, with their probabilities added. A plain mean over items, so it needs no least sample.

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
            raise ValueError("option 'normalize' goes with confidence: renormalized; joint probabilities are not normalized")

    def statistics(self, outcomes: Sequence[ChoiceOutcome]) -> FloatArray:
        """Squared error and count: array [items, 2]."""
        return per_item([self._item(outcome) for outcome in outcomes])

    def _item(self, outcome: ChoiceOutcome) -> float:
        shares, correct = self.probabilities(outcome), sorted(set(outcome.targets))
        wrong = np.delete(shares, correct)
        return float((1.0 - shares[correct].sum()) ** 2 + (wrong**2).sum())


@dataclass(frozen=True, slots=True)
class Reliability:
    """The points of a reliability diagram, by rising confidence; bins without items are left out.

    Attributes:
        confidence: mean confidence [bins].
        accuracy: share of right answers [bins].
        count: number of items [bins].
    """

    confidence: FloatArray
    accuracy: FloatArray
    count: NDArray[np.int64]


def reliability(statistics: FloatArray) -> Reliability:
    """The reliability diagram of kept statistics [items, bins x 3] of `ece_10_bin`, `ece_1_bin` or `platt_ece`.

    DeGroot and Fienberg (1983), "The comparison and evaluation of forecasters".
    """
    confidence, correct, count = _bins(statistics.sum(axis=0))
    filled = count > 0
    return Reliability(confidence[filled] / count[filled], correct[filled] / count[filled], count[filled].astype(np.int64))


def platt(confidence: FloatArray, correct: FloatArray) -> tuple[float, float]:
    """Slope and intercept of Platt's scaling: the logistic regression of right answers on the log-odds of their confidence.

    Fitted without regularization, but for a penalty of 1e-10 / 2 times the squared slope, which keeps it finite where the
    confidences tell right from wrong: scikit-learn's `LogisticRegression(C=1e10)`, which HELM uses. Platt (1999),
    "Probabilistic outputs for support vector machines".

    Args:
        confidence: between 0 and 1 [items].
        right: 0 or 1 [items].
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
    """Confidences scaled by Platt's fit to the other folds [items]; where those are all right or all wrong, 1 or 0."""
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
    """One-hot bin times confidence, right and 1: array [items, bins x 3]."""
    items = len(confidence)
    table = np.zeros((items, bins, 3))
    table[np.arange(items), np.searchsorted(_ends(confidence, bins), confidence)] = np.stack([confidence, correct, np.ones(items)], axis=1)
    return table.reshape(items, bins * 3)


def _ends(confidence: FloatArray, bins: int) -> FloatArray:
    """Upper ends of all bins but the last, rising and distinct [at most bins - 1]."""
    chunks = [chunk for chunk in np.array_split(np.sort(confidence), bins) if len(chunk)]
    return np.unique([(low[-1] + high[0]) / 2 for low, high in itertools.pairwise(chunks)])


def _bins(totals: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Summed confidence, right answers and items of each bin [..., bins]."""
    table = totals.reshape(*totals.shape[:-1], -1, 3)
    return table[..., 0], table[..., 1], table[..., 2]


def _by_rank(confidence: FloatArray, weights: FloatArray) -> FloatArray:
    """Each item's weight by its rank, the most confident first [items]; equal confidences share the mean of theirs."""
    _, places, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    sums = np.bincount(np.repeat(np.arange(len(counts)), counts), weights=weights, minlength=len(counts))
    result: FloatArray = (sums / counts)[places]
    return result
