"""What the engine would do, told without a model: tokens asked, distinct, computed, and padding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.contract import Generate, ScoreRequest, TokenIds
from harness.engine.transformers.budget import Budget
from harness.engine.transformers.planning import Planned, SequenceRow, plan_scoring, prompt_of, rows_of
from harness.engine.transformers.prefixes import Pass, flat_size, plan_passes, strip_size


@dataclass(frozen=True)
class BatchPlan:
    """The plan for scoring, or for the prompts of generation.

    Of prompts, who enters together is decided as others finish: what is computed is then near to this, and padding is not known before.

    Attributes:
        work: "score" or "generate".
        requests: questions, texts or prompts.
        requested: tokens with nothing shared, each distinct row once.
        distinct: tokens that differ in what stands before them; no plan computes fewer.
        computed: tokens that the plan computes, without padding.
        padding: tokens of filler beside them; None where it is not known before.
        forwards: passes through the model; None likewise.
        held: prefixes that are kept on the device for a while, and how many tokens long they are.
        decoded: tokens at most that are generated.
    """

    work: Literal["score", "generate"]
    requests: int
    requested: int
    distinct: int
    computed: int
    padding: int | None = None
    forwards: int | None = None
    held: tuple[int, int] = (0, 0)
    decoded: int = 0


def explain(
    scorings: Sequence[ScoreRequest], generations: Sequence[Generate], start: int | None, budget: Budget, kept: int
) -> Iterator[BatchPlan]:
    """What is planned for requests, as if the model lets prompts share all they can.

    Args:
        scorings: choices and texts.
        generations: prompts to continue.
        start: first token of the decoder of an encoder-decoder model, None for decoder-only models.
        budget: how much is computed at a time.
        kept: positions of a forward whose logits are read.
    """
    if scorings:
        yield _causal(scorings, budget, kept) if start is None else _seq2seq(scorings, start, budget, kept)
    if generations:
        yield _prompts(generations, start, budget, kept)


def _causal(requests: Sequence[ScoreRequest], budget: Budget, kept: int) -> BatchPlan:
    planned = [Planned(request, rows_of(request, None)) for request in requests]
    rows = [row.tokens for one in planned for row in one.rows]
    passes = plan_passes(planned, budget.score, budget.strip, kept)
    return _passes("score", len(requests), rows, passes)


def _prompts(requests: Sequence[Generate], start: int | None, budget: Budget, kept: int) -> BatchPlan:
    decoded = sum(one.max_new_tokens for one in requests)
    rows = [one.context for one in requests]
    if start is not None:
        distinct = sum(map(len, set(rows)))
        return BatchPlan("generate", len(requests), sum(map(len, rows)), distinct, distinct, decoded=decoded)
    passes = plan_passes([prompt_of(one) for one in requests], budget.score, budget.strip, kept)
    found = _passes("generate", len(requests), rows, passes, decoded)
    return replace(found, padding=None, forwards=None)


def _passes(
    work: Literal["score", "generate"], requests: int, rows: Sequence[TokenIds], passes: Sequence[Pass], decoded: int = 0
) -> BatchPlan:
    held = {batch.held[: depth + 1] for batch in passes for depth in range(len(batch.held))}
    lengths = [len(pieces[-1]) for pieces in held]
    computed, padding = sum(lengths), 0
    for batch in passes:
        sizes = [strip_size(strip, batch.skip) for strip in batch.strips]
        computed += sum(sizes)
        padding += len(sizes) * max(sizes) - sum(sizes)
    return BatchPlan(
        work,
        requests,
        sum(map(len, rows)),
        flat_size(sorted(set(rows))),
        computed,
        padding,
        len(passes) + len(held),
        (len(held), sum(lengths)),
        decoded,
    )


def _seq2seq(requests: Sequence[ScoreRequest], start: int, budget: Budget, kept: int) -> BatchPlan:
    batches = [[row for one in batch for row in one.rows] for batch in plan_scoring(requests, start, budget.score, kept)]
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
    return sum(len(source) + flat_size(sorted(found)) for source, found in targets.items())
