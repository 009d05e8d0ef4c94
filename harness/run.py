"""The story on one page: tasks, prompts, requests, responses, scores, results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from harness import __version__, folders
from harness.answers import Ledger
from harness.contract import Response, System, Usage
from harness.errors import InputError
from harness.interop import lm_eval_names
from harness.interop.verdict import Verdict
from harness.judge import Judge, Judged, combine
from harness.models import digests
from harness.options import Clock, Options, Watch
from harness.prepare import Preparation
from harness.records import Job, efficiency, environment, task_record
from harness.scores import Member, Score, judge_group
from harness.store import runs, samples
from harness.store.responses import ResponseStore
from harness.systems import Evaluation, response_key
from harness.tasks.data import DataReader
from harness.tasks.prompts import Wording
from harness.tasks.registry import Registry, Selection
from harness.tasks.schema import Group

if TYPE_CHECKING:
    from harness.interop.lm_eval_suite import Suite
    from harness.models.adapters import Adapter
    from harness.models.encoding import Encoder


@dataclass(frozen=True)
class Finished:
    """A run that was written."""

    record: runs.RunRecord
    folder: Path


def run(options: Options, watch: Watch, clock: Clock | None = None) -> list[Finished]:
    """Score every system on every task and write its results.

    Whatever can be known to be wrong is told before the model is loaded.

    Raises:
        HarnessError: bad input, or a failure that has a message.
    """
    clock = clock or Clock()
    with clock.measure("startup"):
        own, theirs = lm_eval_names.split(options.tasks)
        selection = Registry.default().select(own) if own or not theirs else Selection((), {}, {})
        if options.template_file is not None:
            from harness.tasks.promptsource import load

            selection = selection.with_templates(load(options.template_file))
        judges = {entry.task.task: Judge.of(entry.task) for entry in selection.entries}
        evaluation = Evaluation.open(options, watch)
    jobs = _prepare(options, selection, judges, evaluation.encoder, clock)
    suite = _suite(theirs, evaluation, clock)
    finished = []
    with ResponseStore(folders.cache() / "responses.sqlite") as store:
        for system, adapter in evaluation.systems:
            answers = _answers(evaluation, system, adapter, jobs, suite, store, clock)
            finished.append(_finish(evaluation, system, selection, jobs, suite, answers, clock))
            clock.next_system()
    return finished


def _prepare(options: Options, selection: Selection, judges: Mapping[str, Judge], encoder: Encoder, clock: Clock) -> list[Job]:
    """Read the data, render and tokenize every prompt."""
    reader = DataReader(folders.data_folder(options.data))
    jobs = []
    for entry in selection.entries:
        task = entry.task
        with clock.measure("startup"):
            split = reader.split(task, task.data.split, entry.path.parent)
            shots = task.shots.number if options.shots is None else options.shots
            if shots and task.shots.split is None:
                raise InputError(f"Task {task.task} has no split to draw shots from.", "Leave out --shots, or give the task a shots.split.")
            pool = reader.split(task, task.shots.split, entry.path.parent).items if shots and task.shots.split else ()
        seeds = options.shot_seeds if shots and options.shot_seeds else (options.seed,)
        for template, seed in product(entry.templates(options.template), seeds):
            name = template.name if len(seeds) == 1 else f"{template.name}#{seed}"
            wording = Wording(task, template, encoder.chat)
            asked = Preparation(wording, encoder, pool, shots, seed, name).prepare(split.items[: options.limit], clock.preparation)
            jobs.append(Job(selection.labels[task.task], name, entry, wording, judges[task.task], split, shots, seed, asked))
    return jobs


def _suite(names: Sequence[str], evaluation: Evaluation, clock: Clock) -> Suite | None:
    """lm-eval's tasks, built, rendered and tokenized; None where there are none."""
    if not names:
        return None
    lm_eval_names.installed()
    from harness.interop.lm_eval_suite import Suite

    began = time.perf_counter()
    suite = Suite.prepare(names, evaluation.options, evaluation.encoder, folders.data_folder(evaluation.options.data))
    clock.preparation.render += time.perf_counter() - began
    for note in suite.notes:
        evaluation.watch.note(note)
    return suite


