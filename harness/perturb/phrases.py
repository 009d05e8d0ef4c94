"""Words and phrases replaced in one pass: whole words only, the longest phrase first, the case kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from harness.perturb.base import MASK

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""A word with its inner apostrophes."""

_INNER_APOSTROPHE = "['’]"
_START = rf"(?<!\w)(?<!\w{_INNER_APOSTROPHE})"


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is replaced, where.

    Attributes:
        text: words with single spaces between, lower case.
        becomes: what stands there instead, or the same text for a phrase that is left alone.
        before: a regular expression that must match what follows.
        owner: whether an apostrophe and letters may follow ("Ann's", "he'll").
    """

    text: str
    becomes: str
    before: str = ""
    owner: bool = False

    @property
    def pattern(self) -> str:
        """As a regular expression: any number of spaces between words, either apostrophe."""
        words = [re.escape(word).replace("'", _INNER_APOSTROPHE) for word in self.text.split(" ")]
        end = r"(?!\w)" if self.owner else rf"(?!\w)(?!{_INNER_APOSTROPHE}\w)"
        return "[ ]+".join(words) + end + self.before


class Phrases:
    """Phrases that are replaced together, so that nothing is replaced twice."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        self._phrases = sorted(phrases, key=lambda phrase: (-len(phrase.text), phrase.text))
        arms = "|".join(f"({phrase.pattern})" for phrase in self._phrases)
        self._pattern = re.compile(f"{_START}(?:{arms})", re.IGNORECASE)

    def replace(self, text: str, chosen: Callable[[], bool] = lambda: True) -> str:
        """`text` with every phrase replaced for which `chosen` says so; it is asked once for each phrase found."""

        def new(found: re.Match[str]) -> str:
            phrase = self._phrases[(found.lastindex or 1) - 1]
            if phrase.becomes == phrase.text or not chosen():
                return found[0]
            return like(found[0], phrase.becomes)

        return self._pattern.sub(new, text)


def words(text: str, new: Callable[[str], str | None]) -> str:
    """`text` with each word for which `new` (given the word) has another replaced by it, in the word's case."""

    def replaced(found: re.Match[str]) -> str:
        other = new(found[0])
        return found[0] if other is None else like(found[0], other)

    return WORD.sub(replaced, text)


def like(old: str, new: str) -> str:
    """`new` in the case of `old`: he, He, HE give she, She, SHE."""
    letters = [character for character in old if character.isalpha()]
    if not letters or old == old.lower():
        return new.lower()
    if len(letters) > 1 and all(letter.isupper() for letter in letters):
        return new.upper()
    return new[:1].upper() + new[1:] if letters[0].isupper() else new


def follows(*, word: bool = False, never: Iterable[str] = (), only: Iterable[str] = ()) -> str:
    """What must follow a phrase, as a regular expression.

    Args:
        word: whether another word or a protected part must, behind spaces.
        never: words of which none may.
        only: words of which one must.
    """
    refused, wanted = ("|".join(map(re.escape, some)) for some in (never, only))
    return (
        (rf"(?![ ]+(?:{refused})(?!\w))" if refused else "")
        + (rf"(?=[ ]+(?:{wanted})(?!\w))" if wanted else "")
        + (rf"(?=[ ]+(?:[^\W_]|{MASK}))" if word else "")
    )


def plain(table: Mapping[str, str], before: str = "") -> list[Phrase]:
    """The phrases of a table from text to what it becomes, all with the same surroundings."""
    return [Phrase(text, becomes, before) for text, becomes in table.items()]
