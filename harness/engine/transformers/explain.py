"""What the engine would compute, without loading the model: tokens requested, distinct and computed, and padding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from harness.contract import Generate, ScoreRequest, TokenIds
from harness.engine.base import BatchPlan
from harness.engine.transformers.budget import Budget, max_logit_positions
from harness.engine.transformers.planning import Planned, SequenceRow, plan_scoring, prompt_of, rows_of
from harness.engine.transformers.prefixes import Pass, flat_size, packed_row_size, plan_passes

if TYPE_CHECKING:
    from harness.models.opening import Opening


def plan_opening(opening: Opening, scorings: Sequence[ScoreRequest], generations: Sequence[Generate]) -> Iterator[BatchPlan]:
    """Plan requests for a model, from its configuration alone.

    Args:
        opening: the model.
        scorings: choices and texts.
        generations: prompts to continue.
    """
    from harness.models import loading

    options = opening.options
    config = opening.memory.base.config if opening.memory else loading.load_config(opening.files, remote_code=options.trust_remote_code)
    budget = Budget.choose(options.batch_tokens, loading.pick_device(options.device).type)
    start = (config.decoder_start_token_id or 0) if opening.encoder.architecture == "seq2seq" else None
    return explain(scorings, generations, start, budget, max_logit_positions(config.get_text_config().vocab_size))


def explain(
    scorings: Sequence[ScoreRequest], generations: Sequence[Generate], start: int | None, budget: Budget, logit_budget: int
) -> Iterator[BatchPlan]:
    """What is planned for requests, as if the model lets prompts share all they can.

    Args:
        scorings: choices and texts.
        generations: prompts to continue.
        start: first token of the decoder of an encoder-decoder model, None for decoder-only models.
        budget: how much is computed at a time.
        logit_budget: positions of a forward whose logits are read.
    """
    if scorings:
        yield _causal(scorings, budget, logit_budget) if start is None else _seq2seq(scorings, start, budget, logit_budget)
    if generations:
        yield _prompts(generations, start, budget, logit_budget)


def _causal(requests: Sequence[ScoreRequest], budget: Budget, logit_budget: int) -> BatchPlan:
    planned = [Planned(request, rows_of(request, None)) for request in requests]
    rows = [row.tokens for entry in planned for row in entry.rows]
    passes = plan_passes(planned, budget.score, budget.packed_row, logit_budget)
    return _passes("score", len(requests), rows, passes)


def _prompts(requests: Sequence[Generate], start: int | None, budget: Budget, logit_budget: int) -> BatchPlan:
    decoded = sum(request.max_new_tokens for request in requests)
    rows = [request.context for request in requests]
    if start is not None:
        distinct = sum(map(len, set(rows)))
        return BatchPlan("generate", len(requests), sum(map(len, rows)), distinct, distinct, decoded=decoded)
    passes = plan_passes([prompt_of(request) for request in requests], budget.score, budget.packed_row, logit_budget)
    plan = _passes("generate", len(requests), rows, passes, decoded)
    return replace(plan, padding=None, forwards=None)


def _passes(
    work: Literal["score", "generate"], requests: int, rows: Sequence[TokenIds], passes: Sequence[Pass], decoded: int = 0
) -> BatchPlan:
    prefix = {batch.prefix[: depth + 1] for batch in passes for depth in range(len(batch.prefix))}
    lengths = [len(pieces[-1]) for pieces in prefix]
    computed, padding = sum(lengths), 0
    for batch in passes:
        sizes = [packed_row_size(packed_row, batch.skip) for packed_row in batch.packed_rows]
        computed += sum(sizes)
        padding += len(sizes) * max(sizes) - sum(sizes)
    return BatchPlan(
        work,
        requests,
        sum(map(len, rows)),
        flat_size(sorted(set(rows))),
        computed,
        padding,
        len(passes) + len(prefix),
        (len(prefix), sum(lengths)),
        decoded,
    )


def _seq2seq(requests: Sequence[ScoreRequest], start: int, budget: Budget, logit_budget: int) -> BatchPlan:
    batches = [[row for entry in batch for row in entry.rows] for batch in plan_scoring(requests, start, budget.score, logit_budget)]
    rows = [row for batch in batches for row in batch]
    computed = padding = 0
    for batch in batches:
        sources = {row.source for row in batch}
        targets = [len(row.tokens) - 1 for row in batch if len(row.tokens) > 1]
        for lengths in ([len(source) for source in sources], targets):
            computed += sum(lengths)
            padding += len(lengths) * max(lengths, default=0) - sum(lengths)
        computed += len(sources)
    requested = sum(len(row.source) + len(row.tokens) for row in rows)
    forwards = 2 * len(batches) + sum(any(len(row.tokens) > 1 for row in batch) for batch in batches)
    return BatchPlan("score", len(requests), requested, _distinct(rows), computed, padding, forwards)


def _distinct(rows: Sequence[SequenceRow]) -> int:
    targets: defaultdict[TokenIds, set[TokenIds]] = defaultdict(set)
    for row in rows:
        targets[row.source].add(row.tokens)
    return sum(len(source) + flat_size(sorted(rows_of_source)) for source, rows_of_source in targets.items())
