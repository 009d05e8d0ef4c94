"""`import harness` costs almost nothing, and its names are there whatever is imported before them."""

from __future__ import annotations

import subprocess
import sys

import harness

HEAVY = {"torch", "transformers", "numpy", "pydantic", "typer", "rich", "jinja2", "yaml"}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_loads_nothing_else() -> None:
    loaded = set(python("import sys, harness; print('\\n'.join(sys.modules))").split())
    assert {name for name in loaded if name.startswith("harness.")} == set()
    assert not loaded & HEAVY


def test_the_import_takes_less_than_a_tenth_of_a_second() -> None:
    code = "import time; began = time.process_time(); import harness; print(time.process_time() - began)"
    assert min(float(python(code)) for _ in range(3)) < 0.1


def test_every_public_name_is_there() -> None:
    assert set(harness.__all__) <= set(dir(harness))
    for name in harness.__all__:
        assert getattr(harness, name) is not None
    assert set(harness._HOMES) == set(harness.__all__) - {"__version__"}
    assert not hasattr(harness, "nothing_of_this_name")


def test_options_are_described_without_libraries() -> None:
    code = "import sys, inspect, harness; inspect.signature(harness.evaluate); print('\\n'.join(sys.modules))"
    assert not set(python(code).split()) & (HEAVY - {"yaml"} | {"scipy"})


def test_functions_named_like_packages_can_be_called_whatever_was_imported_before() -> None:
    code = """
import harness.gate.policy, harness.compare.comparison, harness.tune.settings
import harness, inspect
from harness.gate import policy
from harness import compare
assert harness.gate.policy is policy
for function in (harness.gate, harness.tune, compare):
    assert callable(function)
print(inspect.signature(harness.gate), inspect.signature(compare))
try:
    harness.gate("/nowhere")
except harness.HarnessError as error:
    print(error)
"""
    out = python(code)
    assert "baseline" in out
    assert "margin" in out
    assert "/nowhere" in out


def test_signatures_show_plain_types() -> None:
    shown = python("import harness, inspect; print(inspect.signature(harness.evaluate), inspect.signature(harness.tune))")
    assert "OptionSpec" not in shown
    assert "limit: 'int | None' = None" in shown
