"""Documents name files, modules, commands, options and functions that exist."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import harness
from benchmarks.engine.__main__ import document
from harness.cli import add_commands, app

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
ROOMS = ("harness", "tests", "benchmarks", "docs", "tasks", "adapters")
ELSEWHERE = {"docs/design/pages.md", "docs/toxicity.md"}
"""Pages that mention paths of another project, or of folders that the reader makes."""


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def command_line() -> Any:
    add_commands()
    return typer.main.get_command(app)


def options(words: list[str]) -> set[str]:
    """The options of the command that `words` call."""
    command = command_line()
    for word in words:
        if not hasattr(command, "commands"):
            break
        assert word in command.commands, f"there is no command {word!r}"
        command = command.commands[word]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return known | {"--help", "--version"}


def commands(page: Path) -> Iterator[list[str]]:
    """Words of every `harness …` line in a block of commands, and in code within a sentence."""
    content = text(page).replace("\\\n", " ")
    lines = re.findall(r"^\$ harness (.+)$", content, re.MULTILINE)
    inline = re.findall(r"`harness ([a-z]+[^`\n]*)`", content)
    for line in [*lines, *inline]:
        yield [word for word in shlex.split(line.replace("…", ""), comments=True) if word not in {"|", ">", "&&"}]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text(page))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in commands(page):
        known = options(words)
        assert {word.split("=")[0] for word in words if word.startswith("--")} - known == set(), words


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_modules_and_files_exist(page: Path) -> None:
    content = text(page)
    for module in re.findall(r"python -m ([a-z_.]+[a-z_])", content):
        if module.split(".")[0] in ROOMS:
            assert importlib.util.find_spec(module), module
    for name in re.findall(r"`((?:harness|benchmarks|tests)/[\w./-]+)`", content):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`((?:store|evaluation|compare|engine|models|stats|tasks|metrics|report|util)/[\w./-]+\.py)`", content):
        assert (ROOT / "harness" / name).exists(), name


def test_no_document_names_a_folder_beside_the_checkout() -> None:
    assert [page for page, name in zip(PAGES, IDS, strict=True) if "../shared" in text(page) and name] == []


def test_the_python_code_of_the_readme_calls_what_exists() -> None:
    blocks = re.findall(r"```python\n(.*?)```", text(ROOT / "README.md"), re.DOTALL)
    calls = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    called = [call for call in calls if ast.unparse(call.func).startswith("harness.")]
    assert len(called) >= 4
    for call in called:
        function = getattr(harness, ast.unparse(call.func).removeprefix("harness."))
        keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
        inspect.signature(function).bind(*call.args, **keywords)
    for name in re.findall(r"`harness\.([a-z_]+)", text(ROOT / "README.md")):
        assert name in harness.__all__


def test_every_number_of_a_benchmark_stands_between_its_markers() -> None:
    for page, name in zip(PAGES, IDS, strict=True):
        begun, ended = (re.findall(rf"<!-- {edge} (?!of )(.+?) -->", text(page)) for edge in ("begin", "end"))
        assert begun == ended, name
        assert not re.search(r"<!-- begin .+? -->\s*<!-- end", text(page)), f"{name}: an empty table"


def test_the_engine_tables_are_those_of_the_committed_measurements() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results" / "engine-cpu.json").read_text(encoding="utf-8"))
    assert f"<!-- begin benchmarks.engine -->\n\n{document(measured)}\n\n<!-- end" in text(ROOT / "docs" / "performance.md")
