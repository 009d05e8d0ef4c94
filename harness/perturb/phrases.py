"""Replace words and phrases in one pass: whole words only, the longest phrase first, in the original's case."""

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
    """A phrase and its replacement.

    Attributes:
        text: words in lower case, separated by single spaces.
        becomes: the replacement, or the same text for a phrase that stays.
        before: a regular expression that must match the text after the phrase.
        owner: whether an apostrophe and letters may follow ("Ann's", "he'll").
    """

    text: str
    becomes: str
    before: str = ""
    owner: bool = False

    @property
    def pattern(self) -> str:
        """The phrase as a regular expression, with any number of spaces between words and either apostrophe."""
        words = [re.escape(word).replace("'", _INNER_APOSTROPHE) for word in self.text.split(" ")]
        end = r"(?!\w)" if self.owner else rf"(?!\w)(?!{_INNER_APOSTROPHE}\w)"
        return "[ ]+".join(words) + end + self.before


class Phrases:
    """Phrases that are replaced in one pass, so that nothing is replaced twice."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        self._phrases = sorted(phrases, key=lambda phrase: (-len(phrase.text), phrase.text))
        arms = "|".join(f"({phrase.pattern})" for phrase in self._phrases)
        self._pattern = re.compile(f"{_START}(?:{arms})", re.IGNORECASE)

    def replace(self, text: str, chosen: Callable[[], bool] = lambda: True) -> str:
        """Replace every phrase for which `chosen`, which is called once for each match, returns True."""

        def new(match: re.Match[str]) -> str:
            phrase = self._phrases[(match.lastindex or 1) - 1]
            if phrase.becomes == phrase.text or not chosen():
                return match[0]
            return like(match[0], phrase.becomes)

        return self._pattern.sub(new, text)


def words(text: str, new: Callable[[str], str | None]) -> str:
    """Replace each word by `new(word)` in the word's case, unless that is None."""

    def replaced(match: re.Match[str]) -> str:
        other = new(match[0])
        return match[0] if other is None else like(match[0], other)

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
    """A regular expression for the text after a phrase.

    Args:
        word: require spaces and another word or a protected part.
        never: words that must not follow.
        only: words of which one must follow.
    """
    refused, required = ("|".join(map(re.escape, words)) for words in (never, only))
    return (
        (rf"(?![ ]+(?:{refused})(?!\w))" if refused else "")
        + (rf"(?=[ ]+(?:{required})(?!\w))" if required else "")
        + (rf"(?=[ ]+(?:[^\W_]|{MASK}))" if word else "")
    )


def plain(table: Mapping[str, str], before: str = "") -> list[Phrase]:
    """The phrases of a table from text to replacement, with the same condition on the text after them."""
    return [Phrase(text, becomes, before) for text, becomes in table.items()]
