"""How answers are judged: one file per family of metrics, found by name.

Metrics come from this package, from entry points of the group `harness.metrics`, and from `metrics/*.py` below the user's
folders (HARNESS_PATH, and every folder given to `load_folder`). All are imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.metrics.base import PLUGINS, Metric, build

EVALUATE_PREFIX = "evaluate:"


def load(name: str, options: Mapping[str, Any] | None = None) -> Metric[Any]:
    """The metric `name` with its options; `evaluate:NAME[:KEY]` is a metric of the evaluate library.

    Raises:
        MetricError: the name is unknown, or an option does not exist or has a value that is not allowed.
    """
    known()
    if name.startswith(EVALUATE_PREFIX):
        from harness.metrics.evaluate_plugin import from_name

        return from_name(name, options or {})
    return build(name, options or {})


def known() -> Mapping[str, type[Metric[Any]]]:
    """Every metric's class by name: shipped, installed as a plug-in, and from the user's folders."""
    return PLUGINS.known()


def load_folder(path: Path) -> None:
    """Make the metrics in `metrics/*.py` below `path` known; a folder without them adds none.

    Raises:
        MetricError: a file cannot be imported, or takes a name that another metric has.
    """
    PLUGINS.load_folder(path)
