"""What results keep of a task, of the cost, and of the surroundings."""

from __future__ import annotations

import math
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

from harness.contract import Family, Moments, Usage
from harness.evaluation.signatures import data_digest, task_signature, template_digest
from harness.models import loading
from harness.stats.line import fit
from harness.store import runs
from harness.store.signature import Signature

if TYPE_CHECKING:
    from harness.evaluation.aggregate import MetricScore
    from harness.evaluation.options import Options, StageTimer
    from harness.evaluation.perturbed import PerturbedItems
    from harness.evaluation.requests import ItemRequests
    from harness.evaluation.response_cache import ResponseCache
    from harness.evaluation.scoring import TaskScorer, TaskScores
    from harness.tasks.data import Split
    from harness.tasks.prompts import TemplateVariant
    from harness.tasks.registry import TaskEntry
    from harness.tasks.schema import Task


NORMAL = 1.96
"""Standard errors to either side of a 95 % interval."""


@dataclass(frozen=True)
class Job:
    """One task in one template, prepared.

    Attributes:
        label: the name under which the user asked for the task.
        name: the template's, unique within the task.
        split: the items that are scored, and more where there is a limit.
        pool: what few-shot examples are drawn from; None where there are none.
        seed: with which few-shot examples are drawn and texts are sampled.
        texts: generated for each item, where they are sampled.
        copies: what perturbations made of its items.
    """

    label: str
    name: str
    entry: TaskEntry
    variant: TemplateVariant
    scorer: TaskScorer
    split: Split
    pool: Split | None
    shots: int
    seed: int
    texts: int
    item_requests: list[ItemRequests]
    copies: list[PerturbedItems] = field(default_factory=list)

    @property
    def everything(self) -> list[ItemRequests]:
        """The items and their copies."""
        return self.item_requests + [item_requests for one in self.copies for item_requests in one.item_requests]

    @property
    def task(self) -> Task:
        """The task that is asked."""
        return self.entry.task


def task_record(
    jobs: Sequence[Job], judged: Mapping[str, TaskScores], scores: Mapping[str, MetricScore], options: Options
) -> runs.TaskRecord:
    """What results keep of one task: its template variants' mean scores, and each template's own where there are several."""
    first, task = jobs[0], jobs[0].task
    template_variants = {}
    if len(jobs) > 1:
        template_variants = {job.name: _wording_record(job, judged[job.name]) for job in jobs}
    shortened = [_shortened(job) for job in jobs]
    return runs.TaskRecord(
        title=task.about.title,
        items=len(first.item_requests),
        shots=first.shots,
        template=",".join(dict.fromkeys(job.variant.template.name for job in jobs)),
        template_digest=template_digest(jobs),
        answer=task.answer,
        metrics={name: score.record() for name, score in scores.items()},
        data=_data(first),
        shortened=runs.ShortenedRecord(
            items=sum(one.items for one in shortened),
            shots_dropped=sum(one.shots_dropped for one in shortened),
            text_cut=sum(one.text_cut for one in shortened),
        ),
        seed=options.seed,
        limit=options.limit,
        signature=task_signature(jobs),
        headline=list(task.headline),
        prompt_tokens=judged[first.name].prompt_tokens,
        output_tokens=judged[first.name].output_tokens,
        template_variants=template_variants,
        perturbations=[] if template_variants else list(judged[first.name].perturbations),
        without=_unperturbed(first, judged[first.name]) | dict(first.scorer.without),
    )


def _unperturbed(job: Job, judged: TaskScores) -> dict[Family, str]:
    """Families of which there are copies, where none of the headline metrics can tell a fall."""
    if judged.perturbations:
        return {}
    reason = f"{', '.join(job.task.headlines)}: no score of single items, so there is no worst case"
    return {one.perturbation.family: reason for one in job.copies}


def _wording_record(job: Job, judged: TaskScores) -> runs.TemplateVariantRecord:
    return runs.TemplateVariantRecord(
        template=job.variant.template.name,
        template_digest=template_digest([job]),
        shot_seed=job.seed,
        metrics={name: score.record() for name, score in judged.scores.items()},
        shortened=_shortened(job),
        signature=task_signature([job]),
        perturbations=list(judged.perturbations),
    )


