"""NIST, METEOR and CIDEr, which data-to-text tasks report beside BLEU and ROUGE-L (E2E, Dušek et al., 2020).

All three read texts as lower-case words split by sacrebleu's tokenizer 13a, that of NIST's mteval-v13a. METEOR and CIDEr
are computed by NLTK and pycocoevalcap. If a library or its data is missing, the score is null with the reason.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from harness.contract import AnswerForm, TextOutcome
from harness.metrics.base import FloatArray, Metric, metric, per_item
from harness.util.libraries import install_command

# The marks that COCO's caption evaluation removes after tokenizing.
_COCO_PUNCTUATION = frozenset(["''", "'", "``", "`", '"', "(", ")", "[", "]", "{", "}", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

NO_WORDNET = (
    "METEOR needs WordNet, but NLTK does not find it: run `python -m nltk.downloader wordnet`, "
    "or set NLTK_DATA to a folder with corpora/wordnet"
)
NO_COCO = f"CIDEr needs the library pycocoevalcap: {install_command('nlg')}"
ONE_ITEM = "CIDEr weights words by the number of items that contain them, so it needs at least 2 items"

Ngram = tuple[str, ...]


@functools.lru_cache(maxsize=1 << 16)
def words(text: str) -> tuple[str, ...]:
    """The words and punctuation marks of a text, in lower case."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return tuple(Tokenizer13a()(text.lower()).split())


def _ngrams(tokens: Sequence[str], order: int) -> Counter[Ngram]:
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))


def _information(references: Iterable[Sequence[str]], orders: int) -> Mapping[Ngram, float]:
    """Bits of each n-gram of the references: log2 of the count of its first n - 1 words over its own count."""
    counts: Counter[Ngram] = Counter()
    for tokens in references:
        counts[()] += len(tokens)
        for order in range(1, orders + 1):
            counts.update(_ngrams(tokens, order))
    return {ngram: math.log2(counts[ngram[:-1]] / count) for ngram, count in counts.items() if ngram}


@metric("nist")
@dataclass(frozen=True)
class Nist(Metric[TextOutcome]):
    """Corpus NIST (Doddington, 2002): information of the n-grams shared with the references, per n-gram, summed over orders.

    N-grams are weighted by their rarity in all references of the task, which resampling does not change. Texts are compared in
    lower case, the default of mteval. With `references: best` it equals NLTK's `corpus_nist`.

    Options:
        order: longest n-gram.
        references: with several, n-grams of `all` count, against their mean length, as in NIST's mteval-v13a; or those of
            the one that is `best` for each order, as in NLTK.
    """

    form: ClassVar[AnswerForm] = "generate"
    high: ClassVar[float] = math.inf
    unit: ClassVar[str] = "bits"
    order: int = 5
    references: Literal["all", "best"] = "all"

    def __post_init__(self) -> None:
        if self.order < 1:
            raise ValueError(f"option 'order' is at least 1, not {self.order}")

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """Shared bits of each order, n-grams of each order, words, and reference words: array [items, 2 x order + 2].

        Words are counted once for each order, as the best reference may differ between them.
        """
        bits = _information((words(text) for outcome in outcomes for text in outcome.references), self.order)
        rows = [self._item(words(o.prediction), [words(text) for text in o.references], bits) for o in outcomes]
        return np.asarray(rows, dtype=np.float64).reshape(-1, 2 * self.order + 2)

    def _item(self, said: Sequence[str], references: Sequence[Sequence[str]], bits: Mapping[Ngram, float]) -> list[float]:
        match = self._against_all if self.references == "all" else self._against_best
        totals = [_ngrams(said, order) for order in range(1, self.order + 1)]
        scored = [match(ngrams, order, references, bits) for order, ngrams in enumerate(totals, start=1)]
        shared, wanted = [bits for bits, _ in scored], sum(length for _, length in scored)
        return [*shared, *(ngrams.total() for ngrams in totals), len(said) * self.order, wanted]

    @staticmethod
    def _against_all(
        said: Counter[Ngram], order: int, references: Sequence[Sequence[str]], bits: Mapping[Ngram, float]
    ) -> tuple[float, float]:
        """Bits shared with the references together, and their mean length."""
        union: Counter[Ngram] = Counter()
        for tokens in references:
            union |= _ngrams(tokens, order)
        return _shared(said, union, bits), sum(map(len, references)) / len(references)

    @staticmethod
    def _against_best(
        said: Counter[Ngram], order: int, references: Sequence[Sequence[str]], bits: Mapping[Ngram, float]
    ) -> tuple[float, float]:
        """Bits shared with the reference that shares most, and its length; the longest on ties."""
        return max((_shared(said, _ngrams(tokens, order), bits), float(len(tokens))) for tokens in references)

    def score(self, totals: FloatArray) -> FloatArray:
        """NIST [...] from summed statistics [..., 2 x order + 2]."""
        shared, ngrams = totals[..., : self.order], totals[..., self.order : 2 * self.order]
        said, wanted = totals[..., -2], totals[..., -1]
        precision = (shared / np.maximum(ngrams, 1.0)).sum(axis=-1)
        ratio = np.minimum(said / np.where(wanted > 0, wanted, 1.0), 1.0)
        beta = math.log(0.5) / math.log(1.5) ** 2
        with np.errstate(divide="ignore"):
            result: FloatArray = precision * np.exp(beta * np.log(ratio) ** 2)
        return result

    def libraries(self) -> dict[str, str]:
        """The release of sacrebleu, whose tokenizer splits the texts."""
        return _releases("sacrebleu")


