"""Run the recipes of CONTRIBUTING.md and the backend of docs/backends.md: write files, run commands, and look at the results."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.engine import base as engines
from harness.export import base as exports
from harness.metrics import base as metrics
from harness.perturb import base as perturbations
from harness.report import base as reports
from harness.toxicity import base as toxicity
from tests.outside import harness_outside

ROOT = Path(__file__).resolve().parent.parent


def section(page: str, title: str) -> str:
    """What stands below a heading of a page, up to the next one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.split(r"^## ", text.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


BACKEND = section("docs/backends.md", "Write a backend")
RECIPES = section("CONTRIBUTING.md", "Recipes") + BACKEND
FILES: dict[str, str] = dict(re.findall(r"^`(my/[^`]+)`:\n\n```\w+\n(.*?)^```", RECIPES, re.DOTALL | re.MULTILINE))
COMMANDS: list[str] = re.findall(r"^\$ harness (.+)$", RECIPES, re.MULTILINE)


@dataclass(frozen=True)
class Done:
    """A folder in which the recipes were carried out, and what each command printed."""

    place: Path
    printed: dict[str, str]

    def results(self, name: str, task: str) -> dict[str, Any]:
        """The record of a task."""
        content = json.loads((self.place / "results" / name / "results.json").read_text(encoding="utf-8"))
        record: dict[str, Any] = content["tasks"][task]
        return record


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    place = tmp_path_factory.mktemp("recipes")
    for name, text in FILES.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    printed = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(place / "cache"))
        patch.setenv("HARNESS_OFFLINE", "1")
        for command in COMMANDS:
            process = harness_outside(place, place / "my", *shlex.split(command))
            assert process.returncode == 0, f"harness {command}\n{process.stdout}{process.stderr}"
            printed[command] = process.stdout
    return Done(place, printed)


def test_the_recipes_add_one_of_each() -> None:
    assert {name.split("/")[1] for name in FILES} == {"tasks", "metrics", "engines", "perturbations", "reports", "exports"}
    assert len(re.findall(r"^```(?!\n)(?!console)", RECIPES, re.MULTILINE)) == len(FILES), "every block names its file"
    assert len(COMMANDS) >= len(re.findall("^### ", RECIPES, re.MULTILINE))


def test_the_task_is_valid_and_scored(done: Done) -> None:
    (checked,) = (text for command, text in done.printed.items() if command.startswith("tasks check"))
    assert "2 passed, 0 skipped, 0 failed" in checked
    rows = [json.loads(line) for line in FILES["my/tasks/capitals.jsonl"].splitlines()]
    correct = [max(row["options"], key=len) == row["options"][row["answer"]] for row in rows]
    assert done.results("longest", "capitals")["metrics"]["accuracy"]["value"] == pytest.approx(sum(correct) / len(rows))


def test_the_metric_has_its_options_in_the_signature(done: Done) -> None:
    metrics = done.results("probability", "capitals_probability")["metrics"]
    assert set(metrics) == {"accuracy", "probability", "flatter"}
    assert 0 < metrics["flatter"]["value"] < 1
    code = hashlib.sha256(FILES["my/metrics/probability.py"].encode()).hexdigest()[:16]
    assert metrics["flatter"]["signature"] == {"name": "probability", "version": 1, "temperature": 2.0, "code": code}
    assert metrics["probability"]["ci"] is not None


def test_the_backend_answers(done: Done) -> None:
    content = json.loads((done.place / "results" / "guess" / "results.json").read_text(encoding="utf-8"))
    assert content["system"]["engine"] == "guess"
    assert content["efficiency"]["requests"]["computed"] == 3


def test_the_backend_that_reads_text_scores_generates_and_chats(done: Done) -> None:
    for name, chat in (("parrot", False), ("parrot_chat", True)):
        folder = done.place / "results" / name
        system = json.loads((folder / "results.json").read_text(encoding="utf-8"))["system"]
        assert (system["identity"], system["chat_template_digest"] is not None) == ("remote", chat)
        assert done.results(name, "demo_knowledge")["metrics"]["accuracy"]["n"] == 5
        samples = [json.loads(line) for line in (folder / "samples" / "demo_dialogue.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [sample["prediction"] for sample in samples] == ["Dialogue:"] * 5, "cut before the stop string"
    assert "`my/engines/parrot.py`:" in BACKEND
    assert len(FILES["my/engines/parrot.py"].splitlines()) <= 60


def test_the_export_has_every_score(done: Done) -> None:
    lines = [json.loads(line) for line in (done.place / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    values = {(line["system"], line["task"], line["metric"]): line["value"] for line in lines}
    assert values["longest@mock", "capitals", "accuracy"] == done.results("longest", "capitals")["metrics"]["accuracy"]["value"]
    assert {system for system, _, _ in values} == {"longest@mock", "1@guess"}


def test_every_kind_of_plug_in_is_in_the_table_of_folders() -> None:
    table = dict(re.findall(r"^\| `(\w+)/` \|.*\| `@(\w+)`, `[\w.]+` \|", RECIPES, re.MULTILINE))
    kinds = {base.PLUGINS.folder for base in (engines, exports, metrics, perturbations, reports, toxicity)}
    assert set(table) == kinds
    modules = re.findall(r"`@(\w+)`, `(harness\.[\w.]+)`", RECIPES)
    assert all(callable(getattr(importlib.import_module(module), name)) for name, module in modules)
    assert len(modules) == len(kinds)


def test_the_perturbation_is_measured(done: Done) -> None:
    drops = done.results("perturbed", "demo_sentiment")["perturbations"]
    assert any("no_punctuation" in json.dumps(drop) for drop in drops)


def test_the_report_names_the_systems(done: Done) -> None:
    (podium,) = (text for command, text in done.printed.items() if command.endswith("--format podium"))
    assert re.fullmatch(r"1\. \S+\n2\. \S+\n", podium)
