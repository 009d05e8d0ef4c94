"""Two systems on the same items: what changed, task by task and over all, from what two results folders keep."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compare import groups, items
from harness.compare.items import ItemChange
from harness.compare.measuring import MeasuredTask, Sides, TaskMeasurer
from harness.compare.metric import ComparisonOptions, Measured, MetricComparison, judged
from harness.compare.overall import Overall, Unit, overall
from harness.compare.pairing import LoadMeasure, Results, refuse_unlike
from harness.compare.unverified import unverified
from harness.errors import InputError
from harness.stats.verdict import Verdict, worst

if TYPE_CHECKING:
    from pathlib import Path

    from harness.store.runs import SystemRecord

__all__ = ["Comparison", "ComparisonOptions", "ItemChange", "MetricComparison", "Overall", "Slice", "TaskComparison", "compare_runs"]


@dataclass(frozen=True, slots=True)
class Slice:
    """The items of a task whose label has one value; p-values are adjusted over the label's values."""

    label: str
    value: str
    score: MetricComparison


@dataclass(frozen=True)
class TaskComparison:
    """One task, or a group that stands as one.

    Attributes:
        target: whether it was tuned for.
        items: shared items; of a group, of all its tasks.
        only_before, only_after: ids of items that only one result has; they are left out.
        prompts_differ: shared items that the two systems read in different words, because a chat template or a shortening differs.
        scores: by metric, headlines first. Headlines of all tasks are judged together, and so are all other scores.
        chance: what guessing scores at the first headline, 0 where that is not known.
        retention: share of the score above chance that is left; None where the base is not surely above chance.
        template_variants: the headlines in each template, where the task has several.
        slices: the first headline by each label with 2 to `items.MOST_KINDS` values.
        changes: items that changed at the first headline, the worst first.
        parts: of a group, its tasks; they are judged among themselves.
        repeated: whether one system was asked the same twice: equal signatures, items and prompts.
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
        """The scores that decide the verdict."""
        return [score for score in self.scores.values() if score.headline]

    @property
    def verdict(self) -> Verdict:
        """The worst of the headlines'."""
        return worst([score.verdict for score in self.headlines])


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same items.

    Attributes:
        before, after: the systems.
        plan: how they were compared.
        tasks: those compared, in the order of the results before.
        overall: the tasks other than the targets taken together, and the targets.
        only_before, only_after: tasks that only one result has.
        unverified: which results cannot be verified, in a sentence; None where both can.
        unscored: tasks of both without a score in common; they are left out.
    """

    before: SystemRecord
    after: SystemRecord
    plan: ComparisonOptions
    tasks: tuple[TaskComparison, ...]
    overall: Overall
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    unverified: str | None = None
    unscored: tuple[str, ...] = ()


def compare_runs(before: Path, after: Path, load: LoadMeasure, plan: ComparisonOptions | None = None) -> Comparison:
    """Compare the results in two folders, item by item.

    Args:
        before: folder of a finished run, or its `results.json`.
        after: the other.
        load: finds metrics by name and options: `harness.metrics.load`.
        plan: which tasks, targets, margins, clusters.

    Raises:
        InputError: they share no task, a name is unknown, or a task was not measured alike.
        StorageError: results or samples cannot be read.
    """
    plan = plan or ComparisonOptions()
    sides = Results.read(before), Results.read(after)
    both = [name for name in sides[0].record.tasks if name in sides[1].record.tasks]
    shared = [name for name in both if sides[0].record.tasks[name].metrics.keys() & sides[1].record.tasks[name].metrics.keys()]
    chosen = _chosen(sides, shared, plan)
    refuse_unlike(*sides, chosen)
    plan = dataclasses.replace(plan, targets=_members(sides, plan.targets, chosen, "target"))
    drafts = _drafts(TaskMeasurer(sides, load, plan, len(chosen)), chosen)
    tasks = _finished(drafts)
    return Comparison(
        before=sides[0].record.system,
        after=sides[1].record.system,
        plan=plan,
        tasks=tuple(tasks),
        overall=overall([Unit(one.name, one.target, one.verdict, draft.placed) for one, draft in zip(tasks, drafts, strict=True)]),
        only_before=tuple(name for name in sides[0].record.tasks if name not in both),
        only_after=tuple(name for name in sides[1].record.tasks if name not in both),
        unscored=tuple(name for name in both if name not in shared) if plan.tasks is None else (),
        unverified=unverified(((str(side.folder), side.record) for side in sides), chosen),
    )


def _chosen(sides: Sides, shared: Sequence[str], plan: ComparisonOptions) -> list[str]:
    if not shared:
        raise InputError(f"{sides[0].folder} and {sides[1].folder} have no scored task in common.", "Score both systems on the same tasks.")
    if plan.tasks is None:
        return list(shared)
    wanted = _members(sides, plan.tasks, shared, "task")
    return [name for name in shared if name in wanted]


def _members(sides: Sides, names: Sequence[str], tasks: Sequence[str], what: str) -> tuple[str, ...]:
    """Names of tasks and groups, with the tasks of each group behind it.

    Raises:
        InputError: a name is not among the tasks, or a group has none of them.
    """
    found: dict[str, None] = {}
    for name in names:
        group = sides[0].record.groups.get(name)
        own = [task for task in group.tasks if task in tasks] if group else [name] if name in tasks else []
        if not own:
            raise InputError(f"The {what} {name!r} is not in both results, or has no score.", f"They share {', '.join(sorted(tasks))}.")
        found |= dict.fromkeys([name, *own])
    return tuple(found)


def _drafts(drafter: TaskMeasurer, chosen: Sequence[str]) -> list[MeasuredTask]:
    """Every task, or the group that stands for it, in the order of the tasks."""
    before, after = (side.record for side in drafter.sides)
    named = groups.units((before.groups, after.groups), {name: before.tasks[name] for name in chosen}, drafter.plan.targets)
    standing = {task: name for name in named for task in before.groups[name].tasks} if drafter.plan.groups else {}
    tasks = {name: drafter.task(name, number) for number, name in enumerate(chosen)}
    found: dict[str, MeasuredTask] = {}
    for number, name in enumerate(chosen):
        if name not in standing:
            found[name] = tasks[name]
        elif standing[name] not in found:
            group = standing[name]
            found[group] = drafter.group(group, [tasks[task] for task in before.groups[group].tasks], (len(chosen), number))
    return list(found.values())


def _finished(drafts: Sequence[MeasuredTask]) -> list[TaskComparison]:
    """Judge together: the headlines of all drafts, and apart from them their other scores."""
    scores: dict[tuple[int, str], MetricComparison] = {}
    for headline in (True, False):
        family = [(number, one) for number, draft in enumerate(drafts) for one in draft.measured if one.headline == headline]
        for (number, one), score in zip(family, judged([one for _, one in family]), strict=True):
            scores[number, one.key] = score
    return [_task(draft, {one.key: scores[number, one.key] for one in draft.measured}) for number, draft in enumerate(drafts)]


def _task(draft: MeasuredTask, scores: Mapping[str, MetricComparison]) -> TaskComparison:
    parts, first = _finished(draft.parts), draft.measured[0]
    if parts:
        only_before = tuple(name for part in parts for name in part.only_before)
        only_after = tuple(name for part in parts for name in part.only_after)
        differ = sum(part.prompts_differ for part in parts)
        changes = tuple(sorted((change for part in parts for change in part.changes), key=lambda change: change.change))
    else:
        only_before, only_after = draft.joined[0].only_before, draft.joined[0].only_after
        differ = sum(one.prompt != other.prompt for one, other in draft.joined[0].pairs)
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
        retention=draft.placed.retention if draft.placed else None,
        template_variants={name: tuple(judged(own)) for name, own in draft.template_variants.items()},
        slices=_slices(draft.slices),
        changes=changes,
        parts=tuple(parts),
        repeated=draft.repeated,
        responses_differ=draft.responses_differ,
    )


def _slices(found: Sequence[tuple[str, str, Measured]]) -> tuple[Slice, ...]:
    by_label: defaultdict[str, list[tuple[str, Measured]]] = defaultdict(list)
    for label, value, one in found:
        by_label[label].append((value, one))
    return tuple(
        Slice(label, value, score)
        for label, members in by_label.items()
        for (value, _), score in zip(members, judged([one for _, one in members]), strict=True)
    )
