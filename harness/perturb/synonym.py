"""Synonyms from WordNet, through NLTK."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from harness.errors import InputError
from harness.perturb.base import Perturbation, perturbation
from harness.perturb.phrases import words
from harness.util.libraries import install_command

NO_NLTK = f"synonyms need NLTK, which is not installed: run `{install_command('nlg')}`"
NO_WORDNET = (
    "synonyms need WordNet, but NLTK does not find it: run `python -m nltk.downloader wordnet`, "
    "or set NLTK_DATA to a folder with corpora/wordnet"
)
SHORTEST = 3
"""Fewest letters; shorter words are abbreviations or function words in WordNet."""


@perturbation("synonym")
@dataclass(frozen=True)
class Synonym(Perturbation):
    """Replaces base forms that WordNet knows as a single part of speech by a synonym in their most frequent sense.

    Args:
        rate: probability that a word with a synonym is replaced.
    """

    rate: float = 0.1

    def unavailable(self) -> str | None:
        """The reason, if NLTK or WordNet is missing."""
        if importlib.util.find_spec("nltk") is None:
            return NO_NLTK
        return NO_WORDNET if _wordnet() is None else None

    def apply(self, text: str, random: Random) -> str:
        """The text with synonyms.

        Raises:
            InputError: NLTK or WordNet is not installed.
        """
        missing = self.unavailable()
        if missing is not None:
            raise InputError(f"Perturbation 'synonym': {missing}.", "Remove it from --perturb, or install what it needs.")
        wordnet = _wordnet()

        def other(word: str) -> str | None:
            choices = _synonyms(wordnet, word.lower())
            return random.choice(choices) if choices and random.random() < self.rate else None

        return words(text, other)

    def libraries(self) -> dict[str, str]:
        """The releases of NLTK and WordNet, or that they are missing."""
        if self.unavailable() is not None:
            return {"wordnet": "missing"}
        return {"nltk": importlib.metadata.version("nltk"), "wordnet": _wordnet().get_version()}


def _wordnet() -> Any:
    """NLTK's WordNet reader; None if its files are not found."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return None
    return wordnet


@cache
def _synonyms(wordnet: Any, word: str) -> tuple[str, ...]:
    if len(word) < SHORTEST:
        return ()
    senses = wordnet.synsets(word)
    # In WordNet "s" is a satellite adjective.
    if len({sense.pos().replace("s", "a") for sense in senses}) != 1 or word not in senses[0].lemma_names():
        return ()
    return tuple(sorted(name for name in senses[0].lemma_names() if name != word and name.isalpha() and name.islower()))
