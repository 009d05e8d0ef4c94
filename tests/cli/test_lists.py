"""The commands that list, show and check."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from harness import __version__
from harness.tasks.registry import TaskRegistry
from tests.cli.conftest import Call
from tests.tasks.cases import ROWS, content, write_yaml

SHIPPED = Path(__file__).resolve().parents[2] / "tasks"


def printed(call: Call, *arguments: str | Path) -> str:
    done = call(*arguments)
    assert (done.code, done.err) == (0, "")
    return done.out


def test_help_and_version(call: Call) -> None:
    out = printed(call, "--help")
    assert all(command in out for command in ("run", "forgetting", "leaderboard", "gate", "tune", "tasks", "models", "adapters", "results"))
    assert printed(call, "--version") == f"harness {__version__}\n"


@pytest.mark.parametrize("command", ["run", "forgetting", "leaderboard", "gate", "tune", "tasks", "models", "adapters", "results"])
def test_every_command_has_help(call: Call, command: str) -> None:
    assert "Usage: harness" in printed(call, command, "--help")


def test_tasks_list_shows_every_task_and_group(call: Call) -> None:
    lines = [line.split()[0] for line in printed(call, "tasks", "list").splitlines()[1:]]
    registry = TaskRegistry.default()
    assert sorted(lines) == sorted([*registry.tasks, *registry.groups, *registry.families])


def test_tasks_list_of_a_pattern(call: Call) -> None:
    lines = [line.split()[0] for line in printed(call, "tasks", "list", "anatomy").splitlines()[1:]]
    assert "mmlu_anatomy" in lines
    assert "glue_rte" not in lines


def test_tasks_list_holds_the_users_own(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_yaml(place / "mine" / "tasks" / "own.yaml", content(task="shades"))
    monkeypatch.setenv("HARNESS_PATH", str(place / "mine"))
    assert "shades" in printed(call, "tasks", "list")


def test_tasks_show_prints_a_task_that_can_be_read_again(call: Call) -> None:
    out = printed(call, "tasks", "show", "demo_sentiment")
    path, text = out.split("\n", 1)
    assert path.strip().endswith("sentiment.yaml")
    shown = yaml.safe_load(text)
    assert shown["task"] == "demo_sentiment"
    assert [template["name"] for template in shown["templates"]] == ["statement", "question", "options"]


def test_tasks_show_prints_a_group(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aggregate = [{"metric": "accuracy"}, {"as": "overall"}]
    write_yaml(place / "mine" / "tasks" / "pair.yaml", {"group": "pair", "title": "A pair", "tasks": ["glue_r*"], "aggregate": aggregate})
    monkeypatch.setenv("HARNESS_PATH", str(place / "mine"))
    out = printed(call, "tasks", "show", "pair")
    assert "pair: A pair" in out
    assert "accuracy_macro: macro average of accuracy" in out
    assert "overall: macro average of the tasks' headline scores" in out
    assert "glue_rte" in out


def test_tasks_render_shows_prompt_answer_and_other_choices(call: Call, place: Path) -> None:
    out = printed(call, "tasks", "render", place / "task.yaml", "-n", "2")
    assert [f"What colour is {row['thing']}?" in out for row in ROWS] == [True, True, False]
    assert "What colour is the sky? blue" in out
    assert "other choices: red" in out


def test_tasks_render_with_shots_and_template(call: Call) -> None:
    out = printed(call, "tasks", "render", "demo_knowledge", "--template", "letters", "--shots", "1")
    assert out.count("A. ") == 2
    assert out.count("Answer:") == 2


def test_the_demo_tasks_check_out(call: Call) -> None:
    out = printed(call, "tasks", "check", SHIPPED / "demo")
    names = {"demo", *(f"demo_{name}" for name in ("dialogue", "knowledge", "sentiment", "translation"))}
    assert set(re.findall(r"^OK\s+(\w+):", out, re.MULTILINE)) == names


@pytest.mark.parametrize(("arguments", "key"), [([], "task"), (["--group"], "group")])
def test_tasks_schema_is_a_json_schema(call: Call, arguments: list[str], key: str) -> None:
    schema = json.loads(printed(call, "tasks", "schema", *arguments))
    assert schema["type"] == "object"
    assert key in schema["required"]


def test_models_list_and_show(call: Call, tiny: Path) -> None:
    assert "flan-t5-base" in printed(call, "models", "list")
    assert "google/flan-t5-base" in printed(call, "models", "show", "flan-t5-base")
    out = printed(call, "models", "show", tiny)
    assert "LlamaForCausalLM" in out
    assert "39,072" in out


def test_adapters_list_and_show(call: Call, place: Path) -> None:
    write_yaml(place / "adapters" / "mine.yaml", {"name": "dialogue_lora", "title": "Mine", "weights": {"tiny": "nowhere"}})
    assert "dialogue_lora" in printed(call, "adapters", "list")
    card = printed(call, "adapters", "show", "dialogue_lora")
    assert "dialogue_lora" in card
    assert "Mine" in card


def test_results_schema_names_every_part(call: Call) -> None:
    schema = json.loads(printed(call, "results", "schema"))
    assert {"system", "tasks", "groups", "efficiency", "environment"} <= set(schema["required"])
