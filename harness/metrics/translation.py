"""BLEU, chrF and TER, from sacrebleu's segment statistics; scores equal `sacrebleu`'s corpus scores."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from harness.contract import AnswerForm, TextOutcome
from harness.errors import MetricError
from harness.metrics.base import FloatArray, Metric, Signature, metric

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacrebleuMetric

VARIABLE_REFERENCES = -1  # sacrebleu's sign for "the number of references differs"; it prints nrefs:var


@dataclass(frozen=True)
class SacrebleuScore(Metric[TextOutcome]):
    """A score in points, computed from summed segment counts."""

    form: ClassVar[AnswerForm] = "generate"
    high: ClassVar[float] = 100.0
    unit: ClassVar[str] = "points"

    def _sacrebleu(self) -> SacrebleuMetric:
        raise NotImplementedError

    def _beside_sacrebleu(self) -> dict[str, object]:
        """Fields that are not in sacrebleu's signature."""
        return {}

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """Counts of each segment as sacrebleu orders them: array [items, counts]."""
        if not outcomes:
            return np.zeros((0, self._width()))
        # The segment counts have no public accessor for chrF and TER; the golden tests hold this call to the public scores.
        rows: list[list[float]] = self._sacrebleu()._extract_corpus_statistics(
            [outcome.prediction for outcome in outcomes], _columns([outcome.references for outcome in outcomes])
        )
        return np.asarray(rows, dtype=np.float64)

    def _width(self) -> int:
        raise NotImplementedError

    def signature_for(self, outcomes: Sequence[TextOutcome]) -> Signature:
        """Name and version, then the fields of sacrebleu's own signature, which counts the references."""
        counts = {len(outcome.references) for outcome in outcomes}
        scorer: Any = self._sacrebleu()
        scorer.num_refs = counts.pop() if len(counts) == 1 else VARIABLE_REFERENCES
        info = {field: value for field, value in scorer.get_signature().info.items() if value is not None}
        return Signature.of(self.name, {"version": self.version, **self._beside_sacrebleu(), "sacrebleu": info})

    def libraries(self) -> dict[str, str]:
        """The release of sacrebleu."""
        return {"sacrebleu": importlib.metadata.version("sacrebleu")}


def _columns(references: Sequence[tuple[str, ...]]) -> list[list[str | None]]:
    """References by position, one list for each position; None if an item has fewer."""
    most = max(len(texts) for texts in references)
    return [[texts[rank] if rank < len(texts) else None for texts in references] for rank in range(most)]


