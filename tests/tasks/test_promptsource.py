from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.contract import Item
from harness.errors import TaskError
from harness.tasks.prompts import Question, TemplateVariant
from harness.tasks.promptsource import extend, load
from harness.tasks.registry import TaskRegistry
from harness.tasks.schema import Task, Template
from tests.tasks.cases import ROWS, content, item, task, write_rows, write_yaml

FILE = """
dataset: invented
subset: tickets
templates:
  0001: !Template
    id: 0001
    name: What's the mood?
    answer_choices: angry ||| calm ||| glad
    jinja: |-
      A customer writes: {{ text }}

      How does the customer feel? |||
      {{ answer_choices[label] }}
    metadata: !TemplateMetadata
      choices_in_prompt: false
      languages: [en]
      metrics: [Accuracy]
      original_task: true
    reference: ''
  0002: !Template
    name: what's the mood
    answer_choices: null
    jinja: '{{ text }}'
    reference: ''
  0003: !Template
    name: backwards
    jinja: 'Write a message of a customer who is {{ label }}. ||| {{ text }}'
    metadata: !TemplateMetadata {original_task: false}
"""


def written(path: Path, *templates: str | dict[str, Any]) -> Path:
    """A file of these templates, given by their Jinja or whole."""
    lines = ["templates:"]
    for number, given in enumerate(templates):
        whole = {"name": f"t{number}", "jinja": given} if isinstance(given, str) else {"name": f"t{number}"} | given
        text = yaml.safe_dump(whole, default_flow_style=True, width=10_000, allow_unicode=True).strip()
        lines.append(f"  id{number}: !Template {text}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def only(path: Path) -> Template:
    (template,) = load(path)
    return template


def asked(template: Template, one: Item, **changes: Any) -> tuple[str, Question]:
    """The prompt of an item and its question."""
    variant = TemplateVariant(task(**changes), template, chat=False)
    question = variant.question(one)
    return variant.prompt(question, ()).text, question


def test_a_file_gives_its_original_templates_under_names_of_task_files(tmp_path: Path) -> None:
    path = tmp_path / "templates.yaml"
    path.write_text(FILE)
    first, second = load(path)
    assert (first.name, second.name) == ("What_s_the_mood", "what_s_the_mood")
    assert second.choices is None
    assert second.target is None


def test_names_that_become_equal_are_numbered(tmp_path: Path) -> None:
    names = [
        template.name for template in load(written(tmp_path / "t.yaml", *({"name": n, "jinja": "x"} for n in ("a b", "a_b", "?", "a?b"))))
    ]
    assert names == ["a_b", "a_b_2", "template", "a_b_3"]


def test_the_parts_of_a_template_are_prompt_choices_and_target(tmp_path: Path) -> None:
    path = tmp_path / "templates.yaml"
    path.write_text(FILE)
    prompt, question = asked(load(path)[0], item(0, text="Where is it?!", label=2))
    assert prompt == "A customer writes: Where is it?!\n\nHow does the customer feel?"
    assert question.choices == ("angry", "calm", "glad")
    assert question.targets == (2,)


def test_a_template_without_separator_keeps_the_tasks_target_and_choices(tmp_path: Path) -> None:
    prompt, question = asked(only(written(tmp_path / "t.yaml", "  What colour is {{ thing }}? ")), item(0, thing="the sky", label=1))
    assert prompt == "What colour is the sky?"
    assert (question.choices, question.targets) == (("red", "blue"), (1,))


def test_separators_inside_a_row_do_not_separate(tmp_path: Path) -> None:
    template = only(
        written(tmp_path / "t.yaml", {"jinja": "{{ text }} ||| {{ answer_choices[1] }}", "answer_choices": "{{ a[0] }}|||{{ a[1] }}"})
    )
    prompt, question = asked(template, item(0, text="x ||| y", a=["p ||| q", "r"]))
    assert prompt == "x ||| y"
    assert (question.choices, question.targets) == (("p ||| q", "r"), (1,))


def test_a_block_may_span_the_separator(tmp_path: Path) -> None:
    template = only(written(tmp_path / "t.yaml", "{% if label %}A {{ thing }} ||| blue{% else %}B {{ thing }} ||| red{% endif %}"))
    assert asked(template, item(0, thing="x", label=1))[0] == "A x"
    prompt, question = asked(template, item(0, thing="x", label=0))
    assert (prompt, question.references) == ("B x", ("red",))


def test_an_item_for_which_a_template_gives_nothing_is_an_error(tmp_path: Path) -> None:
    template = only(written(tmp_path / "t.yaml", "{% if label %}{{ thing }} ||| blue{% endif %}"))
    with pytest.raises(TaskError, match=r"Task colours, template t0, item 7: for this item the template renders 0 '\|\|\|' instead of 1"):
        asked(template, Item("7", {"thing": "x", "label": 0}, ""))


AWKWARD = 'He said "no", C:\\new\\table, {curly}, größer 🦊 \u2028 and }} too: {{ thing }}'


def test_any_character_of_a_template_survives(tmp_path: Path) -> None:
    prompt, _ = asked(only(written(tmp_path / "t.yaml", AWKWARD.replace("}} too", "{{ '}}' }} too"))), item(0, thing="x", label=0))
    assert prompt == AWKWARD.replace("{{ thing }}", "x")


def test_idioms(tmp_path: Path) -> None:
    jinja = "{{ votes | most_frequent | join('+') }} {{ one | to_list | length }} {% for a, b in zip(votes, votes) %}{{ a }}{% endfor %}"
    template = only(written(tmp_path / "t.yaml", jinja + " {{ one | highlight }} ||| {{ [one] | choice }}"))
    prompt, question = asked(template, item(0, votes=["b", "a", "b", "a", "c"], one="red"))
    assert prompt == "b+a 1 babac red"
    assert question.references == ("red",)


def drawing(tmp_path: Path) -> Template:
    return only(
        written(
            tmp_path / "t.yaml",
            "{% set it = [0, 1] | choice %}{{ choice(['a', 'b', 'c']) }}{{ it }} {{ text }} ||| {{ ['red', 'blue'][it] }}",
        )
    )


def test_choice_is_an_items_own_and_the_same_on_both_sides(tmp_path: Path) -> None:
    template = drawing(tmp_path)
    items = [item(number, text=f"thing {number}") for number in range(40)]
    first = [asked(template, one) for one in items]
    assert first == [asked(template, one) for one in items]
    assert {prompt[:2] for prompt, _ in first} == {"a0", "a1", "b0", "b1", "c0", "c1"}
    assert all(question.targets == (int(prompt[1]),) for prompt, question in first)


def test_cutting_a_long_text_does_not_move_what_was_picked(tmp_path: Path) -> None:
    template = drawing(tmp_path)
    for number in range(20):
        text = f"thing {number} " + "and so on " * 50
        assert asked(template, item(0, text=text))[0][:2] == asked(template, item(0, text=text[:60]))[0][:2]


REFUSED_ON_A_ROW = [
    ("{{ thing }} {{ nothing }} ||| red", "'nothing' is undefined"),
    ("{{ thing.__class__.__mro__ }} ||| red", "__class__"),
    ("{% include 'x' %} ||| red", "no loader"),
    ("{{ thing }} ||| purple", "the target 'purple' is neither an index nor one of the choices"),
]


@pytest.mark.parametrize(("jinja", "told"), REFUSED_ON_A_ROW, ids=[told for _, told in REFUSED_ON_A_ROW])
def test_what_fails_on_a_row_names_the_item(tmp_path: Path, jinja: str, told: str) -> None:
    with pytest.raises(TaskError) as caught:
        asked(only(written(tmp_path / "t.yaml", jinja)), item(3, thing="x", label=0))
    assert told in str(caught.value)
    assert "template t0, item 3" in caught.value.what


def test_a_column_called_answer_choices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="column 'answer_choices'"):
        asked(only(written(tmp_path / "t.yaml", "{{ thing }}")), item(0, thing="x", label=0, answer_choices=["a"]))


