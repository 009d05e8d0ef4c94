"""Texts of models side by side: safe to show, and marked where they differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 3_000
"""Longer texts are marked between their common beginning and end: matching takes time with the square of the words."""

_UNSAFE = frozenset({"Cc", "Cs", "Co"})
_TURNING = frozenset(
    "\N{LEFT-TO-RIGHT EMBEDDING}\N{RIGHT-TO-LEFT EMBEDDING}\N{POP DIRECTIONAL FORMATTING}\N{LEFT-TO-RIGHT OVERRIDE}"
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{LEFT-TO-RIGHT ISOLATE}\N{RIGHT-TO-LEFT ISOLATE}\N{FIRST STRONG ISOLATE}"
    "\N{POP DIRECTIONAL ISOLATE}"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text; `own` where the other text has it not."""

    text: str
    own: bool


def readable(text: str) -> str:
    """A text that can do nothing to a terminal or a page: control characters become a replacement mark; lines and tabs stay."""
    return "".join(
        char if char in "\n\t" or (unicodedata.category(char) not in _UNSAFE and char not in _TURNING) else "\N{REPLACEMENT CHARACTER}"
        for char in text.replace("\r\n", "\n")
    )


def marked(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, cut at words; joined again, the pieces are the text."""
    one, other = _WORDS.findall(before), _WORDS.findall(after)
    sides: tuple[list[Piece], list[Piece]] = ([], [])
    for tag, start, end, first, last in _operations(one, other):
        for side, words in zip(sides, (one[start:end], other[first:last]), strict=True):
            if words:
                side.append(Piece("".join(words), tag != "equal"))
    return sides


def _operations(one: Sequence[str], other: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    if max(len(one), len(other)) <= _MOST_WORDS:
        yield from SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
        return
    head = _common(one, other)
    tail = _common(one[: head - 1 if head else None : -1], other[: head - 1 if head else None : -1])
    yield "equal", 0, head, 0, head
    yield "replace", head, len(one) - tail, head, len(other) - tail
    yield "equal", len(one) - tail, len(one), len(other) - tail, len(other)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def ending(text: str, characters: int) -> str:
    """The end of a text that is too long, cut at a word and marked."""
    if len(text) <= characters:
        return text
    cut = text[-characters:]
    return f"… {cut.split(None, 1)[-1] if ' ' in cut else cut}"


def beginning(text: str, characters: int) -> str:
    """The beginning of a text that is too long, cut at a word and marked."""
    if len(text) <= characters:
        return text
    cut = text[:characters]
    return f"{cut.rsplit(None, 1)[0] if ' ' in cut else cut} …"
