"""What a run is asked for, and who follows its progress."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from harness.contract import Family
from harness.evaluation.requests import PreparationTime


@dataclass(frozen=True)
class Options:
    """What `harness run` was asked for; the names are those of its options."""

    model: str
    tasks: tuple[str, ...]
    adapters: tuple[str | None, ...] = (None,)
    shots: int | None = None
    limit: int | None = None
    template: str | None = None
    template_file: Path | None = None
    chat: bool | None = None
    dtype: str = "auto"
    quantize: Literal["8bit", "4bit"] | None = None
    device: str = "auto"
    devices: tuple[str, ...] = ()
    batch_tokens: int | None = None
    seed: int = 0
    shot_seeds: tuple[int, ...] = ()
    data: Path | None = None
    output: Path | None = None
    fresh: bool = False
    revision: str | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False
    any_base: bool = False
    merge: bool = False
    engine: Literal["transformers", "vllm"] = "transformers"
    measures: tuple[Family, ...] = ()
    perturb: tuple[str, ...] = ()
    texts: int = 1
    toxicity: str = ""
    small: bool = False
    command: tuple[str, ...] = ()


class Progress(Protocol):
    """What follows a run's progress."""

    def start(self, system: str, totals: Mapping[str, int]) -> None:
        """A system begins; `totals` are the items under each name that the user asked for."""
        ...

    def advance(self, label: str, items: int) -> None:
        """Items under a name are finished."""
        ...

    def tokens(self, count: int) -> None:
        """So many tokens were computed."""
        ...

    def note(self, message: str) -> None:
        """Something the user should know."""
        ...


@dataclass
class StageTimer:
    """Where the time went, in seconds."""

    began: float = field(default_factory=time.perf_counter)
    preparation: PreparationTime = field(default_factory=PreparationTime)
    score: float = 0.0
    generate: float = 0.0
    metrics: float = 0.0
    startup: float = 0.0

    @contextmanager
    def measure(self, stage: Literal["score", "generate", "metrics", "startup"]) -> Iterator[None]:
        """Add the time of a block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - began)

    def next_system(self) -> None:
        """Start the stages of another system; start-up and preparation are shared."""
        self.score = self.generate = self.metrics = 0.0

    def seconds(self) -> dict[str, float]:
        """All stages by name."""
        stages = {"startup": self.startup, "render": self.preparation.render, "tokenize": self.preparation.tokenize}
        stages |= {"score": self.score, "generate": self.generate, "metrics": self.metrics}
        return {name: round(value, 3) for name, value in (stages | {"total": time.perf_counter() - self.began}).items()}
