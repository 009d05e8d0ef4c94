"""What a report on forgetting shows of a comparison, in which order: rows, kinds of items, and the items that got worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.compare.comparison import MetricComparison, RunComparison, TaskComparison
from harness.compare.items import ItemChange
from harness.compare.noise import Noise, NoiseByTask
from harness.stats.bootstrap import Interval
from harness.stats.verdict import VERDICTS
from harness.stats.verdict import change as turned

WORSE = "worse"
"""The verdict on a target that lost score: the other verdicts' "forgot" is for tasks that the system was not fine-tuned on."""
_ON_TARGETS = {"forgot": WORSE, "likely forgot": f"likely {WORSE}"}

ROUNDING = 1e-12
"""Changes up to this size come from rounding, as sums are computed in another order."""


@dataclass(frozen=True, slots=True)
class ForgettingRow:
    """One headline metric of one task.

    Attributes:
        first: whether it is the task's first.
        lost, gained: numbers of items; where items are graded, those that got worse and better.
        noise: of the task; None where it was not measured.
    """

    task: TaskComparison
    score: MetricComparison
    first: bool
    lost: int | None
    gained: int | None
    noise: Noise | None

    @property
    def verdict(self) -> str:
        """The verdict as reports show it: on targets "worse" takes the place of "forgot"."""
        return _ON_TARGETS.get(self.score.verdict, self.score.verdict) if self.task.target else self.score.verdict


@dataclass(frozen=True, slots=True)
class ItemKind:
    """A kind of items of a task: those with one value of a label, of one task of a group, or in one template.

    Attributes:
        by: what tells the kinds apart: a label, "task" or "template".
        value: which of them this is.
    """

    task: str
    by: str
    value: str
    score: MetricComparison


def rows(comparison: RunComparison, noise: NoiseByTask | None) -> list[ForgettingRow]:
    """Every headline metric, the targets last."""
    table = []
    for task in sorted(comparison.tasks, key=lambda task: task.target):
        counts = Counter("lost" if item.change < 0 else "gained" for item in task.changes)
        task_noise = (noise or {}).get(task.name)
        for place, score in enumerate(task.headlines):
            graded = score.lost is None and place == 0 and score.reason is None
            lost, gained = (counts["lost"], counts["gained"]) if graded else (score.lost, score.gained)
            table.append(ForgettingRow(task, score, place == 0, lost, gained, task_noise))
    return table


def item_kinds(task: TaskComparison) -> Iterator[ItemKind]:
    """Every kind of a task's items, by its first headline metric."""
    for part in task.parts:
        if part.headlines:
            yield ItemKind(task.name, "task", part.name, part.headlines[0])
    for name, scores in task.template_variants.items():
        if scores:
            yield ItemKind(task.name, "template", name, scores[0])
    for piece in task.slices:
        yield ItemKind(task.name, piece.label, piece.value, piece.score)


def lost_kinds(tasks: Sequence[TaskComparison]) -> list[ItemKind]:
    """Kinds of items that lost anything, the largest losses first; losses count in margins, so that units do not matter."""
    losses = [kind for task in tasks for kind in item_kinds(task) if (kind.score.change or 0.0) < -ROUNDING]
    return sorted(losses, key=lambda kind: in_margins(kind.score, kind.score.change or 0.0))


def in_margins(score: MetricComparison, value: float) -> float:
    """A change counted in margins; where the margin is 0, in hundredths of the score."""
    scale = score.margin or abs(score.before or 0.0) / 100 or 1.0
    return value / scale


def ends(score: MetricComparison) -> tuple[float, float] | None:
    """The interval of the change, turned so that more is better; None where there is none."""
    if score.low is None or score.high is None:
        return None
    return turned(Interval(score.low, score.high, ""), score.higher_is_better)


def worst_items(tasks: Sequence[TaskComparison], most: int) -> list[tuple[TaskComparison, ItemChange]]:
    """Items that got worse, the worst of each task first, the tasks taking turns so that none hides another.

    Texts that were only scored are left out: their likelihood changed, and there is nothing to read.
    """
    queues = [(task, [item for item in task.changes if item.change < 0 and has_answer(item)]) for task in tasks]
    queues.sort(key=lambda pair: (VERDICTS.index(pair[0].verdict), -len(pair[1])))
    chosen: list[tuple[TaskComparison, ItemChange]] = []
    for turn in range(most):
        chosen += [(task, items[turn]) for task, items in queues if turn < len(items)]
    return chosen[:most]


def has_answer(item: ItemChange) -> bool:
    """Whether the item has an answer to read: a choice, or a text that the model generated."""
    return item.before.logprobs is None or isinstance(item.before.prediction, int)


def worst_task(comparison: RunComparison) -> TaskComparison | None:
    """The task with the largest loss; None where no score fell."""
    worst = next((task for task in comparison.tasks if task.name == comparison.overall.worst), None)
    return worst if worst is not None and min(score.change or 0.0 for score in worst.headlines) < -ROUNDING else None


def guessed_tasks(comparison: RunComparison) -> list[TaskComparison]:
    """Tasks on which the base may as well have guessed, so that it had little to forget.

    Targets are left out: a gain is the aim there. So are tasks whose score by guessing is unknown.
    """
    return [task for task in comparison.tasks if task.chance and task.retention is None and not task.target]
