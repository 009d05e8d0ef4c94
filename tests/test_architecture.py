"""The rooms of the package, and the arrows between them, which point down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from benchmarks.structure import AT_THE_ROOT, FLOORS, PACKAGE

NEVER = [
    ("gate", "report"),
    ("compare", "report"),
    ("evaluation", "report"),
    ("engine", "tasks"),
    ("engine", "metrics"),
    *(("store", upper) for floor in FLOORS[3:] for upper in floor),
]

HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "accelerate"}
LIGHT_PARTS = ["util", "tasks", "metrics", "perturb", "stats", "store", "compare", "report", "gate"]


def part_of(path: Path) -> str:
    """The sub-package or top-level module that a file belongs to."""
    inner = path.relative_to(PACKAGE)
    return inner.parts[0] if len(inner.parts) > 1 else inner.stem


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere: at the top, in functions, for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def arrows() -> dict[str, set[str]]:
    """Part to the other parts it imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        targets = {name.split(".")[1] for name in imported(path) if name.startswith("harness.")}
        found.setdefault(part_of(path), set()).update(targets - {part_of(path)})
    return found


def floor_of(part: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if part in rooms)


def test_only_the_contract_and_errors_stand_beside_the_rooms() -> None:
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == AT_THE_ROOT


def test_every_room_has_a_floor() -> None:
    assert set(arrows()) <= {room for rooms in FLOORS for room in rooms}


@pytest.mark.parametrize("part", sorted(arrows()))
def test_arrows_point_down(part: str) -> None:
    up = {room for room in arrows()[part] - {"__version__"} if floor_of(room) >= floor_of(part)}
    assert not up, f"{part} must not import {sorted(up)}"


@pytest.mark.parametrize(("part", "other"), NEVER)
def test_some_rooms_never_know_each_other(part: str, other: str) -> None:
    assert other not in arrows().get(part, set())


def test_the_contract_stands_on_the_standard_library_alone() -> None:
    for name in ("contract.py", "errors.py", "util/paths.py"):
        outside = {
            dotted.split(".")[0] for dotted in imported(PACKAGE / name) if not dotted.startswith("harness.errors.")
        } - sys.stdlib_module_names
        assert outside == set(), name


@pytest.mark.parametrize("part", LIGHT_PARTS)
def test_light_parts_import_no_model_library(part: str) -> None:
    for path in (PACKAGE / part).rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(path)} & HEAVY, path


def test_only_figures_draw() -> None:
    users = {part_of(path) for path in PACKAGE.rglob("*.py") if "matplotlib" in {name.split(".")[0] for name in imported(path)}}
    assert users == {"report"}


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint('\\n'.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_light_parts_load_no_model_library_by_way_of_others() -> None:
    names = sorted(
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for part in LIGHT_PARTS
        for path in (PACKAGE / part).rglob("*.py")
    )
    loaded = loaded_by("import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)", "harness.contract", *names)
    assert "numpy" in loaded, "the modules were imported"
    assert not loaded & HEAVY


def test_the_contract_loads_neither_torch_nor_pydantic() -> None:
    assert not loaded_by("import harness.contract, harness.errors") & (HEAVY | {"pydantic", "numpy"})


COMMANDS = [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["tune", "--help"],
    ["forgetting", "--help"],
    ["forgetting", "--schema"],
    ["gate", "--help"],
    ["plot", "--help"],
    ["tasks", "list"],
    ["models", "list"],
    ["adapters", "list"],
]
CALL = """
import contextlib, io
from harness.cli import main
out = io.StringIO()
try:
    with contextlib.redirect_stdout(out):
        main()
except SystemExit as end:
    assert end.code in (0, None) and out.getvalue(), end.code
"""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_quick_commands_load_nothing_heavy(command: list[str]) -> None:
    """Help and lists answer at once, because libraries that take seconds to import wait until they are needed."""
    loaded = loaded_by(CALL, *command)
    assert "typer" in loaded
    assert not loaded & (HEAVY | {"datasets", "evaluate", "scipy", "sacrebleu", "rouge_score", "pandas", "pyarrow", "matplotlib"})
