"""What a run would compute, told without loading the model."""

from __future__ import annotations

from dataclasses import dataclass

from harness.engine.transformers.budget import Budget, max_logit_positions
from harness.engine.transformers.explain import BatchPlan
from harness.engine.transformers.explain import explain as plan
from harness.evaluation.options import Options, Progress, StageTimer
from harness.evaluation.plan import EvaluationPlan
from harness.evaluation.response_cache import ResponseCache
from harness.evaluation.systems import response_key
from harness.models import loading
from harness.store.responses import ResponseStore
from harness.util import paths


@dataclass(frozen=True)
class DryRun:
    """One system's plan, how many different questions it answers, and how many of these the store answers already."""

    plan: tuple[BatchPlan, ...]
    unique: int
    cached: int


def explain(options: Options, progress: Progress) -> dict[str, DryRun]:
    """What `run` would compute for each system, told without loading the model.

    Raises:
        HarnessError: bad input.
    """
    work = EvaluationPlan.open(options, progress, StageTimer())
    evaluation, found = work.evaluation, {}
    config = loading.load_config(evaluation.source, remote_code=options.trust_remote_code)
    budget = Budget.choose(options.batch_tokens, loading.pick_device(options.device).type)
    start = (config.decoder_start_token_id or 0) if evaluation.encoder.architecture == "seq2seq" else None
    with ResponseStore(paths.cache() / "responses.sqlite") as store:
        for system, _ in evaluation.systems:
            cache = ResponseCache(work.requests, response_key(system), store)
            for note in cache.notes:
                progress.note(f"{system.name}: {note}")
            requests = [*cache.scorings, *cache.generations]
            known = 0 if options.fresh else sum(request.id in cache.responses for request in requests)
            kept = max_logit_positions(config.get_text_config().vocab_size)
            planned = tuple(plan(cache.scorings, cache.generations, start, budget, kept))
            found[system.name] = DryRun(planned, len(requests), known)
    return found
