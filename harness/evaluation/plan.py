"""Everything a run asks: tasks, systems, prompts; whatever can be known to be wrong is told here, before a model is loaded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from harness.contract import Request
from harness.errors import InputError
from harness.evaluation.measures import Measures
from harness.evaluation.options import Options, Progress, StageTimer
from harness.evaluation.requests import RequestBuilder
from harness.evaluation.results import Job
from harness.evaluation.scoring import TaskScorer
from harness.evaluation.signatures import perturbation_signature
from harness.evaluation.systems import OpenSystems
from harness.lm_eval import task_names
from harness.store import samples
from harness.tasks.data import DataReader
from harness.tasks.prompts import TemplateVariant
from harness.tasks.registry import Selection, TaskRegistry
from harness.util import paths
from harness.util.writable import check_files

if TYPE_CHECKING:
    from harness.evaluation.perturbed import PerturbedItems
    from harness.evaluation.requests import ItemRequests
    from harness.lm_eval.suite import Suite
    from harness.models.encoding import Encoder
    from harness.perturb import Perturbation


@dataclass(frozen=True)
class EvaluationPlan:
    """Everything that is asked, of every system."""

    selection: Selection
    evaluation: OpenSystems
    jobs: list[Job]
    suite: Suite | None

    @classmethod
    def open(cls, options: Options, progress: Progress, timer: StageTimer) -> EvaluationPlan:
        """Find tasks, systems and data, and prepare every request."""
        with timer.measure("startup"):
            own, theirs = task_names.split(options.tasks)
            selection = TaskRegistry.default().select(own) if own or not theirs else Selection((), {}, {})
            if options.template_file is not None:
                from harness.tasks.promptsource import load

                selection = selection.with_templates(load(options.template_file))
            measures = Measures.of(options, progress)
            scorers = {
                entry.task.task: TaskScorer.of(entry.task, measures, remote_code=options.trust_remote_code) for entry in selection.entries
            }
            evaluation = OpenSystems.open(options, progress)
        if theirs and measures.families:
            progress.note("Measures beside the tasks' own, and perturbations, are not taken of lm_eval: tasks.")
        jobs = _prepare(options, selection, scorers, measures, evaluation.encoder, timer)
        names = _samples(jobs)
        for folder in evaluation.outputs.values():
            check_files(samples.path_of(folder, name) for name in names)
        return cls(selection, evaluation, jobs, _suite(theirs, evaluation, timer))

    @property
    def requests(self) -> list[Request]:
        """The engine's requests."""
        own = [request for job in self.jobs for item_requests in job.everything for request in item_requests.requests]
        return own + (self.suite.requests if self.suite else [])

    @property
    def labels(self) -> dict[str, str]:
        """For each item's request the name under which the user asked for its task."""
        own = {item_requests.request.id: job.label for job in self.jobs for item_requests in job.everything}
        return own | (self.suite.request_labels if self.suite else {})


def _samples(jobs: Sequence[Job]) -> list[str]:
    """Names of the files of samples that the jobs will have."""
    template_variants = Counter(job.task.task for job in jobs)
    names = [job.task.task if template_variants[job.task.task] == 1 else f"{job.task.task}@{job.name}" for job in jobs]
    return [*names, *(f"{name}~{copies.perturbation.label}" for name, job in zip(names, jobs, strict=True) for copies in job.copies)]


def _prepare(
    options: Options, selection: Selection, scorers: Mapping[str, TaskScorer], measures: Measures, encoder: Encoder, timer: StageTimer
) -> list[Job]:
    """Read the data, render and tokenize every prompt."""
    reader = DataReader(paths.data_folder(options.data))
    jobs = []
    for entry in selection.entries:
        task = entry.task
        with timer.measure("startup"):
            split = reader.split(task, task.data.split, entry.path.parent)
            shots = task.shots.number if options.shots is None else options.shots
            if shots and task.shots.split is None:
                raise InputError(f"Task {task.task} has no split to draw shots from.", "Leave out --shots, or give the task a shots.split.")
            pool = reader.split(task, task.shots.split, entry.path.parent) if shots and task.shots.split else None
        seeds = options.shot_seeds if shots and options.shot_seeds else (options.seed,)
        for template, seed in product(entry.templates(options.template), seeds):
            name = template.name if len(seeds) == 1 else f"{template.name}#{seed}"
            variant = TemplateVariant(task, template, encoder.chat)
            preparation = RequestBuilder(variant, encoder, pool.items if pool else (), shots, seed, name, options.texts)
            item_requests = preparation.prepare(split.items[: options.limit], timer.preparation)
            copies = _copies(
                preparation, item_requests, measures.perturbations if scorers[task.task].headlines else (), options.seed, timer
            )
            scorer = scorers[task.task]
            jobs.append(
                Job(
                    selection.labels[task.task],
                    name,
                    entry,
                    variant,
                    scorer,
                    split,
                    pool,
                    shots,
                    seed,
                    options.texts,
                    item_requests,
                    copies,
                )
            )
    return jobs


def _copies(
    preparation: RequestBuilder, item_requests: Sequence[ItemRequests], perturbations: Sequence[Perturbation], seed: int, timer: StageTimer
) -> list[PerturbedItems]:
    """Copies of those items whose text each perturbation changes."""
    if not perturbations:
        return []
    from harness.evaluation.perturbed import PerturbedItems, columns, perturbed

    copies = []
    for perturbation in perturbations:
        with timer.measure("startup"):
            changed = perturbed(preparation.variant, [one.question for one in item_requests], perturbation, seed)
        own = replace(preparation, name=f"{preparation.name}~{perturbation.label}")
        signature = perturbation_signature(perturbation, seed, columns(preparation.variant))
        copies.append(PerturbedItems(perturbation, signature, list(changed), own.ask(list(changed.values()), timer.preparation)))
    return copies


def _suite(names: Sequence[str], evaluation: OpenSystems, timer: StageTimer) -> Suite | None:
    """lm-eval's tasks, built, rendered and tokenized; None where there are none."""
    if not names:
        return None
    task_names.installed()
    from harness.lm_eval.suite import Suite

    began = time.perf_counter()
    suite = Suite.prepare(names, evaluation.options, evaluation.encoder, paths.data_folder(evaluation.options.data))
    timer.preparation.render += time.perf_counter() - began
    for note in suite.notes:
        evaluation.progress.note(note)
    return suite
