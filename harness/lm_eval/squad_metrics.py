"""SQuAD's exact match and F1 under the name from which lm-eval's tasks import them.

transformers 5 no longer has `transformers.data.metrics`, without which lm-eval 0.4.13 cannot build ReCoRD, CoQA, XQuAD and others.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from harness.metrics.text import bag_f1, normalized

_PACKAGE = "transformers.data.metrics"

normalize_answer = normalized


def compute_exact(gold: str, predicted: str) -> int:
    """1 where both normalized texts are equal, else 0."""
    return int(normalized(gold) == normalized(predicted))


def compute_f1(gold: str, predicted: str) -> float:
    """F1 of the bags of normalized words."""
    return bag_f1(predicted, gold)


def provide() -> None:
    """Make `transformers.data.metrics.squad_metrics` importable, where transformers lacks it."""
    data = importlib.import_module("transformers.data")
    if _PACKAGE in sys.modules or importlib.util.find_spec(_PACKAGE) is not None:
        return
    package = ModuleType(_PACKAGE, "Stands for a package that transformers no longer has.")
    package.__path__ = []
    vars(package)["squad_metrics"], vars(data)["metrics"] = sys.modules[__name__], package
    sys.modules[_PACKAGE], sys.modules[f"{_PACKAGE}.squad_metrics"] = package, sys.modules[__name__]
