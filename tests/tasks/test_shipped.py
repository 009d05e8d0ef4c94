"""Every shipped task's templates, on a row made by hand of the columns that its dataset's page documents."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness import metrics
from harness.contract import Item
from harness.metrics.base import check_form
from harness.tasks.data import DataReader, digest
from harness.tasks.prompts import TemplateVariant, rendered
from harness.tasks.registry import TaskRegistry

GLUE = {"sentence1": "It rains.", "sentence2": "It is wet.", "label": 0, "idx": 0}
EXAM = {"question": "Which is even?", "subject": "college_biology", "choices": ["one", "two", "three", "five"], "answer": 1}
CAPTION = {"en": "A dog runs.", "de": "Ein Hund rennt."}
DIALOGUE = {
    "id": "test_0_1",
    "dialogue": "#Person1#: Tea?\n#Person2#: Yes, please.",
    "summary": ["They have tea.", "Tea is offered."],
    "topic": ["tea", "drinks"],
}
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "mmlu_anatomy": (EXAM, "question"),
    "mmlu_world_religions": (EXAM, "question"),
    "glue_sst2": ({"sentence": "a fine film ", "label": 1, "idx": 0}, "sentence"),
    "glue_rte": (GLUE, "sentence1"),
    "dialogsum": (DIALOGUE, "dialogue"),
    "multi30k_de_en": (CAPTION, "de"),
    "multi30k_en_de": (CAPTION, "en"),
}
"""Rows of datasets, and the column that is asked."""

FILES = {"demo_knowledge": "question", "demo_sentiment": "review", "demo_dialogue": "dialogue", "demo_translation": "de"}


@pytest.fixture(scope="module")
def registry() -> TaskRegistry:
    return TaskRegistry.default()


@pytest.mark.parametrize("name", [*ROWS, *FILES])
def test_templates_render_and_show_the_row(registry: TaskRegistry, name: str) -> None:
    entry = registry.tasks[name]
    if name in ROWS:
        row, column = ROWS[name]
        item = Item("0", row, digest(row))
    else:
        item, column = DataReader().split(entry.task, entry.task.data.split, entry.path.parent).items[0], FILES[name]
    asked = item.row[column].strip()
    assert len({template.prompt for template in entry.task.templates}) == len(entry.task.templates) >= 2
    for template in entry.task.templates:
        variant = TemplateVariant(entry.task, template, chat=False)
        question = variant.question(item)
        plain = variant.prompt(question, [question])
        assert plain.text.count(asked) == 2, "once in the shot, once in the question"
        assert question.references[0] in plain.text
        assert not re.search(r"\{\{|\{%|\$\{", plain.text)
        assert plain.text == plain.text.rstrip(), "trailing white space belongs to the delimiter"
        chat = TemplateVariant(entry.task, template, chat=True).prompt(question, []).messages
        assert chat is not None
        assert asked in chat[-1].content


def test_metrics_judge_the_answer_form(registry: TaskRegistry) -> None:
    for entry in registry.tasks.values():
        for spec in entry.task.metrics:
            check_form(metrics.load(spec.metric, spec.options), entry.task.answer)


def test_aggregates_name_metrics_of_their_tasks(registry: TaskRegistry) -> None:
    for name, (group, _) in registry.groups.items():
        members = registry.members(name)
        assert members, name
        for aggregate in group.aggregate:
            lacking = [m for m in members if aggregate.metric and aggregate.metric not in [s.key for s in registry.tasks[m].task.metrics]]
            assert not lacking, f"{name}: {aggregate.metric} is no metric of {lacking}"


def test_rendered_prompts_carry_their_shots_and_answers(registry: TaskRegistry) -> None:
    entry = registry.tasks["demo_knowledge"]
    one, two = rendered(entry.task, entry.template("cloze"), DataReader(), entry.path.parent, 2, shots=1)
    assert one.prompt.count("Question:") == two.prompt.count("Question:") == 2
    assert one.answer not in one.others
    assert len(one.others) == 3
    (bare,) = rendered(entry.task, entry.template("cloze"), DataReader(), entry.path.parent, 1, shots=0)
    assert one.prompt.endswith(bare.prompt)