WRONG_FILES = [
    ("templates: [", "not valid|expected|did not find"),
    ("- a\n- b", "valid dictionary|instance of _File"),
    ("templates: {}", "no template for its original task"),
    ("templates:\n  a: !Template {name: x}", "templates.a.jinja: field required"),
    ("templates:\n  a: !Template {name: x, jinja: 3}", "templates.a.jinja"),
    ("templates:\n  a: !Template {name: x, jinja: '{{ a'}", "template 'x': .*line 1"),
    ("templates:\n  a: !Template {name: x, jinja: 'a', answer_choices: '{{ a | nope }}'}", "template 'x': No filter named 'nope'"),
    ("templates:\n  a: !Template [x]", "t.yaml:2: expected a mapping"),
    ("templates:\n  a: !Other {name: x, jinja: y}", "t.yaml:2: could not determine a constructor for the tag '!Other'"),
    ("templates: &a\n  a: !Template {name: x, jinja: *a}", "recursive|unhashable|valid string"),
]


@pytest.mark.parametrize(("text", "told"), WRONG_FILES, ids=[text for text, _ in WRONG_FILES])
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(TaskError, match=told) as caught:
        load(path)
    assert str(path) in caught.value.what


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="No such file"):
        load(tmp_path / "none.yaml")


def test_tags_that_run_code_are_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "t.yaml", tmp_path / "trace"
    path.write_text(f"templates: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{trace}']]")
    with pytest.raises(TaskError, match="could not determine a constructor"):
        load(path)
    assert not trace.exists()


