"""The pages on gates and forgetting: their policies, workflows and commands are such as the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.gate.grammar import parse
from harness.gate.policy import read
from tests.cli.conftest import Call, call

__all__ = ["call"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("forgetting.md", "ci.md")
_COMMAND = re.compile(r"(?:^\$ |\b)(harness (?:run|gate|forgetting) [^\n|]*)", re.MULTILINE)


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_policy_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = [block for block in blocks("ci.md", "yaml") if block.startswith("# gate.yaml")]
    path = tmp_path / "gate.yaml"
    path.write_text(text, encoding="utf-8")
    policy = read(path)
    assert len(policy.rules) == 8
    assert policy.targets == ("dialogsum",)
    assert policy.tasks is not None


def test_the_rules_in_the_text_are_rules() -> None:
    table = (DOCS / "ci.md").read_text(encoding="utf-8").split("Rules decide on")[1].split("## GitHub")[0]
    stated = re.findall(r"^\| (`.*?`)(?:, (`.*?`))? \|", table, re.MULTILINE)
    lines = [cell.strip("`") for row in stated for cell in row if cell]
    assert len(lines) == 6
    for line in lines:
        subject = "" if line.startswith(("no task", "signature", "x ")) else "task: "
        parse(subject + re.sub(r"\b[mtf]$", "0.1", line).replace("f ×", "0.8 ×"))


def test_the_workflow_is_yaml_that_restores_keeps_and_gates() -> None:
    workflows: list[dict[str, Any]] = [yaml.safe_load(block) for block in blocks("ci.md", "yaml")[1:]]
    steps = workflows[0]["jobs"]["gate"]["steps"]
    uses = [step["uses"].split("@")[0] for step in steps if "uses" in step]
    assert uses.index("actions/cache/restore") < uses.index("actions/cache/save")
    (gate,) = [step["run"] for step in steps if step.get("name") == "Gate"]
    assert "--junit gate.xml" in gate
    assert '--summary "$GITHUB_STEP_SUMMARY"' in gate
    assert workflows[1]["repos"][0]["hooks"][0]["stages"] == ["pre-push"]


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_only_options_that_exist(page: str, call: Call) -> None:
    text = (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ")
    found = [shlex.split(one.replace("`", " "), comments=True) for one in _COMMAND.findall(text)]
    assert len(found) >= 3
    for _, command, *words in found:
        known = call(command, "--help").out
        for option in (word for word in words if word.startswith("--")):
            assert option in known, (command, option)
