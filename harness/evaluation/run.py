"""The story on one page: tasks, prompts, requests, responses, scores, results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import __version__, toxicity
from harness.contract import Response, System, Usage
from harness.evaluation.aggregate import Member, MetricScore, score_group
from harness.evaluation.energy import Meter
from harness.evaluation.options import Options, Progress, StageTimer
from harness.evaluation.plan import EvaluationPlan
from harness.evaluation.response_cache import ResponseCache
from harness.evaluation.results import Job, efficiency, environment, seconds_alone, task_record
from harness.evaluation.scoring import TaskScores, combine
from harness.evaluation.systems import response_key
from harness.lm_eval.verdict import LmEvalResults
from harness.store import runs
from harness.store.responses import ResponseStore
from harness.store.saving import SavedSamples, save
from harness.store.writing import Writer
from harness.tasks.schema import Group
from harness.util import paths

if TYPE_CHECKING:
    from harness.models.adapters import Adapter


@dataclass(frozen=True)
class FinishedRun:
    """A run that was written.

    Attributes:
        record: the results in the folder, those of earlier runs of the system included.
        tasks: names of those scored now.
    """

    record: runs.RunRecord
    folder: Path
    tasks: tuple[str, ...]


def run(options: Options, progress: Progress, timer: StageTimer | None = None, *, kept: Path | None = None) -> list[FinishedRun]:
    """Score every system on every task and write its results.

    Whatever can be known to be wrong is told before the model is loaded.

    Args:
        options: what is asked.
        progress: follows the progress.
        timer: where the time went so far.
        kept: the file of kept answers; the cache's by default.

    Raises:
        HarnessError: bad input, or a failure that has a message.
    """
    timer = timer or StageTimer()
    work = EvaluationPlan.open(options, progress, timer)
    finished = []
    with closing(work.evaluation), ResponseStore(kept or paths.cache() / "responses.sqlite") as store:
        for system, adapter in work.evaluation.systems:
            meter = Meter.start()
            answers = _answers(work, system, adapter, store, timer)
            with timer.measure("startup"):
                work.evaluation.check(adapter)
            finished.append(_finish(work, system, answers, timer, meter.joules()))
            timer.next_system()
    if "toxicity" in options.measures:
        work.evaluation.say_once(toxicity.notes())
        toxicity.release()
    return finished


def _answers(
    work: EvaluationPlan, system: System, adapter: Adapter | None, store: ResponseStore, timer: StageTimer
) -> tuple[ResponseCache, Usage]:
    """A response to every request: kept ones from the store, the others computed and kept as they come."""
    evaluation = work.evaluation
    cache = ResponseCache(work.requests, response_key(system), store, fresh=evaluation.options.fresh)
    for note in cache.notes:
        evaluation.progress.note(f"{system.name}: {note}")
    tally = Tally(evaluation.progress, work.labels)
    evaluation.progress.start(system.name, tally.totals)
    tally.finished(cache.responses)
    if cache.complete:
        return cache, Usage()
    with ExitStack() as stack:
        writer = stack.enter_context(Writer(store, system.engine))
        with timer.measure("startup"):
            engine = stack.enter_context(evaluation.engine(adapter))
            texts = engine.generate(cache.generations, cache.answered)  # what cannot be generated is refused before anything is computed
        with timer.measure("score"):
            for batch in engine.score(cache.scorings, cache.answered):
                tally.finished(cache.keep(batch, writer), engine.usage)
        with timer.measure("generate"):
            for batch in texts:
                tally.finished(cache.keep(batch, writer), engine.usage)
        evaluation.say_once(engine.notes)
        return cache, engine.usage


@dataclass
class Tally:
    """Tells the watch how many items are finished under each name that the user asked for."""

    progress: Progress
    labels: Mapping[str, str]
    _tokens: int = 0

    @property
    def totals(self) -> dict[str, int]:
        """Items under each name."""
        return dict(Counter(self.labels.values()))

    def finished(self, responses: Mapping[str, Response], usage: Usage | None = None) -> None:
        """These requests are answered; `usage` is what the engine has spent so far."""
        for label, items in Counter(self.labels[i] for i in responses if i in self.labels).items():
            self.progress.advance(label, items)
        if usage is not None:
            spent = usage.prefill_tokens + usage.decode_tokens
            self.progress.tokens(spent - self._tokens)
            self._tokens = spent


def _finish(
    work: EvaluationPlan, system: System, answers: tuple[ResponseCache, Usage], timer: StageTimer, joules: float | None
) -> FinishedRun:
    """Judge every task, and write samples and results."""
    (cache, usage), jobs, options = answers, work.jobs, work.evaluation.options
    folder = work.evaluation.outputs[system.name]
    with timer.measure("metrics"):
        template_variants: dict[str, dict[str, TaskScores]] = {}
        for job in jobs:
            judged = job.scorer.score(job.item_requests, cache.responses, options.seed, job.copies)
            template_variants.setdefault(job.task.task, {})[job.name] = judged
        scores = {name: combine(own) for name, own in template_variants.items()}
        tasks = {}
        for name, own in template_variants.items():
            record = task_record([job for job in jobs if job.task.task == name], own, scores[name], options)
            if "efficiency" in options.measures:
                record = record.model_copy(update={"metrics": record.metrics | {"seconds_alone": seconds_alone(record, usage)}})
            tasks[name] = record
        groups = {name: _group(group, weights, jobs, scores, tasks) for name, (group, weights) in work.selection.groups.items()}
        theirs = work.suite.score(cache.responses) if work.suite else LmEvalResults()
    whole = runs.RunRecord(
        harness_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(options.command),
        system=runs.system_record(system),
        tasks=tasks | theirs.tasks,
        groups=groups | theirs.groups,
        efficiency=efficiency(usage, cache, timer, joules),
        environment=environment(options),
    )
    parts = {name: list(_parts(name, own)) for name, own in template_variants.items()}
    parts |= {name: [SavedSamples(name, found)] for name, found in theirs.samples.items()}
    merged = save(whole, parts, folder, work.evaluation.progress.note)
    return FinishedRun(merged, folder, tuple(whole.tasks))


def _parts(task: str, template_variants: Mapping[str, TaskScores]) -> Iterator[SavedSamples]:
    """Samples and statistics of one task, and the samples of perturbed copies."""
    for variant, judged in template_variants.items():
        place = task if len(template_variants) == 1 else f"{task}@{variant}"
        yield SavedSamples(place, judged.samples, judged.statistics)
        for perturbation, copies in judged.copies.items():
            yield SavedSamples(f"{place}~{perturbation}", copies)


def _group(
    group: Group,
    weights: Mapping[str, float],
    jobs: Sequence[Job],
    scores: Mapping[str, Mapping[str, MetricScore]],
    tasks: Mapping[str, runs.TaskRecord],
) -> runs.GroupRecord:
    headlines = {job.task.task: job.task.headlines for job in jobs}
    members = {name: Member(scores[name], headlines[name], weight) for name, weight in weights.items()}
    return score_group(group, members, {name: tasks[name].signature for name in weights})