def _shortened(job: Job) -> runs.ShortenedRecord:
    return runs.ShortenedRecord(
        items=sum(bool(item_requests.shots_dropped or item_requests.text_cut) for item_requests in job.item_requests),
        shots_dropped=sum(item_requests.shots_dropped for item_requests in job.item_requests),
        text_cut=sum(item_requests.text_cut for item_requests in job.item_requests),
    )


def _data(job: Job) -> runs.DataRecord:
    data = job.task.data
    return runs.DataRecord(
        path=data.path or (data.files or {})[data.split],
        config=data.config,
        split=data.split,
        revision=job.split.revision,
        digest=data_digest(job),
    )


def efficiency(usage: Usage, cache: ResponseCache, timer: StageTimer, joules: float | None = None) -> runs.EfficiencyRecord:
    """What a run cost; rates are null when every answer came from the store.

    Args:
        usage: what the engine spent.
        cache: who answered.
        timer: where the time went.
        joules: energy of the GPUs meanwhile, where it is known.
    """
    computed = usage.prefill_tokens + usage.padding_tokens
    return runs.EfficiencyRecord(
        seconds=timer.seconds(),
        prefill_tokens_per_second=usage.prefill_tokens / usage.prefill_seconds if usage.prefill_seconds else None,
        decode_tokens_per_second=usage.decode_tokens / usage.decode_seconds if usage.decode_seconds else None,
        peak_memory_bytes=_peak_memory(),
        padding_share=usage.padding_tokens / computed if computed else None,
        requests=runs.RequestsRecord(unique=cache.unique, cached=cache.unique - cache.computed, computed=cache.computed),
        tokens=runs.TokensRecord(
            requested=usage.requested_tokens, prefill=usage.prefill_tokens, decode=usage.decode_tokens, padding=usage.padding_tokens
        ),
        prefill_time=_line(usage.prefills),
        step_time=_line(usage.steps),
        energy_joules=joules,
    )


def seconds_alone(task: runs.TaskRecord, usage: Usage) -> runs.MetricRecord:
    """Seconds that an item would take if it were asked alone, by the times of the run's own passes.

    The mean item has p prompt tokens and o new ones: prefill at p, and o times a step of one row. The interval comes from the standard
    errors of both lines; n counts passes.
    """
    prefill, step = fit(usage.prefills), fit(usage.steps)
    written = task.output_tokens / max(1, task.items)
    value, bounds, reason = math.nan, None, None
    if not usage.prefills.passes:
        reason = "no pass was timed: the answers came from the store, or from one batch"
    elif prefill is None or (written and step is None):
        reason = f"{usage.prefills.passes} passes over prompts and {usage.steps.passes} steps do not tell how time grows"
    else:
        length = task.prompt_tokens / max(1, task.items)
        value, error = prefill.at(length), prefill.error_at(length)
        if written and step is not None:
            value, error = value + written * step.at(1), math.hypot(error, written * step.error_at(1))
        bounds = (max(0.0, value - NORMAL * error), value + NORMAL * error)
    return runs.MetricRecord(
        value=None if reason else value,
        ci=bounds,
        ci_method="least squares" if bounds else None,
        reason=reason,
        n=usage.prefills.passes + (usage.steps.passes if written else 0),
        higher_is_better=False,
        low=0.0,
        high=None,
        unit="s",
        signature=Signature.of("seconds_alone", {"version": 1}),
        family="efficiency",
    )


def _line(moments: Moments) -> runs.LineRecord | None:
    line = fit(moments)
    if line is None:
        return None
    return runs.LineRecord(fixed=line.intercept, each=line.slope, r2=line.r2, passes=line.points)


def _peak_memory() -> int:
    """Most memory ever held: on the GPU where one was used, else by the process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment(options: Options) -> dict[str, str]:
    """Where a run took place: versions, platform, device."""
    import torch

    device = loading.pick_device(options.device)
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "threads": str(torch.get_num_threads()),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    for package in ("torch", "transformers", "peft", "datasets", "bitsandbytes", "sacrebleu", "rouge-score"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
