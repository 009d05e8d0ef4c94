"""From scores to the records of `results.json`: tasks, groups, and the environment of a run."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness import __version__
from harness.contract import Family
from harness.engine import base
from harness.evaluation.aggregate import Member, score_group
from harness.evaluation.scoring import combine
from harness.evaluation.task_signatures import data_digest, task_signature, template_digest
from harness.models.opening import ModelOptions
from harness.store.records import (
    DataRecord,
    EfficiencyRecord,
    GroupRecord,
    RunRecord,
    ShortenedRecord,
    TaskRecord,
    TemplateVariantRecord,
    system_record,
)
from harness.store.saving import SavedSamples
from harness.util.libraries import versions

if TYPE_CHECKING:
    import torch

    from harness.contract import Response, System
    from harness.evaluation.aggregate import MetricScore
    from harness.evaluation.options import Options
    from harness.evaluation.plan import EvaluationPlan, PlannedTask
    from harness.evaluation.scoring import TaskScores
    from harness.tasks.schema import Group


@dataclass(frozen=True)
class ScoredTasks:
    """The scores of one system on every task of a plan, as records, with the samples that they were computed from.

    Attributes:
        tasks: records by task.
        groups: records by group.
        samples: files of samples and statistics by task.
    """

    tasks: dict[str, TaskRecord]
    groups: dict[str, GroupRecord]
    samples: dict[str, list[SavedSamples]]


def score_tasks(plan: EvaluationPlan, responses: Mapping[str, Response], options: Options) -> ScoredTasks:
    """Score every task and group of a plan.

    Args:
        plan: tasks with their requests.
        responses: to every request, by id.
        options: options of the run.
    """
    variants: dict[str, dict[str, TaskScores]] = {}
    for planned in plan.tasks:
        task_scores = planned.scorer.score(planned.item_requests, responses, options.seed, planned.copies)
        variants.setdefault(planned.task.task, {})[planned.name] = task_scores
    scores = {name: combine(by_variant) for name, by_variant in variants.items()}
    tasks = {name: task_record(_variants_of(plan, name), by_variant, scores[name], options) for name, by_variant in variants.items()}
    groups = {name: _group(group, weights, plan.tasks, scores, tasks) for name, (group, weights) in plan.selection.groups.items()}
    samples = {name: list(_samples(name, by_variant)) for name, by_variant in variants.items()}
    for suite in plan.suites:
        results = suite.score(responses)
        tasks |= results.tasks
        groups |= results.groups
        samples |= {name: [SavedSamples(name, records)] for name, records in results.samples.items()}
    return ScoredTasks(tasks, groups, samples)


def run_record(system: System, scored: ScoredTasks, efficiency: EfficiencyRecord, options: Options, device: torch.device) -> RunRecord:
    """The record of one system's run.

    Args:
        system: the system.
        scored: its scores.
        efficiency: what the run cost.
        options: options of the run.
        device: the first device that computed.
    """
    return RunRecord(
        harness_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(options.command),
        system=system_record(system),
        tasks=scored.tasks,
        groups=scored.groups,
        efficiency=efficiency,
        environment=_environment(device)
        | base.load(options.engine).environment(ModelOptions.of(options))
        | ({"workers": str(options.workers)} if options.workers else {}),
    )


def task_record(
    variants: Sequence[PlannedTask], task_scores: Mapping[str, TaskScores], scores: Mapping[str, MetricScore], options: Options
) -> TaskRecord:
    """The record of one task: mean scores over its template variants, and those of each variant where there are several."""
    first, task = variants[0], variants[0].task
    several = {planned.name: _variant_record(planned, task_scores[planned.name]) for planned in variants} if len(variants) > 1 else {}
    shortened = [_shortened(planned) for planned in variants]
    return TaskRecord(
        title=task.about.title,
        items=len(first.item_requests),
        shots=first.shots,
        template=",".join(dict.fromkeys(planned.variant.template.name for planned in variants)),
        template_digest=template_digest(variants),
        answer=task.answer,
        metrics={name: score.record() for name, score in scores.items()},
        data=_data(first),
        shortened=ShortenedRecord(
            items=sum(record.items for record in shortened),
            shots_dropped=sum(record.shots_dropped for record in shortened),
            text_cut=sum(record.text_cut for record in shortened),
        ),
        seed=options.seed,
        limit=options.limit,
        signature=task_signature(variants),
        headline=list(task.headline),
        prompt_tokens=task_scores[first.name].prompt_tokens,
        output_tokens=task_scores[first.name].output_tokens,
        template_variants=several,
        perturbations=[] if several else list(task_scores[first.name].perturbations),
        without=_unperturbed(first, task_scores[first.name]) | dict(first.scorer.without),
    )


def _variants_of(plan: EvaluationPlan, task: str) -> list[PlannedTask]:
    return [planned for planned in plan.tasks if planned.task.task == task]


def _unperturbed(planned: PlannedTask, task_scores: TaskScores) -> dict[Family, str]:
    """Families with perturbed copies for which no headline metric scores single items."""
    if task_scores.perturbations:
        return {}
    reason = f"{', '.join(planned.task.headlines)}: no score of single items, so there is no worst case"
    return {perturbed.perturbation.family: reason for perturbed in planned.copies}


def _variant_record(planned: PlannedTask, task_scores: TaskScores) -> TemplateVariantRecord:
    return TemplateVariantRecord(
        template=planned.variant.template.name,
        template_digest=template_digest([planned]),
        shot_seed=planned.seed,
        metrics={name: score.record() for name, score in task_scores.scores.items()},
        shortened=_shortened(planned),
        signature=task_signature([planned]),
        perturbations=list(task_scores.perturbations),
    )


def _shortened(planned: PlannedTask) -> ShortenedRecord:
    return ShortenedRecord(
        items=sum(bool(item_requests.shots_dropped or item_requests.text_cut) for item_requests in planned.item_requests),
        shots_dropped=sum(item_requests.shots_dropped for item_requests in planned.item_requests),
        text_cut=sum(item_requests.text_cut for item_requests in planned.item_requests),
    )


def _data(planned: PlannedTask) -> DataRecord:
    data = planned.task.data
    return DataRecord(
        path=data.path or (data.files or {})[data.split],
        config=data.config,
        split=data.split,
        revision=planned.split.revision,
        digest=data_digest(planned),
    )


def _samples(task: str, variants: Mapping[str, TaskScores]) -> Iterator[SavedSamples]:
    """Samples and statistics of one task, and samples of its perturbed copies."""
    for variant, task_scores in variants.items():
        place = task if len(variants) == 1 else f"{task}@{variant}"
        yield SavedSamples(place, task_scores.samples, task_scores.statistics)
        for perturbation, copies in task_scores.copies.items():
            yield SavedSamples(f"{place}~{perturbation}", copies)


def _group(
    group: Group,
    weights: Mapping[str, float],
    planned: Sequence[PlannedTask],
    scores: Mapping[str, Mapping[str, MetricScore]],
    tasks: Mapping[str, TaskRecord],
) -> GroupRecord:
    headlines = {variant.task.task: variant.task.headlines for variant in planned}
    members = {name: Member(scores[name], headlines[name], weight) for name, weight in weights.items()}
    return score_group(group, members, {name: tasks[name].signature for name in weights})


def _environment(device: torch.device) -> dict[str, str]:
    """Versions, platform and device of a run."""
    import torch

    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "threads": str(torch.get_num_threads()),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts | versions(("torch", "transformers", "peft", "datasets", "bitsandbytes", "sacrebleu", "rouge-score"))
