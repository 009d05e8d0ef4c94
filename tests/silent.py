"""A watch that keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.engine.cluster import Worker


@dataclass
class Recorder:
    """Follows a run in tests."""

    systems: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    followed: dict[str, int] = field(default_factory=dict)

    def start(self, system: str, totals: Mapping[str, int]) -> None:
        self.systems.append(system)
        self.done = dict.fromkeys(totals, 0)

    def advance(self, label: str, items: int) -> None:
        self.done[label] += items

    def tokens(self, count: int) -> None:
        assert count >= 0

    def workers(self, workers: Sequence[Worker]) -> None:
        self.followed = {worker.name: worker.answered for worker in workers}

    def note(self, message: str) -> None:
        self.notes.append(message)
