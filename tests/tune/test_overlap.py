"""Rows that equal evaluated items, or nearly do."""

from __future__ import annotations

from harness.tune.overlap import EvaluatedItems
from tests.tasks.cases import item

LONG = "the quick brown fox jumps over the lazy dog while seven other animals watch from behind the old garden wall"


def test_equal_rows_are_those_with_the_same_content() -> None:
    evaluated = EvaluatedItems([item(0, text=LONG, label=1)])
    assert [one.id for one in evaluated.equal([item(5, text=LONG, label=1), item(6, text=LONG, label=0)])] == ["5"]


def test_near_duplicates_share_half_of_an_items_ngrams_whatever_case_and_punctuation() -> None:
    evaluated = EvaluatedItems([item(0, text=LONG)])
    words = LONG.split()
    same = item(1, text=LONG.upper().replace(" ", ", "), id="another id")
    inside = item(2, text=f"he said that {LONG} and went away without another word about any of it")
    half = item(3, text=" ".join([*words[:15], "everything", "else", "differs"]))
    little = item(4, text=" ".join([*words[:10], "everything", "else", "differs", "from", "here", "on"]))
    assert [one.id for one in evaluated.near([same, inside, half, little])] == ["1", "2", "3"]


def test_a_short_row_is_near_only_to_the_same_words() -> None:
    evaluated = EvaluatedItems([item(0, sentence="a fine film", idx=7)])
    near = [item(1, sentence="A fine film.", idx=9), item(2, sentence="a fine film indeed", idx=9), item(3, sentence="a fine")]
    assert [one.id for one in evaluated.near(near)] == ["1"]


def test_texts_in_lists_and_nested_rows_count() -> None:
    evaluated = EvaluatedItems([item(0, answers={"text": [LONG]})])
    assert len(evaluated.near([item(1, text=LONG)])) == 1


def test_nothing_is_near_to_no_items() -> None:
    assert EvaluatedItems([]).near([item(1, text=LONG)]) == []
