"""Progress and timing of a run: what a run reports while it works, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from harness.engine.cluster import Worker

Stage: TypeAlias = Literal["startup", "render", "tokenize", "score", "generate", "metrics"]


class Progress(Protocol):
    """Receives the progress of a run."""

    def start(self, system: str, totals: Mapping[str, int]) -> None:
        """A system begins.

        Args:
            system: its name.
            totals: number of items by task or group name, as named in the run's options.
        """
        ...

    def advance(self, label: str, items: int) -> None:
        """Some items of a task or group are finished."""
        ...

    def tokens(self, count: int) -> None:
        """The engine computed this many more tokens."""
        ...

    def workers(self, workers: Sequence[Worker]) -> None:
        """The workers that compute have gone on."""
        ...

    def note(self, message: str) -> None:
        """A remark for the user."""
        ...


class SilentProgress:
    """Progress that nobody sees."""

    def start(self, system: str, totals: Mapping[str, int]) -> None:
        """Ignore it."""

    def advance(self, label: str, items: int) -> None:
        """Ignore it."""

    def tokens(self, count: int) -> None:
        """Ignore it."""

    def workers(self, workers: Sequence[Worker]) -> None:
        """Ignore it."""

    def note(self, message: str) -> None:
        """Ignore it."""


@dataclass
class StageTimer:
    """Wall time of each stage of a run, in seconds.

    Start-up, rendering and tokenizing are shared by all systems; the other stages are those of the current system.
    """

    began: float = field(default_factory=time.perf_counter)
    startup: float = 0.0
    render: float = 0.0
    tokenize: float = 0.0
    score: float = 0.0
    generate: float = 0.0
    metrics: float = 0.0

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Add the time of a block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - began)

    def next_system(self) -> None:
        """Reset the stages that each system has for itself."""
        self.score = self.generate = self.metrics = 0.0

    def seconds(self) -> dict[str, float]:
        """Seconds of every stage, and `total` since the start."""
        stages = {
            "startup": self.startup,
            "render": self.render,
            "tokenize": self.tokenize,
            "score": self.score,
            "generate": self.generate,
            "metrics": self.metrics,
            "total": time.perf_counter() - self.began,
        }
        return {name: round(value, 3) for name, value in stages.items()}
