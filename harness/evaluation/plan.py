"""Everything a run will compute: tasks, systems and requests. Errors in the input are reported here, before a model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

from harness.contract import Request
from harness.engine.base import check_reads_ids, check_requests
from harness.errors import InputError
from harness.evaluation.measures import Measures
from harness.evaluation.options import Options
from harness.evaluation.progress import Progress, StageTimer
from harness.evaluation.requests import RequestBuilder
from harness.evaluation.scoring import TaskScorer
from harness.evaluation.signatures import perturbation_signature
from harness.evaluation.suites import TaskSuite, open_suite
from harness.evaluation.systems import OpenSystems, open_systems
from harness.store import samples
from harness.tasks import suites
from harness.tasks.data import DataReader
from harness.tasks.prompts import TemplateVariant
from harness.tasks.registry import Selection, TaskRegistry
from harness.util import paths
from harness.util.writable import check_files

if TYPE_CHECKING:
    from harness.evaluation.perturbed import PerturbedItems
    from harness.evaluation.requests import ItemRequests
    from harness.models.encoding import Encoder
    from harness.models.in_memory import InMemoryModel
    from harness.perturb import Perturbation
    from harness.tasks.data import Split
    from harness.tasks.registry import TaskEntry
    from harness.tasks.schema import Task


@dataclass(frozen=True)
class PlannedTask:
    """One task with one prompt template, and its requests.

    Attributes:
        label: the task or group in the run's options that it belongs to.
        name: of the template variant, unique within the task.
        split: the items that are scored, and more where there is a limit.
        pool: the items from which few-shot examples are drawn; None without examples.
        shots: number of few-shot examples.
        seed: for few-shot examples and for sampling.
        texts: number of texts generated for each item, where they are sampled.
        copies: the items that each perturbation changed.
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
        """The items and their perturbed copies."""
        return self.item_requests + [item_requests for perturbed in self.copies for item_requests in perturbed.item_requests]

    @property
    def task(self) -> Task:
        """The task."""
        return self.entry.task


@dataclass(frozen=True)
class EvaluationPlan:
    """Everything that every system of a run computes.

    Attributes:
        selection: the tasks and groups.
        systems: the systems.
        tasks: each task in each of its template variants, with requests.
        suites: tasks that other harnesses define.
    """

    selection: Selection
    systems: OpenSystems
    tasks: list[PlannedTask]
    suites: list[TaskSuite]

    @property
    def requests(self) -> list[Request]:
        """The engine's requests."""
        requests = [request for planned in self.tasks for item_requests in planned.everything for request in item_requests.requests]
        return requests + [request for suite in self.suites for request in suite.requests]

    @property
    def labels(self) -> dict[str, str]:
        """For each item's main request, the task or group in the run's options that it belongs to."""
        labels = {item_requests.request.id: planned.label for planned in self.tasks for item_requests in planned.everything}
        for suite in self.suites:
            labels |= suite.request_labels
        return labels


def plan(options: Options, progress: Progress, timer: StageTimer, memory: InMemoryModel | None = None) -> EvaluationPlan:
    """Find tasks, systems and data, and build every request.

    Args:
        options: options of the run.
        progress: receives remarks.
        timer: adds up the time.
        memory: the model, where it is in memory already.

    Raises:
        HarnessError: bad input, or data or a model that is not available.
    """
    with timer.measure("startup"):
        names, suite_names = suites.split(options.task_names)
        selection = _select(names, options) if names or not suite_names else Selection((), {}, {})
        measures = Measures.of(options, progress)
        scorers = {
            entry.task.task: TaskScorer.of(entry.task, measures, remote_code=options.trust_remote_code) for entry in selection.entries
        }
        systems = open_systems(options, progress, memory=memory)
    if suite_names:
        check_reads_ids(systems.backend)
    for root in paths.missing_roots():
        progress.note(f"HARNESS_PATH names {root}, which is not a folder: it is ignored.")
    tasks = list(_planned(options, selection, scorers, measures, systems.encoder, timer))
    if options.texts > 1 and not any(planned.task.answer == "generate" and planned.task.generation.temperature > 0 for planned in tasks):
        progress.note(f"--texts {options.texts} has no effect: none of these tasks samples texts.")
    _check_outputs(tasks, systems)
    work = EvaluationPlan(selection, systems, tasks, _suites(suite_names, measures, systems, timer))
    check_requests(systems.backend, work.requests)
    return work


