"""Metrics: one file for each family, found by name.

In: outcomes of items. Out: sufficient statistics, and scores that are functions of their sum.

Metrics come from this package, from entry points of the group `harness.metrics`, and from `metrics/*.py` below the user's
folders (HARNESS_PATH, and every folder passed to `load_folder`). All are imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.metrics.base import PLUGINS, Metric, build

EVALUATE_PREFIX = "evaluate:"


def load(name: str, options: Mapping[str, Any] | None = None) -> Metric[Any]:
    """Build the metric `name` with its options; `evaluate:NAME[:KEY]` is a metric of the evaluate library.

    Raises:
        MetricError: the name or an option is unknown, or the value of an option is not allowed.
    """
    known()
    if name.startswith(EVALUATE_PREFIX):
        from harness.metrics.evaluate_plugin import from_name

        return from_name(name, options or {})
    return build(name, options or {})


def known() -> Mapping[str, type[Metric[Any]]]:
    """Every metric class by name: built in, installed as a plug-in, and in the user's folders."""
    return PLUGINS.known()


def load_folder(path: Path) -> None:
    """Register the metrics in `metrics/*.py` below `path`, if there are any.

    Raises:
        MetricError: a file cannot be imported, or uses the name of another metric.
    """
    PLUGINS.load_folder(path)
