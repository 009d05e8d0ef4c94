"""Training rows that equal evaluated items, or nearly do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.contract import Item

NGRAM = 8
"""Words of an n-gram: long enough that set phrases do not count, short enough for questions of one sentence."""

SHARE = 0.5
"""Of an evaluated item's n-grams in one training row, from which on the two are near-duplicates."""

_WORD = re.compile(r"\w+")


class EvaluatedItems:
    """The items that tasks are evaluated on, ready to be compared with.

    Args:
        items: of every evaluated split; rows are compared by the words of their texts, whatever the template of prompts.
        ngram: words of an n-gram.
    """

    def __init__(self, items: Iterable[Item], ngram: int = NGRAM) -> None:
        self.ngram = ngram
        self._digests: set[str] = set()
        self._sizes: list[int] = []
        self._holders: dict[int, list[int]] = {}
        for item in items:
            self._digests.add(item.digest)
            grams = self._grams(item.row)
            for gram in grams:
                self._holders.setdefault(gram, []).append(len(self._sizes))
            self._sizes.append(len(grams))

    def __len__(self) -> int:
        return len(self._sizes)

    def equal(self, items: Sequence[Item]) -> list[Item]:
        """Those rows whose whole content is that of an evaluated item."""
        return [item for item in items if item.digest in self._digests]

    def near(self, items: Sequence[Item]) -> list[Item]:
        """Those rows that hold at least half of the n-grams of one evaluated item."""
        return [item for item in items if self._share(item) >= SHARE]

    def _share(self, item: Item) -> float:
        hits: Counter[int] = Counter()
        for gram in self._grams(item.row):
            hits.update(self._holders.get(gram, ()))
        return max((count / self._sizes[number] for number, count in hits.items()), default=0.0)

    def _grams(self, row: Mapping[str, Any]) -> set[int]:
        """Hashes of the row's n-grams; a row with fewer words in every text has one gram, all of its words."""
        texts = [_WORD.findall(text.lower()) for text in _texts(row)]
        grams = {hash(tuple(words[start : start + self.ngram])) for words in texts for start in range(len(words) - self.ngram + 1)}
        return grams or {hash(tuple(word for words in sorted(texts) for word in words))}


def _texts(value: Any) -> Iterator[str]:
    """Every text in a row, lists and nested rows opened."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
