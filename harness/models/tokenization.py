"""Token ids of many texts, what they share tokenized once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from harness.contract import TokenIds
from harness.models import cuts
from harness.models.cuts import Cuts
from harness.util.sequences import common_prefix


@dataclass
class Tokenization:
    """One tokenizer's ids, equal to those of each whole text.

    Few-shot prompts share their shots, and a question's choices share the question. Where the tokenizer has places at which texts may
    be cut (`models.cuts`), texts are cut where they part, and each piece is tokenized once. The text of the most pieces in every batch is
    tokenized whole as well; should it ever differ, nothing is cut any more.

    Args:
        tokenizer: a transformers tokenizer.
    """

    tokenizer: Any
    _cuts: Cuts | None = field(init=False)
    _frame: tuple[list[int], list[int]] = field(init=False)

    def __post_init__(self) -> None:
        frame = self._framed("a")
        self._frame = start, end = frame or ([], [])
        alike = frame is not None and frame == self._framed("b c") and start + end == self._whole([""], special=True)[0]
        self._cuts = cuts.find(self.tokenizer) if alike else None

    def ids(self, texts: Sequence[str], *, special: bool) -> list[TokenIds]:
        """Token ids of texts, with the special tokens that the tokenizer adds around them, or without."""
        distinct = list(dict.fromkeys(texts))
        found = self._pieced(distinct, special) if self._cuts and len(distinct) > 1 else None
        known = dict(zip(distinct, found or map(tuple, self._whole(distinct, special)), strict=True))
        return [known[text] for text in texts]

    def _pieced(self, texts: list[str], special: bool) -> list[TokenIds] | None:
        assert self._cuts is not None
        parted = split(texts, self._cuts)
        pieces = list(dict.fromkeys(piece for parts in parted for piece in parts))
        known = dict(zip(pieces, self._whole(pieces, special=False), strict=True))
        start, end = self._frame if special else ([], [])
        found = [_joined(start, (known[piece] for piece in parts), end) for parts in parted]
        most = max(range(len(texts)), key=lambda index: len(parted[index]))
        if found[most] == tuple(self._whole([texts[most]], special)[0]):
            return found
        self._cuts = None
        return None

    def _whole(self, texts: list[str], special: bool) -> list[list[int]]:
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(
            texts, add_special_tokens=special, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )["input_ids"]
        return encoded

    def _framed(self, text: str) -> tuple[list[int], list[int]] | None:
        """What the tokenizer sets before and after a text, or None where it does more than that."""
        (bare,), (full,) = self._whole([text], special=False), self._whole([text], special=True)
        for start in range(len(full) - len(bare) + 1):
            if full[start : start + len(bare)] == bare:
                return full[:start], full[start + len(bare) :]
        return None


def _joined(start: list[int], parts: Iterable[list[int]], end: list[int]) -> TokenIds:
    whole = start.copy()
    for part in parts:
        whole += part
    whole += end
    return tuple(whole)


def split(texts: Sequence[str], places: Cuts) -> list[list[str]]:
    """Cut distinct texts where any two of them part, or at the last place before that; joined, a text's pieces are the text."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    neighbours = [0, *(places.last(texts[one], common_prefix(texts[one], texts[other])) for one, other in pairwise(order)), 0]
    before, after = list(_open(neighbours[:-1])), list(_open(neighbours[:0:-1]))[::-1]
    parted: list[list[str]] = [[]] * len(texts)
    for index, left, right in zip(order, before, after, strict=True):
        text = texts[index]
        depths = [*sorted({0, *left, *right}), len(text)]
        parted[index] = [text[start:end] for start, end in pairwise(depths)]
    return parted


def _open(depths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """After each depth, those that are not deeper than any that came later: the cuts that a text shares with the texts before it."""
    kept: list[int] = []
    for depth in depths:
        while kept and kept[-1] >= depth:
            kept.pop()
        kept.append(depth)
        yield tuple(kept)