def _shared(said: Counter[Ngram], wanted: Counter[Ngram], bits: Mapping[Ngram, float]) -> float:
    return sum(bits[ngram] * count for ngram, count in (said & wanted).items())


@dataclass(frozen=True)
class _PerItem(Metric[TextOutcome]):
    """A mean of item scores; NaN for every item if a library or its data is missing."""

    form: ClassVar[AnswerForm] = "generate"

    def missing(self, items: int) -> str | None:
        """Why this number of items cannot be scored, and what to do; None if they can."""
        raise NotImplementedError

    def values(self, outcomes: Sequence[TextOutcome]) -> Sequence[float] | FloatArray:
        """Scores [items] of one or more items."""
        raise NotImplementedError

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """Score and count: array [items, 2]."""
        if not outcomes or self.missing(len(outcomes)):
            return per_item(np.full(len(outcomes), np.nan))
        return per_item(self.values(outcomes))

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """Scores [items], or None if something is missing."""
        return None if self.no_interval(statistics) else self.score(statistics)

    def no_interval(self, statistics: FloatArray) -> str | None:
        """The reason, if something is missing."""
        return self.missing(len(statistics)) if np.isnan(statistics).any() else None


@metric("meteor")
@dataclass(frozen=True)
class Meteor(_PerItem):
    """Mean over items of METEOR with the best reference: words aligned by form, stem and WordNet synonym.

    Lavie and Agarwal (2007), alpha 0.9, beta 3, gamma 0.5, as NLTK's `meteor_score` computes it. Punctuation marks are
    words. NLTK looks up synonyms by stem, so it misses those whose stem is not a word. METEOR 1.5 (Denkowski and Lavie,
    2014), which the E2E challenge reported, has other parameters and knows paraphrases: its numbers are not comparable.
    """

    def missing(self, items: int) -> str | None:
        """The reason, if NLTK has no WordNet."""
        return NO_WORDNET if _wordnet() is None else None

    def values(self, outcomes: Sequence[TextOutcome]) -> list[float]:
        """METEOR [items]."""
        from nltk.translate.meteor_score import meteor_score

        wordnet = _wordnet()
        return [meteor_score([words(text) for text in o.references], words(o.prediction), wordnet=wordnet) for o in outcomes]

    def libraries(self) -> dict[str, str]:
        """The releases of sacrebleu, NLTK and WordNet."""
        wordnet = _wordnet()
        return _releases("sacrebleu", "nltk") | {"wordnet": "missing" if wordnet is None else wordnet.get_version()}


def _wordnet() -> Any:
    """NLTK's WordNet reader, or None if its data is not found."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except (LookupError, OSError):
        return None
    return wordnet


@metric("cider")
@dataclass(frozen=True)
class Cider(_PerItem):
    """Mean over items of CIDEr: likeness of n-grams up to 4 weighed by rarity, averaged over references, from 0 to 10.

    Vedantam et al. (2015), as pycocoevalcap computes it, with its clipping and length penalty. N-grams are
    weighted by their rarity among the items' references, which resampling does not change. Punctuation is removed, as in
    COCO's evaluation, whose own tokenizer needs Java and differs in contractions.
    """

    high: ClassVar[float] = 10.0
    unit: ClassVar[str] = "points"
    min_items: ClassVar[int] = 2

    def missing(self, items: int) -> str | None:
        """The reason, if pycocoevalcap is not installed or there is only one item."""
        if importlib.util.find_spec("pycocoevalcap") is None:
            return NO_COCO
        return ONE_ITEM if items == 1 else None

    def values(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """CIDEr [items]."""
        from pycocoevalcap.cider.cider import Cider as CocoCider

        said = {number: [_caption(outcome.prediction)] for number, outcome in enumerate(outcomes)}
        wanted = {number: [_caption(text) for text in outcome.references] for number, outcome in enumerate(outcomes)}
        if not any(text for texts in wanted.values() for text in texts):
            return np.zeros(len(outcomes))
        _, scores = CocoCider().compute_score(wanted, said)
        return np.asarray(scores, dtype=np.float64)

    def libraries(self) -> dict[str, str]:
        """The releases of sacrebleu and pycocoevalcap."""
        return _releases("sacrebleu", "pycocoevalcap")


def _caption(text: str) -> str:
    return " ".join(word for word in words(text) if word not in _COCO_PUNCTUATION)


def _releases(*packages: str) -> dict[str, str]:
    return {package: _release(package) for package in packages}


def _release(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
