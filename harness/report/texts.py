"""Texts of models side by side: safe to show, and marked where they differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from harness.util.sequences import common_prefix

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
    """A part of a text; `differs` where the other text lacks this part."""

    text: str
    differs: bool


def readable(text: str) -> str:
    """A text that can do nothing to a terminal or a page: control characters become a replacement mark; lines and tabs stay."""
    return "".join(
        char if char in "\n\t" or (unicodedata.category(char) not in _UNSAFE and char not in _TURNING) else "\N{REPLACEMENT CHARACTER}"
        for char in text.replace("\r\n", "\n")
    )


def marked(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, cut at words; joined again, the pieces are the text."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    sides: tuple[list[Piece], list[Piece]] = ([], [])
    for tag, start, end, first, last in _operations(old, new):
        for side, words in zip(sides, (old[start:end], new[first:last]), strict=True):
            if words:
                side.append(Piece("".join(words), tag != "equal"))
    return sides


def _operations(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    if max(len(old), len(new)) <= _MOST_WORDS:
        yield from SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        return
    head = common_prefix(old, new)
    tail = common_prefix(old[: head - 1 if head else None : -1], new[: head - 1 if head else None : -1])
    yield "equal", 0, head, 0, head
    yield "replace", head, len(old) - tail, head, len(new) - tail
    yield "equal", len(old) - tail, len(old), len(new) - tail, len(new)


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