def _answers(
    evaluation: Evaluation,
    system: System,
    adapter: Adapter | None,
    jobs: Sequence[Job],
    suite: Suite | None,
    store: ResponseStore,
    clock: Clock,
) -> tuple[Ledger, Usage]:
    """A response to every request: kept ones from the store, the others computed and kept at once."""
    requests = [request for job in jobs for asked in job.asked for request in asked.requests]
    labels = {asked.request.id: job.label for job in jobs for asked in job.asked}
    if suite:
        requests += suite.requests
        labels |= suite.request_labels
    ledger = Ledger(requests, response_key(system), store, fresh=evaluation.options.fresh)
    tally = Tally(evaluation.watch, labels)
    evaluation.watch.start(system.name, tally.totals)
    tally.finished(ledger.responses)
    if ledger.complete:
        return ledger, Usage()
    with ExitStack() as stack:
        with clock.measure("startup"):
            engine = stack.enter_context(evaluation.engine(adapter))
        with clock.measure("score"):
            for batch in engine.score(ledger.scorings, ledger.answered):
                tally.finished(ledger.keep(batch), engine.usage)
        with clock.measure("generate"):
            for batch in engine.generate(ledger.generations, ledger.answered):
                tally.finished(ledger.keep(batch), engine.usage)
        evaluation.say_once(engine.notes)
        return ledger, engine.usage


@dataclass
class Tally:
    """Tells the watch how many items are finished under each name that the user asked for."""

    watch: Watch
    labels: Mapping[str, str]
    _tokens: int = 0

    @property
    def totals(self) -> dict[str, int]:
        """Items under each name."""
        return dict(Counter(self.labels.values()))

    def finished(self, responses: Mapping[str, Response], usage: Usage | None = None) -> None:
        """These requests are answered; `usage` is what the engine has spent so far."""
        for label, items in Counter(self.labels[i] for i in responses if i in self.labels).items():
            self.watch.advance(label, items)
        if usage is not None:
            spent = usage.prefill_tokens + usage.decode_tokens
            self.watch.tokens(spent - self._tokens)
            self._tokens = spent


def _finish(
    evaluation: Evaluation,
    system: System,
    selection: Selection,
    jobs: Sequence[Job],
    suite: Suite | None,
    answers: tuple[Ledger, Usage],
    clock: Clock,
) -> Finished:
    """Judge every task, and write samples and results."""
    (ledger, usage), options = answers, evaluation.options
    folder = evaluation.outputs[system.name]
    with clock.measure("metrics"):
        wordings: dict[str, dict[str, Judged]] = {}
        for job in jobs:
            responses = [ledger.responses[asked.request.id] for asked in job.asked]
            wordings.setdefault(job.task.task, {})[job.name] = job.judge.judge(job.asked, responses, options.seed, ledger.responses)
        scores = {name: combine(judged) for name, judged in wordings.items()}
        tasks = {}
        for name, judged in wordings.items():
            tasks[name] = task_record([job for job in jobs if job.task.task == name], judged, scores[name], options)
        groups = {name: _group(group, weights, jobs, scores, tasks) for name, (group, weights) in selection.groups.items()}
        theirs = suite.judge(ledger.responses) if suite else Verdict()
    record = runs.RunRecord(
        harness_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(options.command),
        system=runs.system_record(system),
        tasks=tasks | theirs.tasks,
        groups=groups | theirs.groups,
        efficiency=efficiency(usage, ledger, clock),
        environment=environment(options),
    )
    old = runs.read(folder) if (folder / runs.FILE_NAME).exists() else None
    for name, judged in wordings.items():
        for wording, one in judged.items():
            place = name if len(judged) == 1 else f"{name}@{wording}"
            samples.write(one.samples, folder, place)
            samples.write_statistics(one.statistics, folder, place)
    for name, found in theirs.samples.items():
        samples.write(found, folder, name)
    merged = runs.merge(old, record)
    runs.write(merged, folder)
    return Finished(merged, folder)


def _group(
    group: Group,
    weights: Mapping[str, float],
    jobs: Sequence[Job],
    scores: Mapping[str, Mapping[str, Score]],
    tasks: Mapping[str, runs.TaskRecord],
) -> runs.GroupRecord:
    headlines = {job.task.task: job.task.headlines for job in jobs}
    members = {name: Member(scores[name], headlines[name], weight) for name, weight in weights.items()}
    return judge_group(group, members, digests.text_digest("\n".join(tasks[name].signature for name in weights)))