def test_a_task_points_to_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "template_variants").mkdir()
    written(tmp_path / "template_variants" / "t.yaml", "{{ thing }}? ||| {{ ['red', 'blue'][label] }}")
    write_rows(tmp_path / "rows.jsonl", ROWS)
    path = write_yaml(tmp_path / "task.yaml", content(templates=None, template_files=["template_variants/t.yaml"]))
    (entry,) = TaskRegistry().select([str(path)]).entries
    assert [template.name for template in entry.task.templates] == ["t0"]
    path = write_yaml(tmp_path / "task.yaml", content(template_files=["template_variants/t.yaml"]))
    (entry,) = TaskRegistry().select([str(path)]).entries
    assert [template.name for template in entry.task.templates] == ["plain", "t0"]


def test_templates_of_the_command_line_come_first(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    selection = TaskRegistry().select([str(write_yaml(tmp_path / "task.yaml", content()))])
    (entry,) = selection.with_templates(load(written(tmp_path / "t.yaml", "{{ thing }}"))).entries
    assert [template.name for template in entry.task.templates] == ["t0", "plain"]
    assert entry.template(None).name == "t0"


def test_extend_keeps_the_rules_of_tasks(tmp_path: Path) -> None:
    template = only(written(tmp_path / "t.yaml", {"name": "plain", "jinja": "{{ thing }}"}))
    with pytest.raises(TaskError, match="'plain' is given twice"):
        extend(task(), (template,))
    bare = Task.model_validate(
        content(choices=None, target=None, templates=[{"name": "own", "prompt": "x", "choices": ["a", "b"], "target": "label"}])
    )
    with pytest.raises(TaskError, match="template 'plain' has no target"):
        extend(bare, (template,))
    longer = extend(task(metrics=[{"metric": "accuracy", "normalize": "bytes", "as": "acc"}]), (only(written(tmp_path / "t.yaml", "x")),))
    assert longer.metrics[0].options == {"normalize": "bytes"}
    assert longer.metrics[0].key == "acc"
