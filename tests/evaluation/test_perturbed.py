"""Copies of questions in other words: what is changed, and what never is."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import pytest

from harness.evaluation.perturbed import columns, perturbed
from harness.perturb.base import Perturbation
from harness.tasks.prompts import Question, TemplateVariant
from tests.tasks.cases import item, task


@dataclass(frozen=True)
class Shouting(Perturbation):
    """Every letter in upper case."""

    name: ClassVar[str] = "shouting"

    def apply(self, text: str, random: Random) -> str:
        return text.upper()


@dataclass(frozen=True)
class Renaming(Perturbation):
    """One name for another, answers included."""

    name: ClassVar[str] = "renaming"
    references: ClassVar[bool] = True

    def apply(self, text: str, random: Random) -> str:
        return text.replace("Ann", "Zoe")


QUESTION: dict[str, Any] = {"name": "plain", "prompt": "Read: {{ text }}\nWho came? {{ options | join(' or ') }}"}
PEOPLE: dict[str, Any] = {"templates": [QUESTION], "choices": "options", "target": "who"}


def variant(**changes: Any) -> TemplateVariant:
    made = task(**changes)
    return TemplateVariant(made, made.templates[0], False)


def item_requests(one: TemplateVariant, **row: Any) -> Question:
    return one.question(item(7, **row))


def test_only_the_items_own_text_in_the_prompt_is_changed() -> None:
    one = variant(templates=[{"name": "plain", "prompt": "Colour of {{ thing }}?"}])
    original = item_requests(one, thing="the sky", label=1, note="not shown")
    (copy,) = perturbed(one, [original], Shouting(), 0).values()
    assert one.prompt(copy, []).text == "Colour of THE SKY?"
    assert copy.item.row["note"] == "not shown"
    assert (copy.item.id, copy.item.digest) == (original.item.id, original.item.digest), "runs pair copies with their originals"
    assert (copy.choices, copy.targets, copy.references) == (original.choices, original.targets, original.references)


def test_choices_shown_in_the_prompt_stay_as_they_are_scored() -> None:
    one = variant(**PEOPLE)
    original = item_requests(one, text="ann came", options=["Ann", "Bob"], who="Ann")
    (copy,) = perturbed(one, [original], Shouting(), 0).values()
    assert one.prompt(copy, []).text == "Read: ANN CAME\nWho came? Ann or Bob"
    assert columns(one) == {"text"}


def test_a_column_that_the_target_reads_is_left_alone() -> None:
    one = variant(templates=[{"name": "plain", "prompt": "{{ text }} {{ answer }}"}], choices=["yes", "no"], target="answer")
    assert columns(one) == {"text"}


def test_a_task_may_name_the_columns() -> None:
    assert columns(variant(perturb=["thing"], templates=[{"name": "plain", "prompt": "{{ text }}"}])) == {"thing"}


def test_perturbations_of_references_change_the_whole_item_alike() -> None:
    one = variant(**PEOPLE)
    original = item_requests(one, text="Ann came", options=["Bob", "Ann"], who="Ann")
    (copy,) = perturbed(one, [original], Renaming(), 0).values()
    assert one.prompt(copy, []).text == "Read: Zoe came\nWho came? Bob or Zoe"
    assert (copy.choices, copy.targets, copy.references) == (("Bob", "Zoe"), (1,), ("Zoe",))


def test_where_other_words_would_move_the_target_the_answers_stay() -> None:
    one = variant(templates=[{"name": "plain", "prompt": "{{ text }}"}], choices=["no", "yes"], target="1 if who == 'Ann' else 0")
    original = item_requests(one, text="Ann came", who="Ann")
    assert original.targets == (1,)
    (copy,) = perturbed(one, [original], Renaming(), 0).values()
    assert (copy.targets, one.prompt(copy, []).text) == ((1,), "Zoe came")


def test_items_whose_shown_text_does_not_change_have_no_copy() -> None:
    one = variant(**PEOPLE)
    items = [item_requests(one, text=text, options=["Bob", "Eve"], who="Eve") for text in ("Bob came", "Ann came")]
    assert list(perturbed(one, items, Renaming(), 0)) == [1]
    unseen = item_requests(one, text="Bob came", options=["Bob", "Eve"], who="Eve", hidden="Ann")
    assert perturbed(one, [unseen], Renaming(), 0) == {}


def test_texts_inside_lists_and_mappings_change_too() -> None:
    one = variant(templates=[{"name": "plain", "prompt": "{{ talk[0].said }}"}], choices=["a", "b"], target="0")
    original = item_requests(one, talk=[{"said": "Ann!", "at": 3}])
    (copy,) = perturbed(one, [original], Renaming(), 0).values()
    assert copy.item.row == {"talk": [{"said": "Zoe!", "at": 3}]}
    assert original.item.row == {"talk": [{"said": "Ann!", "at": 3}]}


@pytest.mark.parametrize("seed", [0, 1])
def test_copies_depend_on_seed_and_item_alone(seed: int) -> None:
    from harness.perturb import parse

    (typos,) = parse("typos:0.5")
    one = variant(templates=[{"name": "plain", "prompt": "{{ thing }}"}])
    items = [one.question(item(number, thing="a rather long sentence about birds", label=0)) for number in range(4)]
    texts = {place: copy.item.row["thing"] for place, copy in perturbed(one, items, typos, seed).items()}
    alone = perturbed(one, [items[2]], typos, seed)[0].item.row["thing"]
    assert alone == texts[2]
    assert len(set(texts.values())) == 4, "items are disturbed apart"
