"""Tokenize many texts, and what they share only once."""

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
    """Token ids from one tokenizer, equal to those of each whole text.

    Few-shot prompts share their examples, and a question's choices share the question. If texts may be cut for this tokenizer
    (`models.cuts`), they are cut where they diverge, and each piece is tokenized once. In every batch, the text with the most pieces is
    also tokenized whole; if its ids differ, texts are no longer cut.

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
        pieced = self._pieced(distinct, special) if self._cuts and len(distinct) > 1 else None
        known = dict(zip(distinct, pieced or map(tuple, self._whole(distinct, special)), strict=True))
        return [known[text] for text in texts]

    def _pieced(self, texts: list[str], special: bool) -> list[TokenIds] | None:
        assert self._cuts is not None
        parted = split(texts, self._cuts)
        pieces = list(dict.fromkeys(piece for parts in parted for piece in parts))
        known = dict(zip(pieces, self._whole(pieces, special=False), strict=True))
        start, end = self._frame if special else ([], [])
        joined = [_joined(start, (known[piece] for piece in parts), end) for parts in parted]
        most = max(range(len(texts)), key=lambda index: len(parted[index]))
        if joined[most] == tuple(self._whole([texts[most]], special)[0]):
            return joined
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
        """The special tokens before and after a text; None if the tokenizer does more than add them."""
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
    """Cut distinct texts at the last place before any two of them diverge; joined, a text's pieces are the text."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    neighbours = [0, *(places.last(texts[left], common_prefix(texts[left], texts[right])) for left, right in pairwise(order)), 0]
    before, after = list(_open(neighbours[:-1])), list(_open(neighbours[:0:-1]))[::-1]
    parted: list[list[str]] = [[]] * len(texts)
    for index, left, right in zip(order, before, after, strict=True):
        text = texts[index]
        depths = [*sorted({0, *left, *right}), len(text)]
        parted[index] = [text[start:end] for start, end in pairwise(depths)]
    return parted


def _open(depths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """After each depth, the earlier depths that no later one undercuts: the cuts that a text shares with the texts before it."""
    stack: list[int] = []
    for depth in depths:
        while stack and stack[-1] >= depth:
            stack.pop()
        stack.append(depth)
        yield tuple(stack)
