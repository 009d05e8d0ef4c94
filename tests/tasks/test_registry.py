from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import TaskError
from harness.tasks.registry import Selection, TaskRegistry
from tests.tasks.cases import content, write_yaml

Make = Callable[..., TaskRegistry]


def group(name: str, tasks: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"group": name, "title": f"The group {name}", "tasks": tasks or [], "aggregate": [{"metric": "accuracy"}]} | more


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A registry of tasks a_one, a_two, b_one and the given groups."""

    def with_groups(*groups: dict[str, Any]) -> TaskRegistry:
        for name in ("a_one", "a_two", "b_one"):
            write_yaml(tmp_path / "tasks" / "deep" / f"{name}.yaml", content(task=name))
        for one in groups:
            write_yaml(tmp_path / "tasks" / f"{one['group']}.yaml", one)
        registry = TaskRegistry()
        registry.add_folder(tmp_path / "tasks")
        return registry

    return with_groups


def names(selection: Selection) -> list[str]:
    return [entry.task.task for entry in selection.entries]


def refusal(registry: TaskRegistry, *asked: str) -> TaskError:
    with pytest.raises(TaskError) as caught:
        registry.select(asked)
    return caught.value


def test_names_keep_their_order_and_count_once(make: Make) -> None:
    selection = make().select(["b_one", "a_one", "b_one"])
    assert names(selection) == ["b_one", "a_one"]
    assert selection.labels == {"b_one": "b_one", "a_one": "a_one"}


def test_a_group_opens_into_its_tasks_under_its_own_label(make: Make) -> None:
    selection = make(group("all", ["b_one", "a_*"])).select(["all"])
    assert names(selection) == ["b_one", "a_one", "a_two"]
    assert set(selection.labels.values()) == {"all"}
    assert list(selection.groups["all"][1]) == ["b_one", "a_one", "a_two"]


def test_tasks_join_groups_themselves(make: Make, tmp_path: Path) -> None:
    write_yaml(tmp_path / "tasks" / "joined.yaml", content(task="joined", groups=["club"]))
    assert make(group("club", ["a_one"])).members("club") == ["a_one", "joined"]


def test_groups_hold_groups_and_each_task_once(make: Make) -> None:
    registry = make(group("inner", ["a_one", "a_two"]), group("outer", ["a_two", "inner", "b_one"]))
    assert registry.members("outer") == ["a_two", "a_one", "b_one"]
    selection = registry.select(["outer"])
    assert list(selection.groups) == ["outer", "inner"], "outer ones first"


def test_a_nested_group_weighs_as_much_as_a_task_of_its_own(make: Make) -> None:
    registry = make(group("inner", ["a_one", "a_two"]), group("outer", ["inner", "b_one"]))
    weights = registry.select(["outer"]).groups["outer"][1]
    assert dict(weights) == {"a_one": 0.25, "a_two": 0.25, "b_one": 0.5}


def test_a_group_all_of_whose_tasks_are_chosen_is_scored_too(make: Make) -> None:
    registry = make(group("pair", ["a_*"]))
    assert list(registry.select(["a_two", "b_one", "a_one"]).groups) == ["pair"]
    assert registry.select(["a_two", "b_one"]).groups == {}


def test_a_group_without_aggregate_has_no_score(make: Make) -> None:
    assert make(group("list", ["a_one"], aggregate=[])).select(["list"]).groups == {}


def test_a_circle_of_groups_is_told(make: Make) -> None:
    registry = make(group("one", ["two"]), group("two", ["one"]))
    assert "contains itself" in refusal(registry, "one").what
    assert "contains itself" in refusal(make(group("own", ["own"])), "own").what


def test_a_group_that_names_nothing_is_told_with_its_file(make: Make, tmp_path: Path) -> None:
    error = refusal(make(group("wrong", ["a_three"])), "wrong")
    assert str(tmp_path / "tasks" / "wrong.yaml") in error.what
    assert "'a_three'" in error.what


def test_globs_match_task_names(make: Make) -> None:
    assert names(make().select(["*_one"])) == ["a_one", "b_one"]
    assert "Unknown task 'z*'" in refusal(make(), "z*").what


def test_unknown_names_are_told_with_near_ones(make: Make) -> None:
    registry = make(group("everything", ["a_one"]))
    assert refusal(registry, "a_onne").remedy == "Did you mean a_one, b_one?"
    assert refusal(registry, "evrything").remedy == "Did you mean everything?"
    assert refusal(registry, "O").remedy == "Did you mean a_one, a_two, b_one?"
    assert "harness tasks list" in refusal(registry, "zzzzzz").remedy
    assert "No task is selected" in refusal(registry).what


def test_a_name_may_lack_what_stands_before_it(make: Make) -> None:
    registry = make(group("everything", ["a_one"]))
    assert names(registry.select(["TWO", "Everything"])) == ["a_two", "a_one"]
    assert registry.find("two").task.task == "a_two"
    assert refusal(registry, "one").what == "Unknown task 'one'.", "two tasks end so"


def test_a_path_of_a_file_will_do(make: Make, tmp_path: Path, in_tmp: Path) -> None:
    path = write_yaml(tmp_path / "mine" / "own.yaml", content(task="own_${n}", expand={"n": ["x", "y"]}))
    assert names(make().select([str(path)])) == ["own_x", "own_y"]
    selection = make().select(["mine/own.yaml"])
    assert names(selection) == ["own_x", "own_y"]
    assert set(selection.labels.values()) == {"mine/own.yaml"}
    assert selection.entries[0].path.parent == Path("mine")


def test_the_path_of_a_group_file_opens_the_group(make: Make, tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "mine.yml", group("mine", ["a_*"]))
    assert names(make().select([str(path)])) == ["a_one", "a_two"]


def test_a_path_that_is_not_there_is_told(make: Make) -> None:
    assert "Cannot read the task file no/such.yaml" in refusal(make(), "no/such.yaml").what


def test_names_beginning_with_an_underscore_are_only_for_include(make: Make, tmp_path: Path) -> None:
    write_yaml(tmp_path / "tasks" / "_part.yaml", {"half": "a task"})
    assert set(make().tasks) == {"a_one", "a_two", "b_one"}


def test_two_files_of_one_folder_cannot_share_a_name(make: Make, tmp_path: Path) -> None:
    write_yaml(tmp_path / "tasks" / "again.yaml", content(task="a_one"))
    with pytest.raises(TaskError, match="already defines 'a_one'"):
        make()


def test_a_family_needs_a_name_for_each_member(make: Make, tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "family.yaml", content(task="same", expand={"n": ["x", "y"]}))
    assert "gives the name 'same' twice" in refusal(make(), str(path)).what


def test_a_user_task_replaces_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write_yaml(tmp_path / "tasks" / "mine.yaml", content(task="glue_rte"))
    shipped = TaskRegistry.default().tasks["glue_rte"]
    monkeypatch.setenv("HARNESS_PATH", f"{tmp_path}:{tmp_path / 'absent'}")
    entry = TaskRegistry.default().tasks["glue_rte"]
    assert entry.path == own
    assert entry.task.about.title == "Colours of things" != shipped.task.about.title


def test_a_user_task_may_join_a_shipped_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_yaml(tmp_path / "tasks" / "mine.yaml", content(task="glue_mine", groups=["glue"]))
    monkeypatch.setenv("HARNESS_PATH", str(tmp_path))
    assert "glue_mine" in TaskRegistry.default().members("glue")


def test_templates_go_by_name_and_the_first_is_the_default(make: Make, tmp_path: Path) -> None:
    two = [{"name": "plain", "prompt": "x"}, {"name": "long", "prompt": "y"}]
    path = write_yaml(tmp_path / "own.yaml", content(task="own", templates=two))
    entry = make().select([str(path)]).entries[0]
    assert entry.template(None).name == "plain"
    assert entry.template("long").prompt == "y"
    with pytest.raises(TaskError, match="has no template 'lnog'") as caught:
        entry.template("lnog")
    assert caught.value.remedy == "Its templates: plain, long."


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"target": "label +"}, "target"),
    ({"choices": ["{{ red", "blue"]}, "choices.0"),
    ({"choices": "options["}, "choices"),
    ({"templates": [{"name": "plain", "prompt": "{{ thing"}]}, "templates.0.prompt"),
    ({"templates": [{"name": "plain", "prompt": "x", "system": "{% if %}"}]}, "templates.0.system"),
    ({"templates": [{"name": "plain", "prompt": "x", "header": "{{ }}"}]}, "templates.0.header"),
    ({"templates": [{"name": "plain", "prompt": "x", "target": ")"}]}, "templates.0.target"),
    ({"templates": [{"name": "plain", "prompts": ["x", "{{ }}"]}]}, "templates.0.prompts.1"),
    ({"templates": [{"name": "plain", "prompt": "x", "unconditional": "{{"}]}, "templates.0.unconditional"),
    ({"labels": {"kind": "a b"}}, "labels.kind"),
    ({"data": {"path": "a/b", "split": "t", "filter": "a ==="}}, "data.filter"),
    ({"data": {"path": "a/b", "split": "t", "id": "a b"}}, "data.id"),
    ({"data": {"path": "a/b", "split": "t", "derive": {"x": "|"}}}, "data.derive.x"),
    ({"data": {"path": "a/b", "split": "t", "merge": {"by": "(", "collect": ["x"]}}}, "data.merge.by"),
]


@pytest.mark.parametrize(("change", "place"), BROKEN, ids=[place for _, place in BROKEN])
def test_jinja_slips_are_told_when_the_task_is_asked_for(tmp_path: Path, change: dict[str, Any], place: str) -> None:
    path = write_yaml(tmp_path / "own.yaml", content(**change))
    with pytest.raises(TaskError) as caught:
        TaskRegistry().select([str(path)])
    assert caught.value.what.startswith(f"Task colours, {place} ({path}:"), caught.value.what
