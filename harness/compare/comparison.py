"""Compare two results folders on the same items: what changed in each task and overall."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compare import groups, items
from harness.compare.items import ItemChange
from harness.compare.measuring import MeasuredTask, Sides, TaskMeasurer
from harness.compare.metric import ComparisonOptions, Measured, MetricComparison, with_verdicts
from harness.compare.overall import Overall, ScaledTask, overall
from harness.compare.paired_tables import LoadMeasure
from harness.compare.pairing import Results, refuse_unlike
from harness.compare.unverified import unverified
from harness.errors import InputError
from harness.stats.verdict import Verdict, worst

if TYPE_CHECKING:
    from pathlib import Path

    from harness.store.records import SystemRecord

__all__ = ["ComparisonOptions", "ItemChange", "MetricComparison", "Overall", "RunComparison", "Slice", "TaskComparison", "compare_runs"]


@dataclass(frozen=True, slots=True)
class Slice:
    """The items of a task for which a label has one value; p-values are adjusted over the label's values."""

    label: str
    value: str
    score: MetricComparison


@dataclass(frozen=True)
class TaskComparison:
    """One task, or a group compared as one.

    Attributes:
        name, title: of the task or group; the title is one line.
        target: whether the model was fine-tuned on it.
        items: number of shared items; of a group, of all its tasks.
        only_before, only_after: ids of items that only one result has; they are left out.
        prompts_differ: shared items whose prompts differ between the two systems, because of a chat template or shortening.
        scores: by metric, headlines first. Headlines of all tasks are tested together, and so are all other scores.
        chance: expected score of guessing at the first headline, 0 where that is not known.
        retention: share of the score above chance that is left; None where the base is not significantly above chance.
        template_variants: the headlines in each template, where the task has several.
        slices: the first headline by each label with 2 to `items.MOST_KINDS` values.
        changes: items that changed at the first headline, largest loss first.
        parts: of a group, its tasks; their scores are tested among themselves.
        repeated: whether both results are of one system and identical requests: equal signatures, items and prompts.
        responses_differ: items with another response the second time, where `repeated`.
    """

    name: str
    title: str
    target: bool
    items: int
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    prompts_differ: int
    scores: Mapping[str, MetricComparison]
    chance: float
    retention: float | None
    template_variants: Mapping[str, tuple[MetricComparison, ...]]
    slices: tuple[Slice, ...]
    changes: tuple[ItemChange, ...]
    parts: tuple[TaskComparison, ...]
    repeated: bool = False
    responses_differ: int = 0

    @property
    def headlines(self) -> list[MetricComparison]:
        """The scores that determine the verdict."""
        return [score for score in self.scores.values() if score.headline]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the headlines."""
        return worst([score.verdict for score in self.headlines])


@dataclass(frozen=True)
class RunComparison:
    """Two systems on the same items.

    Attributes:
        before, after: the systems.
        options: how they were compared.
        tasks: those compared, in the order of the results before.
        overall: summary over the tasks that are not targets, and over the targets.
        only_before, only_after: tasks that only one result has.
        unverified: a sentence on results that cannot be verified; None where both can.
        unscored: tasks of both results without a score in common; they are left out.
    """

    before: SystemRecord
    after: SystemRecord
    options: ComparisonOptions
    tasks: tuple[TaskComparison, ...]
    overall: Overall
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    unverified: str | None = None
    unscored: tuple[str, ...] = ()


def compare_runs(before: Path, after: Path, load: LoadMeasure, options: ComparisonOptions | None = None) -> RunComparison:
    """Compare the results in two folders, item by item.

    Args:
        before: folder of a finished run, or its `results.json`.
        after: the same of the other run.
        load: loads metrics by name and options: `harness.metrics.load`.
        options: which tasks, targets, margins, clusters.

    Raises:
        InputError: they share no task, a name is unknown, or a task was measured with different settings.
        StorageError: results or samples cannot be read.
    """
    options = options or ComparisonOptions()
    sides = Results.read(before), Results.read(after)
    both = [name for name in sides[0].record.tasks if name in sides[1].record.tasks]
    shared = [name for name in both if sides[0].record.tasks[name].metrics.keys() & sides[1].record.tasks[name].metrics.keys()]
    chosen = _chosen(sides, shared, options)
    refuse_unlike(*sides, chosen)
    options = dataclasses.replace(options, targets=_members(sides, options.targets, chosen, "target"))
    measured = _measured(TaskMeasurer(sides, load, options, len(chosen)), chosen)
    tasks = _compared(measured)
    scaled = [ScaledTask(task.name, task.target, task.verdict, draft.scaled) for task, draft in zip(tasks, measured, strict=True)]
    return RunComparison(
        before=sides[0].record.system,
        after=sides[1].record.system,
        options=options,
        tasks=tuple(tasks),
        overall=overall(scaled),
        only_before=tuple(name for name in sides[0].record.tasks if name not in both),
        only_after=tuple(name for name in sides[1].record.tasks if name not in both),
        unscored=tuple(name for name in both if name not in shared) if options.tasks is None else (),
        unverified=unverified(((str(side.folder), side.record) for side in sides), chosen),
    )


def _chosen(sides: Sides, shared: Sequence[str], options: ComparisonOptions) -> list[str]:
    if not shared:
        raise InputError(
            f"{sides[0].folder} and {sides[1].folder} have no scored task in common.", "Evaluate both systems on the same tasks."
        )
    if options.tasks is None:
        return list(shared)
    wanted = _members(sides, options.tasks, shared, "task")
    return [name for name in shared if name in wanted]


def _members(sides: Sides, names: Sequence[str], tasks: Sequence[str], what: str) -> tuple[str, ...]:
    """Names of tasks and groups, each group followed by its tasks.

    Raises:
        InputError: a name is not among the tasks, or a group has none of them.
    """
    members: dict[str, None] = {}
    for name in names:
        group = sides[0].record.groups.get(name)
        shared = [task for task in group.tasks if task in tasks] if group else [name] if name in tasks else []
        if not shared:
            raise InputError(f"The {what} {name!r} is not in both results, or has no score.", f"They share {', '.join(sorted(tasks))}.")
        members |= dict.fromkeys([name, *shared])
    return tuple(members)


def _measured(measurer: TaskMeasurer, chosen: Sequence[str]) -> list[MeasuredTask]:
    """Every task, or the group in its place, in the order of the tasks."""
    before, after = (side.record for side in measurer.sides)
    as_one = groups.groups_as_one((before.groups, after.groups), {name: before.tasks[name] for name in chosen}, measurer.options.targets)
    group_of = {task: name for name in as_one for task in before.groups[name].tasks} if measurer.options.groups else {}
    tasks = {name: measurer.task(name, number) for number, name in enumerate(chosen)}
    measured: dict[str, MeasuredTask] = {}
    for number, name in enumerate(chosen):
        if name not in group_of:
            measured[name] = tasks[name]
        elif group_of[name] not in measured:
            group = group_of[name]
            measured[group] = measurer.group(group, [tasks[task] for task in before.groups[group].tasks], (len(chosen), number))
    return list(measured.values())


def _compared(measured: Sequence[MeasuredTask]) -> list[TaskComparison]:
    """Adjust p-values and draw verdicts: over the headlines of all tasks, and separately over their other scores."""
    scores: dict[tuple[int, str], MetricComparison] = {}
    for headline in (True, False):
        tested = [(number, score) for number, task in enumerate(measured) for score in task.measured if score.headline == headline]
        for (number, score), comparison in zip(tested, with_verdicts([score for _, score in tested]), strict=True):
            scores[number, score.key] = comparison
    return [_task(task, {score.key: scores[number, score.key] for score in task.measured}) for number, task in enumerate(measured)]


def _task(draft: MeasuredTask, scores: Mapping[str, MetricComparison]) -> TaskComparison:
    parts, first = _compared(draft.parts), draft.measured[0]
    if parts:
        only_before = tuple(name for part in parts for name in part.only_before)
        only_after = tuple(name for part in parts for name in part.only_after)
        differ = sum(part.prompts_differ for part in parts)
        changes = tuple(sorted((change for part in parts for change in part.changes), key=lambda change: change.change))
    else:
        only_before, only_after = draft.joined[0].only_before, draft.joined[0].only_after
        differ = sum(before.prompt != after.prompt for before, after in draft.joined[0].pairs)
        changes = items.changes(first.key, first.record.higher_is_better, draft.joined)
    return TaskComparison(
        name=draft.name,
        title=draft.title,
        target=draft.target,
        items=draft.items,
        only_before=only_before,
        only_after=only_after,
        prompts_differ=differ,
        scores=dict(scores),
        chance=draft.chance,
        retention=draft.scaled.retention if draft.scaled else None,
        template_variants={name: tuple(with_verdicts(scores)) for name, scores in draft.template_variants.items()},
        slices=_slices(draft.slices),
        changes=changes,
        parts=tuple(parts),
        repeated=draft.repeated,
        responses_differ=draft.responses_differ,
    )


def _slices(measured: Sequence[tuple[str, str, Measured]]) -> tuple[Slice, ...]:
    by_label: defaultdict[str, list[tuple[str, Measured]]] = defaultdict(list)
    for label, value, score in measured:
        by_label[label].append((value, score))
    return tuple(
        Slice(label, value, score)
        for label, members in by_label.items()
        for (value, _), score in zip(members, with_verdicts([score for _, score in members]), strict=True)
    )
