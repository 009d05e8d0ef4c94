"""What another harness's tasks hand back to a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.store.runs import GroupRecord, TaskRecord
from harness.store.samples import SampleRecord


@dataclass(frozen=True)
class LmEvalResults:
    """Records and samples by the names of tasks and groups, prefix included."""

    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    groups: dict[str, GroupRecord] = field(default_factory=dict)
    samples: dict[str, list[SampleRecord]] = field(default_factory=dict)
