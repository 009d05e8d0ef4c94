"""Texts side by side: the marks are right, and nothing in a text can do harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.texts import Piece, beginning, ending, marked, readable


def own(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in pieces if piece.differs]


def test_words_that_only_one_text_has_are_marked() -> None:
    before, after = marked("Tom invites Ann to dinner.", "Tom calls Ann.")
    assert own(before) == ["invites", " to dinner"]
    assert own(after) == ["calls"]
    assert own(marked("same words", "same words")[0]) == []
    assert marked("", "new")[1] == [Piece("new", True)]


@given(st.text(alphabet="ab .\n", max_size=30), st.text(alphabet="ab .\n", max_size=30))
def test_the_pieces_are_the_texts(one: str, other: str) -> None:
    before, after = marked(one, other)
    assert "".join(piece.text for piece in before) == one
    assert "".join(piece.text for piece in after) == other
    assert [piece.text for piece in before if not piece.differs] == [piece.text for piece in after if not piece.differs]


def test_long_texts_are_marked_between_what_they_share() -> None:
    one = " ".join(f"w{number}" for number in range(4_000))
    other = one.replace("w2000 ", "x y ")
    before, after = marked(one, other)
    assert (own(before), own(after)) == (["w2000"], ["x y"])
    assert "".join(piece.text for piece in after) == other
    longer, _ = marked(one + " end", one)
    assert own(longer) == [" end"]
    shorter, _ = marked(one, "first " + one)
    assert own(shorter) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc\r\nd", "a\tb\nc\nd"),
        ("\x1b[31mred\x07", "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}abc", "\N{REPLACEMENT CHARACTER}abc"),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
        ("می\N{ZERO WIDTH NON-JOINER}خواهم", "می\N{ZERO WIDTH NON-JOINER}خواهم"),
    ],
)
def test_control_characters_are_taken_out_and_languages_left_whole(text: str, shown: str) -> None:
    assert readable(text) == shown


def test_long_texts_are_cut_at_words() -> None:
    assert ending("one two three", 9) == "… three"
    assert beginning("one two three", 9) == "one two …"
    assert ending("short", 9) == beginning("short", 9) == "short"
    assert ending("x" * 20, 5) == "… xxxxx"
    assert beginning("x" * 20, 5) == "xxxxx …"
