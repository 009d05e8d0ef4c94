"""Tasks of other evaluation harnesses in a run: opened by the suite's name, computed by the same engine, scored by the suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from harness.contract import Request, Response
from harness.store.records import GroupRecord, TaskRecord
from harness.store.samples import SampleRecord

if TYPE_CHECKING:
    from harness.evaluation.options import Options
    from harness.models.encoding import Encoder


@dataclass(frozen=True)
class SuiteResults:
    """Records and samples of a suite's tasks and groups by name, prefix included."""

    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    groups: dict[str, GroupRecord] = field(default_factory=dict)
    samples: dict[str, list[SampleRecord]] = field(default_factory=dict)


class TaskSuite(Protocol):
    """Tasks that another harness defines, scores and records.

    Attributes:
        notes: remarks for the user, before the run.
    """

    notes: list[str]

    @property
    def requests(self) -> list[Request]:
        """The engine's requests."""
        ...

    @property
    def request_labels(self) -> dict[str, str]:
        """For each request's id, the name in the run's options that its task belongs to."""
        ...

    def score(self, responses: Mapping[str, Response]) -> SuiteResults:
        """Score every task and group.

        Args:
            responses: to all requests, by id.
        """
        ...


def open_suite(suite: str, names: Sequence[str], options: Options, encoder: Encoder) -> TaskSuite:
    """Build a suite's tasks, render their prompts and tokenize them: what `harness.SUITE.suite.open_suite` returns.

    Args:
        suite: one of `tasks.suites.SUITES`.
        names: tasks and groups of the suite, without its prefix.
        options: options of the run.
        encoder: the model's tokenizer.

    Raises:
        InputError: the suite's package is not installed, or a name is unknown.
    """
    return cast(TaskSuite, import_module(f"harness.{suite}.suite").open_suite(names, options, encoder))
