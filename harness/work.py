"""Everything a run asks: tasks, systems, prompts; whatever can be known to be wrong is told here, before a model is loaded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from harness import folders
from harness.contract import Request
from harness.errors import InputError
from harness.evaluation.signatures import perturbation_signature
from harness.interop import lm_eval_names
from harness.judge import Judge
from harness.measures import Measures
from harness.options import Clock, Options, Watch
from harness.prepare import Preparation
from harness.records import Job
from harness.store import samples
from harness.store.places import check_files
from harness.systems import Evaluation
from harness.tasks.data import DataReader
from harness.tasks.prompts import Wording
from harness.tasks.registry import Registry, Selection

if TYPE_CHECKING:
    from harness.disturb import Copies
    from harness.interop.lm_eval_suite import Suite
    from harness.models.encoding import Encoder
    from harness.perturb import Perturbation
    from harness.prepare import Asked


@dataclass(frozen=True)
class Work:
    """Everything that is asked, of every system."""

    selection: Selection
    evaluation: Evaluation
    jobs: list[Job]
    suite: Suite | None

    @classmethod
    def open(cls, options: Options, watch: Watch, clock: Clock) -> Work:
        """Find tasks, systems and data, and prepare every request."""
        with clock.measure("startup"):
            own, theirs = lm_eval_names.split(options.tasks)
            selection = Registry.default().select(own) if own or not theirs else Selection((), {}, {})
            if options.template_file is not None:
                from harness.tasks.promptsource import load

                selection = selection.with_templates(load(options.template_file))
            measures = Measures.of(options, watch)
            judges = {entry.task.task: Judge.of(entry.task, measures, remote_code=options.trust_remote_code) for entry in selection.entries}
            evaluation = Evaluation.open(options, watch)
        for root in folders.absent():
            watch.note(f"HARNESS_PATH names {root}, which is no folder: nothing is taken from there.")
        if theirs and measures.families:
            watch.note("Measures beside the tasks' own, and perturbations, are not taken of lm_eval: tasks.")
        jobs = _prepare(options, selection, judges, measures, evaluation.encoder, clock)
        if options.texts > 1 and all(job.task.answer != "generate" or job.task.generation.temperature == 0 for job in jobs):
            watch.note(f"--texts {options.texts} has no effect: none of these tasks samples its texts.")
        names = _samples(jobs)
        for folder in evaluation.outputs.values():
            check_files(samples.path_of(folder, name) for name in names)
        return cls(selection, evaluation, jobs, _suite(theirs, evaluation, clock))

    @property
    def requests(self) -> list[Request]:
        """The engine's requests."""
        own = [request for job in self.jobs for asked in job.everything for request in asked.requests]
        return own + (self.suite.requests if self.suite else [])

    @property
    def labels(self) -> dict[str, str]:
        """For each item's request the name under which the user asked for its task."""
        own = {asked.request.id: job.label for job in self.jobs for asked in job.everything}
        return own | (self.suite.request_labels if self.suite else {})


def _samples(jobs: Sequence[Job]) -> list[str]:
    """Names of the files of samples that the jobs will have."""
    wordings = Counter(job.task.task for job in jobs)
    names = [job.task.task if wordings[job.task.task] == 1 else f"{job.task.task}@{job.name}" for job in jobs]
    return [*names, *(f"{name}~{copies.perturbation.label}" for name, job in zip(names, jobs, strict=True) for copies in job.copies)]


def _prepare(
    options: Options, selection: Selection, judges: Mapping[str, Judge], measures: Measures, encoder: Encoder, clock: Clock
) -> list[Job]:
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
            pool = reader.split(task, task.shots.split, entry.path.parent) if shots and task.shots.split else None
        seeds = options.shot_seeds if shots and options.shot_seeds else (options.seed,)
        for template, seed in product(entry.templates(options.template), seeds):
            name = template.name if len(seeds) == 1 else f"{template.name}#{seed}"
            wording = Wording(task, template, encoder.chat)
            preparation = Preparation(wording, encoder, pool.items if pool else (), shots, seed, name, options.texts)
            asked = preparation.prepare(split.items[: options.limit], clock.preparation)
            copies = _copies(preparation, asked, measures.perturbations if judges[task.task].headlines else (), options.seed, clock)
            judge = judges[task.task]
            jobs.append(
                Job(selection.labels[task.task], name, entry, wording, judge, split, pool, shots, seed, options.texts, asked, copies)
            )
    return jobs


def _copies(
    preparation: Preparation, asked: Sequence[Asked], perturbations: Sequence[Perturbation], seed: int, clock: Clock
) -> list[Copies]:
    """Copies of those items whose text each perturbation changes."""
    if not perturbations:
        return []
    from harness.disturb import Copies, columns, disturbed

    copies = []
    for perturbation in perturbations:
        with clock.measure("startup"):
            changed = disturbed(preparation.wording, [one.question for one in asked], perturbation, seed)
        own = replace(preparation, name=f"{preparation.name}~{perturbation.label}")
        signature = perturbation_signature(perturbation, seed, columns(preparation.wording))
        copies.append(Copies(perturbation, signature, list(changed), own.ask(list(changed.values()), clock.preparation)))
    return copies


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
