"""Evaluate fine-tuned language models: what improved, what was forgotten, which adapter to keep, and whether it can ship.

    import harness

    before = harness.evaluate("smollm2-135m-instruct", "glue,mmlu", limit=100)
    after = harness.evaluate("smollm2-135m-instruct", "glue,mmlu", adapter="adapters/lora_r8", limit=100)
    comparison = harness.compare(before, after, target="glue_sst2")
    decision = harness.gate(after, baseline=before, policy="gate.yaml")

The functions and classes are imported when they are first used, so that `import harness` costs almost nothing. Three of the functions are
named like the packages that they call (`compare`, `gate`, `tune`); those packages can be called, and do what the function does.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api.comparing import Comparison as Comparison
    from harness.api.comparing import Decision as Decision
    from harness.api.comparing import compare as compare
    from harness.api.comparing import gate as gate
    from harness.api.runs import Run as Run
    from harness.api.runs import evaluate as evaluate
    from harness.api.runs import load_run as load_run
    from harness.api.tuning import tune as tune
    from harness.errors import HarnessError as HarnessError

__version__ = "0.1.0"
__all__ = ["Comparison", "Decision", "HarnessError", "Run", "__version__", "compare", "evaluate", "gate", "load_run", "tune"]

_HOMES = {
    "Comparison": "harness.api.comparing",
    "Decision": "harness.api.comparing",
    "HarnessError": "harness.errors",
    "Run": "harness.api.runs",
    "compare": "harness.api.comparing",
    "evaluate": "harness.api.runs",
    "gate": "harness.api.comparing",
    "load_run": "harness.api.runs",
    "tune": "harness.api.tuning",
}
"""The module that defines each public name."""

_PACKAGES = ("compare", "gate", "tune")
"""Packages named like a function."""


class _CallablePackage(ModuleType):
    """A package that does what the public function of its name does when it is called."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.__wrapped__(*arguments, **keywords)

    @property
    def __wrapped__(self) -> Any:
        """The function, whose signature `help()` and notebooks show."""
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(_HOMES[name]), name)


class _Harness(ModuleType):
    """This package. Python binds a package to its parent when it is first imported; those named like a function become callable then."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PACKAGES and type(value) is ModuleType:
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Harness


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"harness.{name}") if name in _PACKAGES else getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