def _select(names: Sequence[str], options: Options) -> Selection:
    selection = TaskRegistry.default().select(names)
    if options.template_file is None:
        return selection
    from harness.tasks.promptsource import load

    return selection.with_templates(load(options.template_file))


def _planned(
    options: Options, selection: Selection, scorers: Mapping[str, TaskScorer], measures: Measures, encoder: Encoder, timer: StageTimer
) -> Iterator[PlannedTask]:
    """Read the data of each task, and build the requests of each of its template variants."""
    reader = DataReader(options.data)
    for entry in selection.entries:
        task, scorer = entry.task, scorers[entry.task.task]
        with timer.measure("startup"):
            split, pool, shots = _read(entry, reader, options.shots)
        seeds = options.seeds if shots and options.seeds else (options.seed,)
        for template, seed in product(entry.templates(options.templates), seeds):
            name = template.name if len(seeds) == 1 else f"{template.name}#{seed}"
            variant = TemplateVariant(task, template, encoder.chat)
            builder = RequestBuilder(variant, encoder, pool.items if pool else (), shots, seed, name, options.texts)
            item_requests = builder.prepare(split.items[: options.limit], timer)
            copies = _copies(builder, item_requests, measures.perturbations if scorer.headlines else (), options.seed, timer)
            label = selection.labels[task.task]
            yield PlannedTask(label, name, entry, variant, scorer, split, pool, shots, seed, options.texts, item_requests, copies)


def _read(entry: TaskEntry, reader: DataReader, shots: int | None) -> tuple[Split, Split | None, int]:
    """The items to score, the items for few-shot examples, and the number of examples."""
    task, beside = entry.task, entry.path.parent
    split = reader.split(task, task.data.split, beside)
    number = task.shots.number if shots is None else shots
    if not number:
        return split, None, 0
    if task.shots.split is None:
        raise InputError(
            f"Task {task.task} has no split to draw few-shot examples from.", "Omit --shots, or set shots.split in the task file."
        )
    return split, reader.split(task, task.shots.split, beside), number


def _copies(
    builder: RequestBuilder, item_requests: Sequence[ItemRequests], perturbations: Sequence[Perturbation], seed: int, timer: StageTimer
) -> list[PerturbedItems]:
    """Requests for the items whose text each perturbation changes."""
    if not perturbations:
        return []
    from harness.evaluation.perturbed import PerturbedItems, columns, perturbed

    copies = []
    for perturbation in perturbations:
        with timer.measure("startup"):
            changed = perturbed(builder.variant, [original.question for original in item_requests], perturbation, seed)
        renamed = replace(builder, name=f"{builder.name}~{perturbation.label}")
        signature = perturbation_signature(perturbation, seed, columns(builder.variant))
        copies.append(PerturbedItems(perturbation, signature, list(changed), renamed.build(list(changed.values()), timer)))
    return copies


def _check_outputs(tasks: Sequence[PlannedTask], systems: OpenSystems) -> None:
    """Raise StorageError if a file of samples cannot be written."""
    variants = Counter(planned.task.task for planned in tasks)
    names = []
    for planned in tasks:
        name = planned.task.task if variants[planned.task.task] == 1 else f"{planned.task.task}@{planned.name}"
        names += [name, *(f"{name}~{copies.perturbation.label}" for copies in planned.copies)]
    for folder in systems.outputs.values():
        check_files(samples.path_of(folder, name) for name in names)


def _suites(names: Mapping[str, Sequence[str]], measures: Measures, systems: OpenSystems, timer: StageTimer) -> list[TaskSuite]:
    """The tasks of other harnesses, with requests."""
    opened = []
    for suite, members in names.items():
        if measures.families:
            systems.progress.note(f"--measures and --perturb do not apply to {suite}: tasks.")
        with timer.measure("render"):
            tasks = open_suite(suite, members, systems.options, systems.encoder)
        for note in tasks.notes:
            systems.progress.note(note)
        opened.append(tasks)
    return opened
