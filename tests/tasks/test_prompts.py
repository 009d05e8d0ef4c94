from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contract import Item, Message
from harness.errors import TaskError
from harness.tasks.prompts import Question, TemplateVariant, draw_shots
from tests.tasks.cases import item, task, things

TEMPLATE = {
    "name": "plain",
    "system": "You know {{ thing }}.",
    "header": "Colours.\n",
    "prompt": "Q: {{ thing }}?\nA:",
    "delimiter": " ",
    "separator": "\n--\n",
}


def variant(*, chat: bool = False, template: dict[str, Any] | None = None, **changes: Any) -> TemplateVariant:
    made = task(templates=[template or TEMPLATE], **changes)
    return TemplateVariant(made, made.templates[0], chat)


def questions(words: TemplateVariant, count: int) -> list[Question]:
    return [words.question(one) for one in things(count)]


def test_a_plain_prompt_with_shots() -> None:
    words = variant()
    asked, first, second = questions(words, 3)
    prompt = words.prompt(asked, [first, second])
    assert prompt.text == ("You know thing 0.\n--\nColours.\nQ: thing 1?\nA: blue\n--\nQ: thing 2?\nA: red\n--\nQ: thing 0?\nA:")
    assert (prompt.messages, prompt.delimiter) == (None, " ")


def test_a_plain_prompt_without_shots_system_or_header() -> None:
    words = variant(template={"name": "bare", "prompt": "{{ thing }}"})
    assert words.prompt(questions(words, 1)[0], []).text == "thing 0"


def test_a_chat_prompt_has_the_header_before_its_first_question() -> None:
    words = variant(chat=True)
    asked, shot = questions(words, 2)
    prompt = words.prompt(asked, [shot])
    assert prompt.messages == (
        Message("system", "You know thing 0."),
        Message("user", "Colours.\nQ: thing 1?\nA:"),
        Message("assistant", "blue"),
        Message("user", "Q: thing 0?\nA:"),
    )
    assert prompt.delimiter == ""
    assert prompt.text.startswith("system: You know thing 0.\n\nuser: Colours.\n")
    alone = words.prompt(asked, []).messages
    assert alone is not None
    assert alone[-1] == Message("user", "Colours.\nQ: thing 0?\nA:")


EACH = {"name": "each", "prompts": ["{{ thing }} is", "{{ thing }} was"], "delimiter": " ", "separator": "|"}


def test_each_choice_may_have_a_prompt_of_its_own() -> None:
    words = variant(template=EACH)
    asked, shot = questions(words, 2)
    assert [prompt.text for prompt in words.prompts(asked, [shot])] == ["thing 1 was blue|thing 0 is", "thing 1 was blue|thing 0 was"]
    assert words.prompt(asked, []).text == "thing 0 is", "the right choice's"
    assert len(variant().prompts(asked, [])) == 1


def test_there_is_a_prompt_for_each_choice() -> None:
    words = variant(template={**EACH, "choices": ["a", "b", "c"]})
    with pytest.raises(TaskError, match=r"item 0: there are 2 prompts for 3 choices"):
        words.prompts(questions(words, 1)[0], [])


def test_choices_and_target_of_a_question() -> None:
    question = variant(choices=["{{ thing }} is red", "blue"]).question(item(4, thing="it", label=0))
    assert question.choices == ("it is red", "blue")
    assert (question.targets, question.references) == ((0,), ("it is red",))


def test_choices_may_come_from_the_row() -> None:
    question = variant(choices="options", target="answer").question(item(1, thing="x", options=["a", 2, "c"], answer="c"))
    assert (question.choices, question.targets) == (("a", "2", "c"), (2,))


def test_a_truth_value_is_an_index() -> None:
    assert variant(target="label == 1").question(item(1, thing="x", label=1)).targets == (1,)


def test_several_choices_may_be_right_and_a_shot_shows_the_first() -> None:
    question = variant(choices="options", target="answer").question(item(1, thing="x", options=["a", "b", "c"], answer=[2, "a", 2]))
    assert (question.targets, question.references) == ((2, 0), ("c", "a"))


