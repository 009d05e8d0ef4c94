"""What the engine would compute, without loading the model: tokens requested, distinct and computed, and padding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from harness.contract import Generate, ScoreRequest, TokenIds
from harness.engine.base import BatchPlan
from harness.engine.transformers.budget import Budget, chunk_size, max_logit_positions
from harness.engine.transformers.planning import Planned, SequenceRow, pieces_beside, plan_scoring, prompt_of, rows_of
from harness.engine.transformers.prefixes import Pass, flat_size, packed_row_size, pieces, plan_passes
from harness.util.sequences import common_prefix

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
    return _passes("score", len(requests), rows, passes, budget, logit_budget)


def _prompts(requests: Sequence[Generate], start: int | None, budget: Budget, logit_budget: int) -> BatchPlan:
    decoded = sum(request.max_new_tokens for request in requests)
    rows = [request.context for request in requests]
    if start is not None:
        distinct = sum(map(len, set(rows)))
        return BatchPlan("generate", len(requests), sum(map(len, rows)), distinct, distinct, decoded=decoded)
    prompts = [prompt_of(request) for request in requests]
    passes = plan_passes(prompts, budget.score, budget.packed_row, logit_budget, own_prefixes=False)
    plan = _passes("generate", len(requests), rows, passes, budget, logit_budget)
    return replace(plan, padding=None, forwards=None, decoded=decoded)


def _passes(
    work: Literal["score", "generate"],
    requests: int,
    rows: Sequence[TokenIds],
    passes: Sequence[Pass],
    budget: Budget,
    logit_budget: int,
) -> BatchPlan:
    befores = [(), *(batch.prefix for batch in passes)]
    lengths = [
        len(piece) for before, batch in zip(befores, passes, strict=False) for piece in batch.prefix[common_prefix(before, batch.prefix) :]
    ]
    computed, padding = sum(lengths), 0
    forwards = sum(-(-length // chunk_size(budget.score)) for length in lengths)
    for batch in passes:
        if len(batch.requests) == 1:
            parts = pieces(batch.requests[0].rows, lambda row: row, batch.skip, budget.score, logit_budget)
            sizes = [flat_size(sorted(row.tokens for row in part)) - batch.skip for part in parts]
            forwards += len(parts)
        else:
            sizes = [packed_row_size(packed_row, batch.skip) for packed_row in batch.packed_rows]
            padding += len(sizes) * max(sizes) - sum(sizes)
            forwards += 1
        computed += sum(sizes)
    return BatchPlan(
        work,
        requests,
        sum(map(len, rows)),
        flat_size(sorted(set(rows))),
        computed,
        padding,
        forwards,
        (len(lengths), sum(lengths)),
    )


def _seq2seq(requests: Sequence[ScoreRequest], start: int, budget: Budget, logit_budget: int) -> BatchPlan:
    batches = plan_scoring(requests, start, budget.score, logit_budget)
    parts = [part for batch in batches for part in _parts(batch, budget.score, logit_budget)]
    rows = [row for part in parts for row in part]
    computed = padding = forwards = 0
    before: set[TokenIds] = set()
    for part in parts:
        sources = {row.source for row in part}
        targets = [len(row.tokens) - 1 for row in part if len(row.tokens) > 1]
        encoded = [] if len(sources) == 1 and sources == before else [len(source) for source in sources]
        for lengths in (encoded, targets):
            computed += sum(lengths)
            padding += len(lengths) * max(lengths, default=0) - sum(lengths)
        computed += len(encoded)
        forwards += (2 if encoded else 0) + (1 if targets else 0)
        before = sources
    requested = sum(len(row.source) + len(row.tokens) for row in rows)
    return BatchPlan("score", len(requests), requested, _distinct(rows), computed, padding, forwards)


def _parts(batch: Sequence[Planned], budget: int, logit_budget: int) -> list[list[SequenceRow]]:
    """What is computed together of a batch's rows."""
    rows = [row for entry in batch for row in entry.rows]
    return [rows] if len(batch) > 1 else pieces_beside(rows, lambda row: row, budget, logit_budget)


def _distinct(rows: Sequence[SequenceRow]) -> int:
    targets: defaultdict[TokenIds, set[TokenIds]] = defaultdict(set)
    for row in rows:
        targets[row.source].add(row.tokens)
    return sum(len(source) + flat_size(sorted(rows_of_source)) for source, rows_of_source in targets.items())
