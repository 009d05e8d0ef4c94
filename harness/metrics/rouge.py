"""ROUGE (Lin, 2004), as the rouge-score package computes it."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.contract import AnswerForm, TextOutcome
from harness.metrics.base import FloatArray, Metric, metric, per_item

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.scoring import Score


@dataclass(frozen=True)
class Rouge(Metric[TextOutcome]):
    """Mean over items of one ROUGE statistic.

    Options:
        references: with several, their `mean`, or the statistic of the `best` (highest F1, the first on ties).
        statistic: f1, precision or recall.
        stemmer: compare Porter stems.
    """

    form: ClassVar[AnswerForm] = "generate"
    kind: ClassVar[str]
    references: Literal["mean", "best"] = "mean"
    statistic: Literal["f1", "precision", "recall"] = "f1"
    stemmer: bool = True

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """Statistic and count: array [items, 2]."""
        return per_item([self._item(outcome) for outcome in outcomes])

    def _item(self, outcome: TextOutcome) -> float:
        scorer = _scorer(self.kind, self.stemmer)
        scores: list[Score] = [scorer.score(reference, outcome.prediction)[self.kind] for reference in outcome.references]
        if self.references == "best":
            return self._pick(max(scores, key=lambda score: score.fmeasure))
        return sum(map(self._pick, scores)) / len(scores)

    def _pick(self, score: Score) -> float:
        return float(score.fmeasure if self.statistic == "f1" else getattr(score, self.statistic))

    def libraries(self) -> dict[str, str]:
        """The release of rouge-score."""
        return {"rouge-score": importlib.metadata.version("rouge-score")}


class _Tokenizer:
    """The package's tokenizer with a cache of stems and texts, which take most of the time and recur over ROUGE types."""

    def __init__(self, stemmer: bool) -> None:
        from rouge_score.tokenizers import porter

        self._stemmer = self if stemmer else None
        self.stem = functools.lru_cache(maxsize=1 << 18)(porter.PorterStemmer().stem)
        self.tokenize = functools.lru_cache(maxsize=1 << 14)(self._tokenize)

    def _tokenize(self, text: str) -> tuple[str, ...]:
        from rouge_score.tokenize import tokenize

        return tuple(tokenize(text, self._stemmer))


@functools.cache
def _tokenizer(stemmer: bool) -> _Tokenizer:
    return _Tokenizer(stemmer)


@functools.cache
def _scorer(kind: str, stemmer: bool) -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=_tokenizer(stemmer))


@metric("rouge1")
@dataclass(frozen=True)
class Rouge1(Rouge):
    """Overlap of words."""

    kind: ClassVar[str] = "rouge1"


@metric("rouge2")
@dataclass(frozen=True)
class Rouge2(Rouge):
    """Overlap of pairs of neighbouring words."""

    kind: ClassVar[str] = "rouge2"


@metric("rougeL")
@dataclass(frozen=True)
class RougeL(Rouge):
    """Longest common subsequence of words over the whole text."""

    kind: ClassVar[str] = "rougeL"


@metric("rougeLsum")
@dataclass(frozen=True)
class RougeLsum(Rouge):
    """Union of longest common subsequences over sentences; each line of a text is a sentence."""

    kind: ClassVar[str] = "rougeLsum"
