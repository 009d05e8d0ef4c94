"""What reads results needs neither the libraries that evaluate models nor a POSIX system."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.util.libraries import EXTRAS
from tests.gate.made import quiz, run, texts

PACKAGE = Path(__file__).resolve().parent.parent / "harness"
POSIX = {"crypt", "fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
"""Modules of the standard library that Windows does not have, but for `posix`, which `os` is made of here."""

ENGINES = ("harness.engine.transformers.", "harness.lm_eval.", "harness.report.plots.", "harness.tune.")
"""Modules whose libraries an extra installs; they may import them at the top."""

REFUSE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in [name for name in sys.modules if name.partition(".")[0] in REFUSED]:
    del sys.modules[name]
sys.meta_path.insert(0, Refuse())
"""
MAIN = "from harness.cli import main\nmain()"


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs on a task of choices and on one of texts, whose metrics have statistics on disk."""
    before = run(tmp_path / "before", {"quiz": quiz(60, 100), "essay": texts([5, 6, 7, 8] * 10)})
    return before, run(tmp_path / "after", {"quiz": quiz(62, 100), "essay": texts([5, 6, 7, 7] * 10)})


def modules() -> list[str]:
    """Dotted names of all modules in the package."""
    paths = [path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py"]
    return sorted(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in paths)


def without(libraries: set[str], code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter in which these libraries cannot be imported."""
    script = f"REFUSED = {libraries!r}\n{REFUSE}\n{code}"
    return subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)


def command(*arguments: object, libraries: set[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of `harness` where no optional library is installed."""
    return without(set(EXTRAS) if libraries is None else libraries, MAIN, *arguments)


def test_every_light_module_can_be_imported_without_the_optional_libraries() -> None:
    light = [name for name in modules() if not f"{name}.".startswith(ENGINES)]
    assert {"harness.gate.decision", "harness.metrics.translation", "harness.models.loading"} <= set(light)
    done = without(set(EXTRAS) | POSIX, "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)", *light)
    assert done.returncode == 0, done.stderr


def imported_at_the_top(path: Path) -> set[str]:
    """Top-level names of what a module imports when it is imported itself; imports in functions do not count."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_no_module_imports_what_windows_does_not_have() -> None:
    assert {str(path): names for path in PACKAGE.rglob("*.py") if (names := imported_at_the_top(path) & {*POSIX, "posix"})} == {}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("tasks", "list"), ("run", "--help"), ("gate", "--help")], ids=" ".join)
def test_help_and_lists(arguments: tuple[str, ...]) -> None:
    done = command(*arguments, libraries=set(EXTRAS) | POSIX)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_results_are_compared_and_gated(runs: tuple[Path, Path]) -> None:
    before, after = runs
    board = command("leaderboard", before, after, "--format", "json")
    assert board.returncode == 0, board.stderr
    assert json.loads(board.stdout)
    changes = command("forgetting", "--before", before, "--after", after)
    assert changes.returncode == 0, changes.stderr
    assert "quiz" in changes.stdout
    assert "essay" in changes.stdout
    decision = command("gate", after, "--baseline", before)
    assert decision.returncode in (0, 1, 3), decision.stderr
    assert command("results", "verify", after).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "library", "extra"),
    [
        (("tasks", "render", "demo_sentiment"), "datasets", "hf"),
        (("tasks", "check", PACKAGE.parent / "tasks" / "demo" / "sentiment.yaml"), "datasets", "hf"),
        (("tune", "--model", "x", "--task", "demo_sentiment", "--method", "lora", "--name", "y"), "torch", "hf"),
    ],
    ids=["render", "check", "tune"],
)
def test_a_missing_library_is_one_message_with_the_command_that_installs_it(
    arguments: tuple[object, ...], library: str, extra: str
) -> None:
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    install = f"Install it: pip install 'adapter-harness[{extra}]'."
    assert done.stderr.splitlines() == [f"Error: The library {library} is not installed.", install]


def test_evaluating_without_torch(runs: tuple[Path, Path], tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name, content in {"config.json": "{}", "model.safetensors": ""}.items():
        (model / name).write_text(content)
    done = command("run", "--model", model, "--tasks", "demo_sentiment", "--output", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert "pip install 'adapter-harness[hf]'" in done.stderr
    assert "Traceback" not in done.stderr
