from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from harness.tasks.schema import Group, Task
from tests.tasks.cases import content, task

PLAIN = {"name": "plain", "prompt": "{{ thing }}"}


def test_a_small_task_is_valid_and_has_defaults() -> None:
    made = task()
    assert made.version == 1
    assert (made.shots.number, made.shots.select) == (0, "random")
    assert (made.templates[0].delimiter, made.templates[0].separator) == (" ", "\n\n")
    assert (made.generation.max_new_tokens, made.generation.temperature) == (64, 0.0)
    assert [spec.key for spec in made.metrics] == ["accuracy"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"task": None}, "task"),
    ({"task": "two words"}, "task"),
    ({"task": "../up"}, "task"),
    ({"version": 0}, "version"),
    ({"about": None}, "about"),
    ({"about": {"title": "t", "autor": "x"}}, "about.autor"),
    ({"data": {"split": "test"}}, "give either path"),
    ({"data": {"split": "test", "path": "a/b", "files": {"test": "x.csv"}}}, "give either path"),
    ({"data": {"path": "a/b"}}, "data.split"),
    ({"data": {"path": "a/b", "split": "test", "id": ""}}, "data.id"),
    ({"data": {"path": "a/b", "split": "test", "merge": {"by": "id", "collect": []}}}, "data.merge.collect"),
    ({"answer": "guess"}, "answer"),
    ({"choices": None}, "has no choices"),
    ({"target": None}, "has no target"),
    ({"target": ""}, "target"),
    ({"templates": []}, "templates"),
    ({"templates": [PLAIN, PLAIN]}, "'plain' is given twice"),
    ({"templates": [{"name": "plain"}]}, "needs a prompt"),
    ({"answer": "generate", "templates": [{"name": "plain", "prompts": ["a", "b"]}]}, "only tasks with answer: choices"),
    ({"headline": ["f1"]}, "the task has no such metric"),
    ({"labels": {"kind": ""}}, "labels.kind"),
    ({"shots": {"number": 2}}, "shots.split"),
    ({"shots": {"number": -1, "split": "dev"}}, "shots.number"),
    ({"shots": {"select": "best"}}, "shots.select"),
    ({"generation": {"max_new_tokens": 0}}, "generation.max_new_tokens"),
    ({"generation": {"stop": [""]}}, "generation.stop"),
    ({"generation": {"temperature": -0.1}}, "generation.temperature"),
    ({"generation": {"top_p": 0}}, "generation.top_p"),
    ({"generation": {"top_p": 1.5}}, "generation.top_p"),
    ({"metrics": []}, "needs a metric"),
    ({"metrics": ["accuracy", "accuracy"]}, "'accuracy' is given twice"),
    ({"metrics": [{"normalize": "bytes"}]}, "metric"),
    ({"groups": ["no spaces"]}, "groups"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("change", "told"), WRONG, ids=[f"{'+'.join(change)}-{number}" for number, (change, _) in enumerate(WRONG)])
def test_every_rule_is_held(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Task.model_validate(content(**change))
    places = [".".join(map(str, problem["loc"])) + " " + problem["msg"] for problem in caught.value.errors()]
    assert any(told in place for place in places), places


def test_a_template_may_bring_choices_and_target_of_its_own() -> None:
    own = {**PLAIN, "choices": ["no", "yes"], "target": "1 - label"}
    made = task(choices=None, target=None, templates=[own])
    assert made.templates[0].choices == ("no", "yes")
    with pytest.raises(ValidationError, match="'bare' has no choices"):
        task(choices=None, templates=[own, {"name": "bare", "prompt": "x"}])


def test_choices_are_templates_in_a_list_or_one_expression() -> None:
    assert task(choices=["a", "b"]).choices == ("a", "b")
    assert task(choices="options").choices == "options"


def test_generation_needs_a_target_but_no_choices() -> None:
    assert task(answer="generate", choices=None, target="text", metrics=["rouge1"]).choices is None


def test_metrics_keep_their_options_and_go_by_another_name() -> None:
    made = task(metrics=["accuracy", {"metric": "accuracy", "normalize": "bytes", "as": "accuracy_bytes"}])
    assert [spec.key for spec in made.metrics] == ["accuracy", "accuracy_bytes"]
    assert made.metrics[1].options == {"normalize": "bytes"}


def test_the_headline_is_the_first_metric_unless_named() -> None:
    both = ["accuracy", "f1"]
    assert task(metrics=both).headlines == ("accuracy",)
    assert task(metrics=both, headline=["f1", "accuracy"]).headlines == ("f1", "accuracy")


def test_a_task_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        task().version = 2  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    "wrong", [{"title": "no name"}, {"group": "g"}, {"group": "g", "title": "t", "aggregate": [{"metric": "accuracy", "average": "mean"}]}]
)
def test_group_rules(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Group.model_validate(wrong)


def test_an_aggregate_is_named_after_metric_and_average() -> None:
    aggregate = [{"metric": "accuracy"}, {"metric": "bleu", "average": "micro"}, {"metric": "bleu", "as": "b"}]
    group = Group.model_validate({"group": "g", "title": "t", "aggregate": aggregate})
    assert [one.key for one in group.aggregate] == ["accuracy_macro", "bleu_micro", "b"]


def test_the_published_schema_describes_every_key() -> None:
    schema = Task.model_json_schema(by_alias=True)
    assert set(schema["properties"]) == set(Task.model_fields)
    assert set(schema["required"]) == {"task", "about", "data", "answer", "metrics"}
    assert schema["additionalProperties"] is False
    assert "as" in schema["$defs"]["MetricSpec"]["properties"]