@metric("bleu")
@dataclass(frozen=True)
class Bleu(SacrebleuScore):
    """Corpus BLEU (Papineni et al., 2002) with n-grams up to 4. Several references of an item are used together.

    Options:
        tokenize: sacrebleu's tokenizer; `none` splits at white space. The ja, ko and sentencepiece ones need extra packages.
        lowercase: ignore case.
        smooth: smoothing of n-gram orders without a match (Chen and Cherry, 2014).
        smooth_value: for floor and add-k; sacrebleu's defaults are 0.1 and 1.
        effective_order: skip orders for which the predictions are too short.
    """

    tokenize: Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab", "spm", "flores101", "flores200", "spBLEU-1K"] = "13a"
    lowercase: bool = False
    smooth: Literal["exp", "none", "floor", "add-k"] = "exp"
    smooth_value: float | None = None
    effective_order: bool = False

    ORDERS: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if self.smooth_value is not None and self.smooth not in ("floor", "add-k"):
            raise ValueError(f"option 'smooth_value' requires smooth: floor or add-k, not {self.smooth}")

    def _sacrebleu(self) -> SacrebleuMetric:
        from sacrebleu.metrics import BLEU

        try:
            return BLEU(
                lowercase=self.lowercase,
                force=True,
                tokenize=self.tokenize,
                smooth_method=self.smooth,
                smooth_value=self.smooth_value,
                effective_order=self.effective_order,
            )
        except (ImportError, RuntimeError, OSError) as error:
            raise MetricError(
                f"sacrebleu's tokenizer {self.tokenize!r} cannot be used: {str(error).strip()}.",
                "Install the package that it names (pip install 'sacrebleu[ja,ko]', sentencepiece), or choose another tokenizer.",
            ) from error

    def _width(self) -> int:
        return 2 + 2 * self.ORDERS

    def score(self, totals: FloatArray) -> FloatArray:
        """BLEU [...] from summed counts [..., 10]: predicted and reference length, matches of each order, n-grams of each order."""
        said, wanted = totals[..., 0], totals[..., 1]
        matches, ngrams = totals[..., 2 : 2 + self.ORDERS], totals[..., 2 + self.ORDERS :]
        log_precisions, counted = self._log_precisions(matches, ngrams)
        orders = counted.sum(axis=-1) if self.effective_order else self.ORDERS
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            brevity = np.where(said < wanted, np.exp(1.0 - wanted / said), 1.0)
            scores = 100.0 * brevity * np.exp(log_precisions.sum(axis=-1) / orders)
        complete = counted.any(axis=-1) if self.effective_order else counted.all(axis=-1)
        return np.where(matches.any(axis=-1) & complete, scores, 0.0)

    def _log_precisions(self, matches: FloatArray, ngrams: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Logarithms of smoothed precisions [..., orders], 0 if an order has no n-grams; and which orders have n-grams."""
        if self.smooth == "add-k":
            added = np.array([0.0] + [self._smoothing] * (self.ORDERS - 1))
            matches, ngrams = matches + added, ngrams + added
        counted = np.logical_and.accumulate(ngrams > 0, axis=-1)
        missed = counted & (matches == 0)
        if self.smooth == "exp":
            matches = np.where(missed, 0.5 ** np.cumsum(missed, axis=-1), matches)
        elif self.smooth == "floor":
            matches = np.where(missed, self._smoothing, matches)
        with np.errstate(divide="ignore"):
            logs = np.log(np.where(counted, matches, 1.0) / np.where(counted, ngrams, 1.0))
        return logs, counted

    @property
    def _smoothing(self) -> float:
        default = {"floor": 0.1, "add-k": 1.0}[self.smooth]
        return default if self.smooth_value is None else self.smooth_value

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """Sentence BLEU, with effective order as sacrebleu computes it [items]; its mean is not corpus BLEU."""
        return dataclasses.replace(self, effective_order=True).score(statistics)


@metric("chrf")
@dataclass(frozen=True)
class Chrf(SacrebleuScore):
    """chrF (Popović, 2015): F-beta of character n-grams, precisions and recalls averaged over orders; the best reference counts.

    Options:
        char_order: longest character n-gram.
        word_order: longest word n-gram; 2 makes it chrF++ (Popović, 2017).
        beta: weight of recall against precision.
        lowercase: ignore case.
    """

    char_order: int = 6
    word_order: int = 0
    beta: int = 2
    lowercase: bool = False

    def __post_init__(self) -> None:
        if self.char_order < 0 or self.word_order < 0 or self.char_order + self.word_order == 0:
            raise ValueError("options 'char_order' and 'word_order' are at least 0, and one of them more")
        if self.beta <= 0:
            raise ValueError("option 'beta' is more than 0")

    def _sacrebleu(self) -> SacrebleuMetric:
        from sacrebleu.metrics import CHRF

        return CHRF(char_order=self.char_order, word_order=self.word_order, beta=self.beta, lowercase=self.lowercase)

    def _beside_sacrebleu(self) -> dict[str, object]:
        return {"beta": self.beta}

    def _width(self) -> int:
        return 3 * (self.char_order + self.word_order)

    def score(self, totals: FloatArray) -> FloatArray:
        """Scores [...] from summed counts [..., 3 x orders]: n-grams of prediction, of reference, and shared, order by order."""
        counts = totals.reshape(*totals.shape[:-1], -1, 3)
        said, wanted, shared = counts[..., 0], counts[..., 1], counts[..., 2]
        counted = (said > 0) & (wanted > 0)
        orders = np.maximum(counted.sum(axis=-1), 1)
        precision = (np.where(counted, shared, 0.0) / np.maximum(said, 1.0)).sum(axis=-1) / orders
        recall = (np.where(counted, shared, 0.0) / np.maximum(wanted, 1.0)).sum(axis=-1) / orders
        weight = self.beta**2
        below = weight * precision + recall
        result: FloatArray = 100.0 * (1 + weight) * precision * recall / np.where(below > 0, below, 1.0)
        return result


@metric("chrf++")
@dataclass(frozen=True)
class ChrfPlusPlus(Chrf):
    """chrF with word n-grams up to 2."""

    word_order: int = 2


@metric("ter")
@dataclass(frozen=True)
class Ter(SacrebleuScore):
    """Translation edit rate (Snover et al., 2006): edits, shifts of word sequences among them, per 100 reference words.

    Lower is better. With several references of an item, the edits to the nearest over their mean length. An item with
    empty references counts its edits, and a corpus of such items scores 100, or 0 if its predictions are empty too.

    Options:
        normalized: tokenize as tercom before words are compared; otherwise words are separated by white space.
        no_punct: remove punctuation.
        asian_support: with `normalized`, Chinese, Japanese and Korean characters are words; with `no_punct`, remove their punctuation
            too.
        case_sensitive: distinguish upper and lower case.
    """

    higher_is_better: ClassVar[bool] = False
    high: ClassVar[float] = math.inf
    normalized: bool = False
    no_punct: bool = False
    asian_support: bool = False
    case_sensitive: bool = False

    def _sacrebleu(self) -> SacrebleuMetric:
        from sacrebleu.metrics import TER

        return TER(
            normalized=self.normalized,
            no_punct=self.no_punct,
            asian_support=self.asian_support,
            case_sensitive=self.case_sensitive,
        )

    def _width(self) -> int:
        return 2

    def score(self, totals: FloatArray) -> FloatArray:
        """TER [...] from summed edits and reference words [..., 2]."""
        edits, words = totals[..., 0], totals[..., 1]
        rates = np.where(words > 0, edits / np.where(words > 0, words, 1.0), edits > 0)
        result: FloatArray = 100.0 * rates
        return result
