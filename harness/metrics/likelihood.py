"""Likelihood of texts: total log-probability per token, word or byte of the whole corpus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.contract import AnswerForm, LikelihoodOutcome
from harness.metrics.base import FloatArray, Metric, metric


@dataclass(frozen=True)
class Likelihood(Metric[LikelihoodOutcome]):
    """A function of the corpus's negative log-probability (nats) per unit. Lower is better."""

    form: ClassVar[AnswerForm] = "score_text"
    higher_is_better: ClassVar[bool] = False
    high: ClassVar[float] = math.inf
    per: ClassVar[str]

    def statistics(self, outcomes: Sequence[LikelihoodOutcome]) -> FloatArray:
        """Negative log-probability in nats, and number of units: array [items, 2]."""
        rows = [(-outcome.logprob, getattr(outcome, self.per)) for outcome in outcomes]
        return np.asarray(rows, dtype=np.float64).reshape(-1, 2)


@dataclass(frozen=True)
class _Perplexity(Likelihood):
    low: ClassVar[float] = 1.0

    def score(self, totals: FloatArray) -> FloatArray:
        """Perplexities [...] from summed nats and units [..., 2]."""
        with np.errstate(over="ignore"):
            result: FloatArray = np.exp(super().score(totals))
        return result


@metric("perplexity")
@dataclass(frozen=True)
class Perplexity(_Perplexity):
    """exp of the nats per token; comparable only between systems with the same tokenizer."""

    unit: ClassVar[str] = "perplexity per token"
    per: ClassVar[str] = "tokens"


@metric("word_perplexity")
@dataclass(frozen=True)
class WordPerplexity(_Perplexity):
    """exp of the nats per word."""

    unit: ClassVar[str] = "perplexity per word"
    per: ClassVar[str] = "words"


@metric("byte_perplexity")
@dataclass(frozen=True)
class BytePerplexity(_Perplexity):
    """exp of the nats per UTF-8 byte."""

    unit: ClassVar[str] = "perplexity per byte"
    per: ClassVar[str] = "bytes"


@metric("bits_per_byte")
@dataclass(frozen=True)
class BitsPerByte(Likelihood):
    """Bits needed per UTF-8 byte: log2 of byte_perplexity."""

    unit: ClassVar[str] = "bits per byte"
    per: ClassVar[str] = "bytes"

    def score(self, totals: FloatArray) -> FloatArray:
        """Bits [...] from summed nats and bytes [..., 2]."""
        return super().score(totals) / math.log(2)
