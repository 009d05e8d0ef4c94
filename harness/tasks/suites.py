"""Names of tasks that another evaluation harness defines: `SUITE:NAME`, such as `lm_eval:hellaswag`."""

from __future__ import annotations

from collections.abc import Iterable

SUITES = ("lm_eval",)
"""Suites by name; `harness.SUITE.suite` opens the tasks of one."""


def split(names: Iterable[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Separate the names of the harness's own tasks from those of suites.

    Returns:
        The own names, and the names of each suite without their prefix; suites that no name belongs to are left out.
    """
    listed = list(names)
    by_suite = {suite: tuple(name.removeprefix(f"{suite}:") for name in listed if name.startswith(f"{suite}:")) for suite in SUITES}
    own = tuple(name for name in listed if name.partition(":")[0] not in SUITES or ":" not in name)
    return own, {suite: members for suite, members in by_suite.items() if members}
