"""What a run would compute, without loading the model."""

from __future__ import annotations

from dataclasses import dataclass

from harness.engine.base import BatchPlan, response_key
from harness.evaluation.options import Options
from harness.evaluation.plan import plan
from harness.evaluation.progress import Progress, StageTimer
from harness.evaluation.response_cache import ResponseCache
from harness.store.responses import ResponseStore
from harness.util import paths


@dataclass(frozen=True)
class DryRun:
    """What a run would compute for one system.

    Attributes:
        plan: the engine's batches; empty where its backend does not plan them before.
        unique: number of unique requests.
        cached: how many of them have a cached response.
    """

    plan: tuple[BatchPlan, ...]
    unique: int
    cached: int


def explain(options: Options, progress: Progress) -> dict[str, DryRun]:
    """What `run` would compute for each system, by the system's name; loads no model.

    Raises:
        HarnessError: bad input.
    """
    work, dry_runs = plan(options, progress, StageTimer()), {}
    systems = work.systems
    with ResponseStore(paths.cache() / "responses.sqlite") as store:
        for system, _ in systems.systems:
            cache = ResponseCache(work.requests, response_key(system), store)
            for note in cache.notes:
                progress.note(f"{system.name}: {note}")
            requests = [*cache.scorings, *cache.generations]
            cached = 0 if options.fresh else sum(request.id in cache.responses for request in requests)
            planned = tuple(systems.backend.plan(systems.opening, cache.scorings, cache.generations))
            dry_runs[system.name] = DryRun(planned, len(requests), cached)
    return dry_runs
