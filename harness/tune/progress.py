"""How far a training is, as it is told to the user and kept with every checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.errors import StorageError
from harness.models.adapter_cards import ValidationScore


class TuneWatch(Protocol):
    """What follows trainings."""

    def candidate(self, name: str, number: int, of: int) -> None:
        """A training begins, the `number`-th of a grid."""
        ...

    def begin(self, facts: str, steps: int, done: int) -> None:
        """Steps begin; `done` of them are from an earlier run."""
        ...

    def step(self, loss: float, tokens: int) -> None:
        """A step is finished: its loss in nats a completion token, and the tokens it learned from."""
        ...

    def validated(self, step: int, loss: float | None, headline: float | None, best: bool) -> None:
        """The model of a step was judged."""
        ...

    def end(self) -> None:
        """The steps are finished."""
        ...

    def note(self, message: str) -> None:
        """Something the user should know."""
        ...


@dataclass(frozen=True)
class StepScores:
    """A model of some step, judged on the validation items.

    Attributes:
        step: after which it was judged.
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
class StepProgress:
    """What a training has done so far.

    Attributes:
        losses: of every step.
        tokens: learned from.
        seconds: of training and validation, earlier runs included.
        judged: the validations so far.
    """

    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    judged: list[StepScores] = field(default_factory=list)

    @property
    def best(self) -> StepScores | None:
        """The best model so far, the earlier one of equals."""
        return max(self.judged, key=lambda one: (one.rank, -one.step), default=None)

    def text(self) -> str:
        """As JSON."""
        content = asdict(self) | {"judged": [_record(one) for one in self.judged]}
        return json.dumps(content)

    @classmethod
    def read(cls, path: Path) -> StepProgress:
        """What `text` gave; raises StorageError where the file holds something else."""
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**content | {"judged": [_judged(one) for one in content["judged"]]})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageError(f"{path} cannot be read: {error!r}.", "Pass --fresh to train from the start.") from error


def ends(losses: Sequence[float]) -> tuple[float, float]:
    """Mean loss over the first and the last tenth of the steps, at least one each."""
    count = max(1, len(losses) // 10)
    return sum(losses[:count]) / count, sum(losses[-count:]) / count


def _record(one: StepScores) -> dict[str, Any]:
    scores = {task: {name: score.model_dump(mode="json") for name, score in found.items()} for task, found in one.scores.items()}
    return {"step": one.step, "loss": one.loss, "headline": one.headline, "scores": scores}


def _judged(content: dict[str, Any]) -> StepScores:
    scores = {
        task: {name: ValidationScore.model_validate(score) for name, score in found.items()} for task, found in content["scores"].items()
    }
    return StepScores(content["step"], content["loss"], scores, content["headline"])
