"""Small results folders for tests: made-up answers, scored by the real metrics and saved as a run saves them."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness import metrics
from harness.compare.comparison import ComparisonOptions, RunComparison, TaskComparison, compare_runs
from harness.contract import ChoiceOutcome, LikelihoodOutcome, TextOutcome
from harness.evaluation.aggregate import Member, MetricScore, blend, score_group
from harness.store.records import ShortenedRecord, TaskRecord, TemplateVariantRecord, system_record
from harness.store.samples import SampleRecord, StatisticsRecord
from harness.store.saving import SavedSamples, save
from harness.tasks.schema import Aggregate, Group
from tests.signed import signed
from tests.store import records

ACCURACY: dict[str, tuple[str, dict[str, Any]]] = {"accuracy": ("accuracy", {})}
PLAN = ComparisonOptions(resamples=400, threads=1)

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
    saved: dict[str, TaskRecord] = {}
    parts: dict[str, list[SavedSamples]] = {}
    for name, made in tasks.items():
        each = made.each()
        scores[name] = {key: blend([own[key] for own in each.values()]) for key in made.metrics}
        saved[name] = _task_record(made, scores[name], each)
        for variant, own in each.items():
            place, answers = f"{name}@{variant}" if variant else name, made.template_variants.get(variant, made.answers)
            parts.setdefault(name, []).append(_part(place, made, answers, own))
    made_groups = {
        name: score_group(
            group,
            {task: Member(scores[task], tuple(tasks[task].headline or list(scores[task])[:1]), 1.0) for task in group.tasks},
            {task: saved[task].signature for task in group.tasks},
        )
        for name, group in (groups or {}).items()
    }
    record = records.run(system, saved, made_groups, system=system_record(records.system(system, **changes)))
    save(record, parts, path)
    return path


def _task_record(made: Made, scores: Mapping[str, MetricScore], each: Mapping[str, Mapping[str, MetricScore]]) -> TaskRecord:
    digest = f"{zlib.crc32(' '.join(made.names()).encode()):08x}"
    signature = signed(made.signature.format(digest=digest, items=len(made.answers)))
    template_variants = {}
    if made.template_variants:
        template_variants = {
            name: TemplateVariantRecord(
                template=name,
                template_digest="t",
                shot_seed=0,
                metrics={key: score.record() for key, score in own.items()},
                shortened=ShortenedRecord(),
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
    saved = {
        key: StatisticsRecord(type(score.metric).name, dataclasses.asdict(score.metric), score.statistics) for key, score in scores.items()
    }
    return SavedSamples(place, lines, saved if made.keep_statistics else None)


def _sample(number: int, digest: str, answer: AnyOutcome, prompt: str) -> SampleRecord:
    labels = dict(answer.labels) or None
    if isinstance(answer, ChoiceOutcome):
        right: int | list[int] = answer.targets[0] if len(answer.targets) == 1 else list(answer.targets)
        said = int(np.argmax(answer.logprobs))
        return SampleRecord(f"i{number}", digest, f"{prompt} {number}", right, said, {}, logprobs=list(answer.logprobs), labels=labels)
    if isinstance(answer, TextOutcome):
        return SampleRecord(f"i{number}", digest, f"{prompt} {number}", answer.references[0], answer.prediction, {}, labels=labels)
    return SampleRecord(f"i{number}", digest, f"{prompt} {number}", "text", "text", {}, logprobs=[answer.logprob], labels=labels)


def hits(share: float, items: int, seed: int = 0) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(seed).random(items) < share
    return found


def flipped(right: np.ndarray, lost: int, gained: int) -> np.ndarray:
    """The same answers but for so many that are lost and gained, the first ones."""
    after = right.copy()
    after[np.flatnonzero(right)[:lost]] = False
    after[np.flatnonzero(~right)[:gained]] = True
    return after


def compare(tmp_path: Path, before: dict[str, Made], after: dict[str, Made], plan: ComparisonOptions = PLAN) -> RunComparison:
    return compare_runs(folder(tmp_path / "before", before), folder(tmp_path / "after", after, system="tuned"), metrics.load, plan)


def compared(tmp_path: Path, before: Made, after: Made, plan: ComparisonOptions = PLAN) -> TaskComparison:
    (task,) = compare(tmp_path, {"quiz": before}, {"quiz": after}, plan).tasks
    return task


def quiz(right: np.ndarray, **changes: Any) -> Made:
    return Made(choices(right), ACCURACY, **changes)


def spoken(texts: Sequence[str]) -> list[AnyOutcome]:
    return [TextOutcome(text, ("the old cat slept under the tall tree at home",)) for text in texts]


def questions_answered(questions: int, answers: int, seed: int, spoilt: float) -> list[ChoiceOutcome]:
    """Labelled answers to questions; whole questions are incorrect."""
    generator = np.random.default_rng(seed)
    wrong = np.repeat(generator.random(questions) < spoilt, answers)
    labels = [
        {"question": f"q{number // answers}", "topic": number % 3, "source": "one", "length": number / 7}
        for number in range(questions * answers)
    ]
    return choices(~wrong, 2, labels)


def width(low: float | None, high: float | None) -> float:
    assert low is not None
    assert high is not None
    return high - low


def group(tasks: list[str], *averages: str, metric: str | None = "accuracy") -> Group:
    aggregates = tuple(
        Aggregate.model_validate({"metric": metric, "average": average, "as": f"accuracy_{average}"}) for average in averages
    )
    return Group(group="exam", title="An exam", tasks=tuple(tasks), aggregate=aggregates)


def subjects(count: int, sizes: tuple[int, int] = (30, 60), loss: float = 0.1) -> tuple[dict[str, Made], dict[str, Made]]:
    """Tasks of unequal size before and after; some items of each are lost, fewer gained."""
    generator = np.random.default_rng(5)
    before, after = {}, {}
    for number in range(count):
        right = generator.random(sizes[number % 2]) < generator.uniform(0.4, 0.9)
        lost = (generator.random(len(right)) < loss) & right
        gained = (generator.random(len(right)) < loss / 2) & ~right
        before[f"exam_{number}"] = Made(choices(right), ACCURACY)
        after[f"exam_{number}"] = Made(choices((right & ~lost) | gained), ACCURACY)
    return before, after
