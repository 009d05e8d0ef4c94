"""The progress of a training: what the user sees of it, and the history that every checkpoint stores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.errors import StorageError
from harness.models.adapter_cards import ValidationScore


class TuneProgress(Protocol):
    """Follows a training."""

    def candidate(self, name: str, number: int, of: int) -> None:
        """A training begins, candidate `number` of `of` in a grid."""
        ...

    def begin(self, facts: str, steps: int, done: int) -> None:
        """Steps begin; `done` of them are from an earlier run."""
        ...

    def step(self, loss: float, tokens: int) -> None:
        """A step is finished: its loss in nats a completion token, and the tokens it learned from."""
        ...

    def validated(self, step: int, loss: float | None, headline: float | None, best: bool) -> None:
        """The model was validated after a step."""
        ...

    def end(self) -> None:
        """The steps are finished."""
        ...

    def note(self, message: str) -> None:
        """Show a message to the user."""
        ...


class SilentTuneProgress:
    """A training that nobody follows."""

    def candidate(self, name: str, number: int, of: int) -> None:
        """Ignore it."""

    def begin(self, facts: str, steps: int, done: int) -> None:
        """Ignore it."""

    def step(self, loss: float, tokens: int) -> None:
        """Ignore it."""

    def validated(self, step: int, loss: float | None, headline: float | None, best: bool) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""

    def note(self, message: str) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class StepScores:
    """The scores of the model after one step on the validation items.

    Attributes:
        step: the step, counted from 1.
        loss: cross-entropy a completion token, in nats.
        scores: task to metric.
        headline: mean of the tasks' headline scores, in [0, 1] where metrics have a range; None without metrics.
    """

    step: int
    loss: float
    scores: Mapping[str, Mapping[str, ValidationScore]]
    headline: float | None

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: by headline score, then by loss."""
        return (-self.loss if self.headline is None else self.headline, -self.loss)


@dataclass
class TrainingHistory:
    """The history of a training.

    Attributes:
        losses: of every step.
        tokens: learned from.
        seconds: of training and validation, earlier runs included.
        validations: scores so far, in order.
    """

    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    validations: list[StepScores] = field(default_factory=list)

    @property
    def best(self) -> StepScores | None:
        """The best scores so far; of equals the earlier."""
        return max(self.validations, key=lambda scores: (scores.rank, -scores.step), default=None)

    def text(self) -> str:
        """As JSON."""
        content = asdict(self) | {"validations": [_record(scores) for scores in self.validations]}
        return json.dumps(content)

    @classmethod
    def read(cls, path: Path) -> TrainingHistory:
        """Read what `text` wrote; raises StorageError where the file holds something else."""
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**content | {"validations": [_step_scores(entry) for entry in content["validations"]]})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageError(f"{path} cannot be read: {error!r}.", "Pass --fresh to train from the start.") from error


def ends(losses: Sequence[float]) -> tuple[float, float]:
    """Mean loss over the first and the last tenth of the steps, at least one each."""
    count = max(1, len(losses) // 10)
    return sum(losses[:count]) / count, sum(losses[-count:]) / count


def _record(step: StepScores) -> dict[str, Any]:
    scores = {task: {name: score.model_dump(mode="json") for name, score in by_metric.items()} for task, by_metric in step.scores.items()}
    return {"step": step.step, "loss": step.loss, "headline": step.headline, "scores": scores}


def _step_scores(content: dict[str, Any]) -> StepScores:
    scores = {
        task: {name: ValidationScore.model_validate(score) for name, score in by_metric.items()}
        for task, by_metric in content["scores"].items()
    }
    return StepScores(content["step"], content["loss"], scores, content["headline"])