def test_labels_are_what_the_task_says_of_an_item() -> None:
    question = variant(labels={"kind": "thing | upper", "pair": "[label, thing]"}).question(item(1, thing="x", label=1))
    assert question.labels == {"kind": "X", "pair": [1, "x"]}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"options": "abc", "answer": 0}, "choices must be a list, not str"),
        ({"options": ["one"], "answer": 0}, "at least two choices"),
        ({"options": ["one", ""], "answer": 0}, "none of them empty"),
        ({"options": ["one", "two"], "answer": 2}, "the target 2 is neither an index nor one of the choices"),
        ({"options": ["one", "two"], "answer": -1}, "without a label"),
        ({"options": ["one", "two"], "answer": "three"}, "'three'"),
        ({"options": ["one", "two"], "answer": 0.0}, "the target 0.0"),
        ({"options": ["one", "two"], "answer": None}, "the target None"),
        ({"options": ["one", "two"], "answer": []}, "no choice is correct"),
        ({"options": ["one", "two"], "answer": [0, 5]}, "the target 5"),
        ({"options": ["one", "two"]}, "'answer' is undefined"),
    ],
)
def test_a_question_that_cannot_be_asked_is_told(row: dict[str, Any], told: str) -> None:
    words = variant(choices="options", target="answer")
    with pytest.raises(TaskError) as caught:
        words.question(item(9, thing="x", **row))
    assert "Task colours, template plain, item 9: " in caught.value.what
    assert told in str(caught.value)


@pytest.mark.parametrize(("value", "references"), [("one", ("one",)), (["one", "two"], ("one", "two"))])
def test_generation_has_one_reference_or_several(value: Any, references: tuple[str, ...]) -> None:
    words = variant(answer="generate", choices=None, target="text", metrics=["rouge1"])
    question = words.question(item(1, thing="x", text=value))
    assert (question.references, question.targets, question.choices) == (references, (), ())


@pytest.mark.parametrize("value", [7, [], [1], None])
def test_a_reference_that_is_no_text_is_told(value: Any) -> None:
    words = variant(answer="generate", choices=None, target="text", metrics=["rouge1"])
    with pytest.raises(TaskError, match="must be a text or a list of texts"):
        words.question(item(1, thing="x", text=value))


def ids(drawn: list[Item]) -> list[str]:
    return [one.id for one in drawn]


@pytest.mark.parametrize("select", ["first", "random"])
def test_shots_never_hold_the_item_itself(select: str) -> None:
    drawing = task(shots={"split": "test", "number": 3, "select": select})
    pool = things(4)
    for one in pool:
        drawn = draw_shots(drawing, pool, one, 3, 0)
        assert one.id not in ids(drawn)
        assert len(set(ids(drawn))) == 3
    twin = Item("other id", pool[0].row, pool[0].digest)
    assert pool[0] not in draw_shots(drawing, pool, twin, 3, 0), "equal content counts as the item itself"


def test_first_shots_are_the_first_rows() -> None:
    drawing = task(shots={"split": "dev", "number": 2, "select": "first"})
    pool = things(5)
    assert ids(draw_shots(drawing, pool, item(9, thing="new", label=0), 2, 0)) == ["0", "1"]
    assert ids(draw_shots(drawing, pool, pool[0], 2, 7)) == ["1", "2"]


def test_random_shots_depend_on_seed_task_and_item() -> None:
    drawing, renamed = task(shots={"split": "dev"}), task(task="shades", shots={"split": "dev"})
    pool, asked = things(50), things(60)[50:]
    draws = {(one.id, seed): ids(draw_shots(drawing, pool, one, 5, seed)) for one in asked for seed in (0, 1)}
    assert len({tuple(drawn) for drawn in draws.values()}) == len(draws)
    assert ids(draw_shots(renamed, pool, asked[0], 5, 0)) != draws[asked[0].id, 0]
    assert ids(draw_shots(drawing, pool, asked[0], 5, 0)) == draws[asked[0].id, 0]


def test_fewer_random_shots_are_the_first_of_more() -> None:
    drawing, pool = task(shots={"split": "dev"}), things(20)
    many = ids(draw_shots(drawing, pool, pool[3], 8, 0))
    assert [ids(draw_shots(drawing, pool, pool[3], number, 0)) for number in range(9)] == [many[:number] for number in range(9)]


@pytest.mark.parametrize("select", ["first", "random"])
def test_too_few_shots_are_told(select: str) -> None:
    drawing = task(shots={"split": "dev", "select": select})
    pool = things(3)
    with pytest.raises(TaskError, match=r"3 few-shot examples are needed, but the split 'dev' has only 2 other items"):
        draw_shots(drawing, pool, pool[0], 3, 0)
    assert len(draw_shots(drawing, pool, pool[0], 2, 0)) == 2


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(12)), limit=st.integers(1, 12), number=st.integers(0, 6), seed=st.integers(0, 2**32))
def test_an_items_shots_do_not_depend_on_the_other_items(order: list[int], limit: int, number: int, seed: int) -> None:
    """Neither --limit nor order nor sharding changes a prompt."""
    drawing, items, pool = task(shots={"split": "dev"}), things(12), things(30)[12:]
    alone = {one.id: ids(draw_shots(drawing, pool, one, number, seed)) for one in items}
    together = {items[place].id: ids(draw_shots(drawing, pool, items[place], number, seed)) for place in order[:limit]}
    assert together == {item_id: alone[item_id] for item_id in together}
