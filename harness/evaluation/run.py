"""A run from options to results: plan, responses, scores, files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import toxicity
from harness.contract import Response, System, Usage
from harness.engine.base import batches, response_key
from harness.engine.pieces import Shard
from harness.evaluation.cost import EnergyMeter, efficiency, seconds_alone
from harness.evaluation.options import Options
from harness.evaluation.plan import EvaluationPlan, plan
from harness.evaluation.progress import Progress, StageTimer
from harness.evaluation.response_cache import ResponseCache
from harness.evaluation.results import ScoredTasks, run_record, score_tasks
from harness.models import loading
from harness.store.records import RunRecord
from harness.store.responses import ResponseStore
from harness.store.saving import save
from harness.store.writing import Writer
from harness.util import paths

if TYPE_CHECKING:
    from harness.evaluation.shards import MergedShards
    from harness.models.in_memory import InMemoryModel
    from harness.models.opening import AnyAdapter


@dataclass(frozen=True)
class FinishedRun:
    """A run whose results are saved.

    Attributes:
        record: the folder's results, those of earlier runs of the same system included.
        folder: where they are.
        tasks: names of the tasks of this run.
    """

    record: RunRecord
    folder: Path
    tasks: tuple[str, ...]


def run(
    options: Options,
    progress: Progress,
    timer: StageTimer | None = None,
    *,
    cache: Path | None = None,
    memory: InMemoryModel | None = None,
    shards: MergedShards | None = None,
) -> list[FinishedRun]:
    """Evaluate every system on every task, and save the results of each.

    Args:
        options: options of the run.
        progress: receives progress and remarks.
        timer: time spent so far.
        cache: file of the response cache; by default `responses.sqlite` in the user's cache folder.
        memory: the model, where it is in memory already.
        shards: where they computed all responses, which the cache holds.

    Raises:
        HarnessError: bad input, reported before a model is loaded, or a failure that has a message.
    """
    timer = timer or StageTimer()
    work = plan(options, progress, timer, memory)
    finished = []
    device = loading.pick_device(options.devices[0]) if memory is None else memory.device
    with closing(work.systems), ResponseStore(cache or paths.cache() / "responses.sqlite") as store:
        for system, adapter in work.systems.systems:
            meter = EnergyMeter.start()
            responses, usage = respond(work, system, adapter, store, timer, shards=shards)
            with timer.measure("startup"):
                work.systems.check(adapter)
            with timer.measure("metrics"):
                scored = _score(work, responses, usage, options)
            cost = efficiency(usage, responses, timer, meter.joules())
            record = run_record(system, scored, cost, options, device)
            folder = work.systems.outputs[system.name]
            saved = save(record, scored.samples, folder, progress.note)
            finished.append(FinishedRun(saved, folder, tuple(record.tasks)))
            timer.next_system()
    if "toxicity" in options.families:
        work.systems.say_once(toxicity.notes())
        toxicity.release()
    return finished


def _score(work: EvaluationPlan, cache: ResponseCache, usage: Usage, options: Options) -> ScoredTasks:
    scored = score_tasks(work, cache.responses, options)
    if "efficiency" not in options.families:
        return scored
    timed = {planned.task.task for planned in work.tasks}
    tasks = {
        name: record.model_copy(update={"metrics": record.metrics | {"seconds_alone": seconds_alone(record, usage)}})
        for name, record in scored.tasks.items()
        if name in timed
    }
    return replace(scored, tasks=scored.tasks | tasks)


def respond(
    work: EvaluationPlan,
    system: System,
    adapter: AnyAdapter | None,
    store: ResponseStore,
    timer: StageTimer,
    *,
    shard: Shard | None = None,
    shards: MergedShards | None = None,
) -> tuple[ResponseCache, Usage]:
    """A response to every request: cached responses from the store, the others computed, and saved as they arrive.

    Args:
        work: the plan.
        system: one of its systems.
        adapter: of the system.
        store: the response cache.
        timer: adds up the time.
        shard: compute only this part.
        shards: nothing is computed, because they did.
    """
    systems = work.systems
    cache = ResponseCache(work.requests, response_key(system), store, fresh=systems.options.fresh)
    if shards is not None:
        return cache, shards.usage(system, cache)
    for note in cache.notes:
        systems.progress.note(f"{system.name}: {note}")
    tally = Tally(systems.progress, work.labels)
    systems.progress.start(system.name, tally.totals)
    tally.finished(cache.responses)
    if cache.complete:
        return cache, Usage()
    with ExitStack() as stack:
        writer = stack.enter_context(Writer(store, system.engine))
        with timer.measure("startup"):
            engine = stack.enter_context(systems.engine(adapter))
            scorings, generations = cache.scorings, cache.generations
            elsewhere, mine = frozenset[str](), None
            if shard is not None:
                requests = [*scorings, *generations]
                mine = shard.part(batches(engine, requests), requests)
                elsewhere = frozenset(request.id for request in requests if request.id not in mine)
            texts = engine.generate(generations, cache.answered | elsewhere)  # refuses what it cannot generate before anything is computed
        with timer.measure("score"):
            for batch in engine.score(scorings, cache.answered | elsewhere):
                tally.finished(cache.add(batch, writer), engine.usage)
        with timer.measure("generate"):
            for batch in texts:
                tally.finished(cache.add(batch, writer), engine.usage)
        cache.check_complete(mine)
        systems.say_once(engine.notes)
        return cache, engine.usage


@dataclass
class Tally:
    """Counts finished items and computed tokens for the progress display.

    Attributes:
        progress: receives the counts.
        labels: for each item's main request, the task or group in the run's options that it belongs to.
    """

    progress: Progress
    labels: Mapping[str, str]
    _tokens: int = 0

    @property
    def totals(self) -> dict[str, int]:
        """Number of items by task or group."""
        return dict(Counter(self.labels.values()))

    def finished(self, responses: Mapping[str, Response], usage: Usage | None = None) -> None:
        """Count the items of these responses.

        Args:
            responses: by request id.
            usage: what the engine has computed so far.
        """
        for label, items in Counter(self.labels[key] for key in responses if key in self.labels).items():
            self.progress.advance(label, items)
        if usage is not None:
            computed = usage.prefill_tokens + usage.decode_tokens
            self.progress.tokens(computed - self._tokens)
            self._tokens = computed
