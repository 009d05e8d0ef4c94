"""What holds for every perturbation: chance, protected parts, signatures."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.perturb import Perturbation, known, load, perturb, perturb_fields
from harness.perturb.base import MASK

from .texts import KEPT, sentences, texts

NAMES = sorted(set(known()) - {"synonym"})
IDEMPOTENT = [
    ("lowercase", {}),
    ("contraction", {}),
    ("expansion", {}),
    *(("gender", {"to": to, "words": words}) for to in ("female", "male") for words in ("pronouns", "terms", "both")),
    ("dialect", {}),
    ("person_name", {}),
    ("person_name", {"source": "black_american", "target": "asian_american"}),
]
LONG = "We know that the committee did not receive the letter that John wrote, because his brother isn't working here. " * 5
LOADED = {name: load(name) for name in NAMES}


def once(perturbation: Perturbation, text: str, item: str = "1", field: str = "question", seed: int = 0) -> str:
    return perturb(perturbation, text, seed=seed, item=item, field=field)


@pytest.mark.parametrize("name", NAMES)
def test_a_perturbation_declares_itself(name: str) -> None:
    one = load(name)
    assert one.family in ("robustness", "fairness")
    assert one.references == (one.family == "fairness")
    assert one.unavailable() is None
    assert one.label == name
    assert one.signature.long.startswith(f"{name}|version:1")
    assert once(one, LONG) != LONG
    assert once(one, "") == ""


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None)
@given(text=texts)
def test_the_same_seed_item_and_field_give_the_same_text(name: str, text: str) -> None:
    assert once(LOADED[name], text) == once(LOADED[name], text)


@pytest.mark.parametrize("name", ["filler", "mild_mix", "misspelling", "person_name", "spaces", "typos"])
def test_seed_and_item_draw_anew(name: str) -> None:
    one = load(name)
    drawn = {once(one, LONG, item=str(item), seed=seed) for item in range(5) for seed in range(2)}
    assert len(drawn) > 5


def test_fields_draw_anew_but_for_names() -> None:
    fields = {"question": LONG, "answer": LONG}
    for name, same in (("typos", False), ("misspelling", False), ("person_name", True), ("gender", True)):
        result = perturb_fields(load(name), fields, seed=0, item="1")
        assert (result["question"] == result["answer"]) is same, name


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_items_does_not_matter(name: str) -> None:
    one = load(name)
    items = [(str(number), LONG[number:]) for number in range(6)]
    forward = {item: once(one, text, item=item) for item, text in items}
    backward = {item: once(one, text, item=item) for item, text in reversed(items)}
    assert forward == backward


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None)
@given(parts=st.lists(st.tuples(sentences, st.sampled_from(KEPT)), min_size=1, max_size=4))
def test_letters_and_placeholders_stay(name: str, parts: list[tuple[str, str]]) -> None:
    text = "".join(f"{before} {kept} " for before, kept in parts)
    result = once(LOADED[name], text)
    place = 0
    for _, kept in parts:
        place = result.index(kept, place) + len(kept)


@pytest.mark.parametrize("letter", ["A", "B", "I", "J"])
@pytest.mark.parametrize(
    "text",
    ["{0}. The cat sat", "Pick {0}) the cat", "Is it ({0})?", "Answer: {0}", "{0}", "{0}: the cat\nB: he", "either {0} or C is right"],
)
@pytest.mark.parametrize("name", ["lowercase", "typos", "mild_mix", "filler"])
def test_an_answers_letter_stands(letter: str, text: str, name: str) -> None:
    one = load(name, {"rate": 1.0} if name in ("typos", "filler") else {})
    whole = text.format(letter)
    place = text.index("{0}")
    around = whole[max(0, place - 1) : place + 2].strip()
    assert around in once(one, whole)


def test_articles_and_pronouns_are_no_answers() -> None:
    assert once(load("lowercase"), "A man and I saw Ann. I think A is right, said the answer I had.") == (
        "a man and i saw ann. i think a is right, said the answer i had."
    )
    assert once(load("lowercase"), "Option A is Right") == "Option A is right"


def test_a_character_like_the_mask_is_kept() -> None:
    assert once(load("lowercase"), f"He {MASK} (B) {MASK}") == f"he {MASK} (B) {MASK}"


def test_long_texts_without_spaces_take_no_time_of_note() -> None:
    """Searching them for addresses and numbers from every letter on would take minutes."""
    text = "ä" * 200_000
    assert once(load("lowercase"), text) == text


@pytest.mark.parametrize("one", [load(name, options) for name, options in IDEMPOTENT], ids=lambda one: one.label)
@settings(max_examples=100, deadline=None)
@given(text=texts)
def test_twice_is_once(one: Perturbation, text: str) -> None:
    first = once(one, text)
    assert once(one, first) == first


def test_a_lost_mask_is_told() -> None:
    @dataclass(frozen=True)
    class Loses(Perturbation):
        def apply(self, text: str, random: Random) -> str:
            return text.replace(MASK, "")

    Loses.name = "loses"
    assert once(Loses(), "nothing here") == "nothing here"
    with pytest.raises(InputError, match=r"'loses' left 0 of 2 protected parts in 'question', item '1'"):
        once(Loses(), "(A) or {this}")


def test_labels_and_signatures_tell_what_is_set() -> None:
    assert load("typos", {"rate": 0.05}).label == "typos:0.05"
    assert load("gender", {"to": "male", "words": "both"}).label == "gender:to=male,words=both"
    assert load("mild_mix", {"rate": 0.2, "most": 2}).label == "mild_mix:0.2,most=2"
    assert load("typos", {"rate": 0.05}).signature.long == "typos|version:1|rate:0.05"
    signature = load("mild_mix").signature
    assert signature.long.startswith("mild_mix|version:1|rate:0.1|most:3|contractions:")
    assert "misspellings" in signature
