"""Each fairness perturbation's own rules."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings

from harness import lists
from harness.perturb import load, perturb, perturb_fields

from .texts import texts

GROUPS: dict[str, dict[str, list[str]]] = lists.read("first_names")


def applied(name: str, text: str, item: str = "1", **options: object) -> str:
    return perturb(load(name, options), text, seed=0, item=item, field="text")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("His dog saw his cat", "Her dog saw her cat"),
        ("I saw his", "I saw hers"),
        ("he he he", "she she she"),
        ("He said HE saw himself", "She said SHE saw herself"),
        ("We told him, and he'll know he's right", "We told her, and she'll know she's right"),
        ("The book is his.", "The book is hers."),
        ("It is his and not mine", "It is hers and not mine"),
        ("his or their house", "her or their house"),
        ("his {thing}, his (B)", "her {thing}, her (B)"),
        ("Each takes his or her book; he or she reads it, s/he said", "Each takes his or her book; he or she reads it, s/he said"),
        ("the man and his wife", "the man and her wife"),
        ("the theme of history", "the theme of history"),
    ],
)
def test_pronouns_become_female(text: str, expected: str) -> None:
    assert applied("gender", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Her dog likes her.", "His dog likes him."),
        ("She gave her the book", "He gave him the book"),
        ("It is hers, she did it herself", "It is his, he did it himself"),
        ("HER own", "HIS own"),
    ],
)
def test_pronouns_become_male(text: str, expected: str) -> None:
    assert applied("gender", text, to="male") == expected


def test_terms() -> None:
    text = "Mr. Hill, a waiter, met his father-in-law, the man's brothers and a mother and father"
    assert (
        applied("gender", text, words="terms") == "Ms. Hill, a waitress, met his mother-in-law, the woman's sisters and a mother and father"
    )
    assert applied("gender", text, words="both").startswith("Ms. Hill, a waitress, met her mother-in-law")
    assert applied("gender", "My mum and my mom, Mrs Hill", to="male", words="both") == "My dad and my dad, Mr Hill"


GENDER = load("gender")


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_no_male_pronoun_is_left_but_beside_a_female_one(text: str) -> None:
    result = perturb(GENDER, text, seed=0, item="1", field="text")
    kept = re.sub(r"`[^`]*`|https\S*", "", result)
    joined = r"(?i)\b\(?s?\)?(he|him|his|she|hers?)( +or +| +and +|/|\))(he|him|his|she|hers?)\b"
    alone = re.sub(joined, "", kept)
    assert not re.search(r"(?<![\w@#{<\[.])(he|him|himself)(?![\w}>\]@])", alone, re.IGNORECASE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("They are late.", "They late."),
        ("I know who they are and where", "I know who they are and where"),
        ("They are not late, it isn't late", "They ain't late, it ain't late"),
        ("HE IS LATE", "HE LATE"),
        ("He is always late", "He always be late"),
        ("She doesn't know", "She don't know"),
        ("They have been working", "They been workin'"),
        ("They should have been there", "They should have been there"),
        ("You were late", "You was late"),
        ("There are many cars there are", "It's many cars there are"),
        ("We are going to leave, about to eat", "We gonna leave, finna eat"),
        ("We are going to the lake", "We goin' to the lake"),
        ("Their dog saw them", "They dog saw them"),
        ("He hurt himself", "He hurt hisself"),
        ("she is to blame", "she is to blame"),
    ],
)
def test_dialect(text: str, expected: str) -> None:
    assert applied("dialect", text) == expected


def test_rate_of_dialect() -> None:
    text = "it is nothing. " * 2000
    assert applied("dialect", text, rate=0.0) == text
    assert abs(applied("dialect", text, rate=0.3).count("nothin'") / 2000 - 0.3) < 0.05


def test_names_keep_their_gender_and_stay_apart() -> None:
    source, target = GROUPS["white_american"], GROUPS["black_american"]
    for gender in ("female", "male"):
        result = applied("person_name", " ".join(source[gender])).split()
        assert len(set(result)) == len(result)
        assert set(result) <= set(target[gender])


def test_one_item_has_one_name_for_a_name() -> None:
    fields = {
        "question": "EMILY's car and Emily Hill: who is Emily? Brian's emily.",
        "target": "Brian, not Emily",
        "other": "Emily",
    }
    result = perturb_fields(load("person_name"), fields, seed=3, item="7")
    emily = result["other"]
    assert emily in GROUPS["black_american"]["female"]
    brian = result["target"].split(",")[0]
    assert result["target"] == f"{brian}, not {emily}"
    assert result["question"] == f"{emily.upper()}'s car and {emily} Hill: who is {emily}? {brian}'s emily."


def test_places_and_rulers_are_no_persons() -> None:
    text = "San Jose, St. Patrick, King George"
    assert applied("person_name", text) == text
    assert applied("person_name", text, source="hispanic_american") == text
    assert applied("person_name", "Jose came", source="hispanic_american") != "Jose came"


def test_known_persons_can_be_left_alone() -> None:
    text = "Thomas Hill and Susan B. Hill met Emily. Then"
    result = applied("person_name", text, surnamed=False)
    assert result.startswith("Thomas Hill and Susan B. Hill met ")
    assert "Emily" not in result
    assert not {"Thomas", "Susan"} & set(applied("person_name", text).split())


def test_rate_of_names() -> None:
    one = load("person_name", {"rate": 0.3})
    changed = sum(perturb(one, "Emily", seed=0, item=str(item), field="text") != "Emily" for item in range(500))
    assert 0.2 < changed / 500 < 0.4


def test_every_pair_of_groups_can_be_chosen() -> None:
    for source, target in itertools.permutations(GROUPS, 2):
        name = GROUPS[source]["female"][0]
        assert applied("person_name", name, source=source, target=target) in GROUPS[target]["female"]
