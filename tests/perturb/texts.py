"""Texts that hypothesis makes up for perturbations: words of their lists, answers' letters, placeholders, and anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from harness import lists

KEPT = (
    "(C)",
    "B)",
    "D.",
    "{question}",
    "{{ passage }}",
    "<extra_id_0>",
    "[MASK]",
    "https://example.org/He?her=his",
    "someone@example.org",
    "#Person1#",
    "@entity7",
    "1,024.5",
    "3rd",
    "____",
    "`he is`",
)
"""What no perturbation may touch."""

CASES: list[Callable[[str], str]] = [str, str.lower, str.upper, str.capitalize]

_SMALL = (
    "I a the he she him her his hers they their there we you it that who what and or not but am is are was were have has had "
    "been will would could should do does did let us always usually already going about to work dog cats never because "
    "because, book. said: 'he' he's "
)
PLAIN = _SMALL.split()


def _words(name: str) -> list[str]:
    """Every word that stands in a list."""

    def inside(part: object) -> list[str]:
        if isinstance(part, dict):
            return [word for key, value in part.items() for word in (*str(key).split(), *inside(value))]
        return [word for one in part for word in inside(one)] if isinstance(part, list) else str(part).split()

    return sorted(set(inside(lists.read(name))))


def _joined(words: Sequence[str]) -> st.SearchStrategy[str]:
    cased = st.tuples(st.sampled_from(words), st.sampled_from(CASES)).map(lambda pair: pair[1](pair[0]))
    word = st.one_of(cased, cased, cased, st.sampled_from(KEPT))
    return st.lists(st.tuples(word, st.sampled_from([" ", " ", " ", "  ", "\n", ", ", ". ", "-"])), max_size=14).map(
        lambda pairs: "".join(word + gap for word, gap in pairs)
    )


NAMED = ("contractions", "gender", "dialect", "first_names", "misspellings")
sentences = st.one_of(_joined(PLAIN), *(_joined([*PLAIN, *_words(name)]) for name in NAMED))
texts = st.one_of(sentences, st.text(max_size=60))
