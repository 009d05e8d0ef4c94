"""Small results folders for tests: made-up answers, judged by the real metrics and kept as a run keeps them."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness import metrics
from harness.contract import ChoiceOutcome, LikelihoodOutcome, TextOutcome
from harness.evaluation.aggregate import Member, MetricScore, blend, score_group
from harness.store import runs
from harness.store.samples import SampleRecord, StatisticsRecord
from harness.store.saving import SavedSamples, save
from harness.tasks.schema import Group
from tests.signed import signed
from tests.store import records

AnyOutcome = ChoiceOutcome | TextOutcome | LikelihoodOutcome


@dataclass(frozen=True)
class Made:
    """One task's answers in one template.

    Attributes:
        answers: per item, what its metrics read.
        metrics: results' name to the metric's name and options.
        digests: of the items; by default made of their numbers.
        signature: what decides items and prompts, as `tests.signed` takes it.
    """

    answers: Sequence[AnyOutcome]
    metrics: Mapping[str, tuple[str, dict[str, Any]]]
    digests: Sequence[str] = ()
    signature: str = "task|v:1|template:plain|shots:0|data:some/data/test|data_digest:{digest}|items:{items}"
    headline: Sequence[str] = ()
    prompts: str = "prompt"
    keep_statistics: bool = True
    template_variants: Mapping[str, Sequence[AnyOutcome]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The items' digests."""
        return list(self.digests or [f"d{number}" for number in range(len(self.answers))])

    def scores(self, answers: Sequence[AnyOutcome]) -> dict[str, MetricScore]:
        """Each metric over some answers to the items."""
        found = {}
        for key, (name, options) in self.metrics.items():
            metric = metrics.load(name, options)
            found[key] = MetricScore(metric, metric.statistics(answers), metric.signature_for(answers), 0)
        return found

    def each(self) -> dict[str, dict[str, MetricScore]]:
        """Scores by template; one of no name where there is only one."""
        return {name: self.scores(answers) for name, answers in (self.template_variants or {"": self.answers}).items()}


def choices(right: Sequence[bool] | np.ndarray, options: int = 4, labels: Sequence[Mapping[str, Any]] = ()) -> list[ChoiceOutcome]:
    """Answers to questions whose right choice is 0, or 1 at every third item."""
    made = []
    for number, hit in enumerate(right):
        target = int(number % 3 == 0)
        said = target if hit else (target + 1) % options
        logprobs = tuple(-0.5 if choice == said else -2.0 for choice in range(options))
        texts = tuple(f"choice {choice}" for choice in range(options))
        made.append(ChoiceOutcome(logprobs, (target,), texts, (2,) * options, dict(labels[number]) if labels else {}))
    return made


def folder(path: Path, tasks: Mapping[str, Made], groups: Mapping[str, Group] | None = None, system: str = "tiny", **changes: Any) -> Path:
    """Write a run with these tasks, and groups with the tasks they name."""
    scores: dict[str, dict[str, MetricScore]] = {}
    kept: dict[str, runs.TaskRecord] = {}
    parts: dict[str, list[SavedSamples]] = {}
    for name, made in tasks.items():
        each = made.each()
        scores[name] = {key: blend([own[key] for own in each.values()]) for key in made.metrics}
        kept[name] = _task_record(made, scores[name], each)
        for variant, own in each.items():
            place, answers = f"{name}@{variant}" if variant else name, made.template_variants.get(variant, made.answers)
            parts.setdefault(name, []).append(_part(place, made, answers, own))
    made_groups = {
        name: score_group(
            group,
            {task: Member(scores[task], tuple(tasks[task].headline or list(scores[task])[:1]), 1.0) for task in group.tasks},
            {task: kept[task].signature for task in group.tasks},
        )
        for name, group in (groups or {}).items()
    }
    record = records.run(system, kept, made_groups, system=runs.system_record(records.system(system, **changes)))
    save(record, parts, path)
    return path


def _task_record(made: Made, scores: Mapping[str, MetricScore], each: Mapping[str, Mapping[str, MetricScore]]) -> runs.TaskRecord:
    digest = f"{zlib.crc32(' '.join(made.names()).encode()):08x}"
    signature = signed(made.signature.format(digest=digest, items=len(made.answers)))
    template_variants = {}
    if made.template_variants:
        template_variants = {
            name: runs.TemplateVariantRecord(
                template=name,
                template_digest="t",
                shot_seed=0,
                metrics={key: score.record() for key, score in own.items()},
                shortened=runs.ShortenedRecord(),
                signature=signature,
            )
            for name, own in each.items()
        }
    return records.task(
        items=len(made.answers),
        answer="choices"
        if isinstance(made.answers[0], ChoiceOutcome)
        else "generate"
        if isinstance(made.answers[0], TextOutcome)
        else "score_text",
        metrics={key: score.record() for key, score in scores.items()},
        signature=signature,
        headline=list(made.headline),
        template_variants=template_variants,
    )


def _part(place: str, made: Made, answers: Sequence[AnyOutcome], scores: Mapping[str, MetricScore]) -> SavedSamples:
    lines = [
        _sample(number, digest, answer, made.prompts) for number, (digest, answer) in enumerate(zip(made.names(), answers, strict=True))
    ]
    for key, score in scores.items():
        values = score.metric.item_scores(score.statistics)
        alone = values is not None and len(values) == len(lines)
        for number, line in enumerate(lines):
            line.metrics[key] = float(values[number]) if alone and values is not None else None
    kept = {
        key: StatisticsRecord(type(score.metric).name, dataclasses.asdict(score.metric), score.statistics) for key, score in scores.items()
    }
    return SavedSamples(place, lines, kept if made.keep_statistics else None)


def _sample(number: int, digest: str, answer: AnyOutcome, prompt: str) -> SampleRecord:
    labels = dict(answer.labels) or None
    if isinstance(answer, ChoiceOutcome):
        right: int | list[int] = answer.targets[0] if len(answer.targets) == 1 else list(answer.targets)
        said = int(np.argmax(answer.logprobs))
        return SampleRecord(f"i{number}", digest, f"{prompt} {number}", right, said, {}, logprobs=list(answer.logprobs), labels=labels)
    if isinstance(answer, TextOutcome):
        return SampleRecord(f"i{number}", digest, f"{prompt} {number}", answer.references[0], answer.prediction, {}, labels=labels)
    return SampleRecord(f"i{number}", digest, f"{prompt} {number}", "text", "text", {}, logprobs=[answer.logprob], labels=labels)
