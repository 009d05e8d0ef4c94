"""What the plan promises is what the engine then computes."""

from __future__ import annotations

import pytest

from harness.contract import Generate, ScoreChoices
from harness.engine.transformers.budget import Budget, max_logit_positions
from harness.engine.transformers.explain import explain
from tests.engine.architectures import engine, questions
from tests.engine.conftest import Tiny
from tests.engine.test_scoring import scores
from tests.engine.test_sharing import few_shot


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_the_plan_is_what_is_computed(tiny: Tiny, name: str) -> None:
    made = engine(tiny(name), 128, packed_row=64)
    requests = few_shot(1) + questions(2, 8)
    start = made.module.generation_config.decoder_start_token_id if made.architecture == "seq2seq" else None
    kept = max_logit_positions(made.module.config.vocab_size)
    (plan,) = explain(requests, [], start, made.budget, kept)
    assert made.abilities.share
    spent = made.usage.batches
    scores(made, requests)
    assert (plan.requested, plan.computed) == (made.usage.requested_tokens, made.usage.prefill_tokens)
    assert plan.padding is not None
    assert made.usage.padding_tokens <= plan.padding
    assert plan.distinct <= plan.computed <= plan.requested
    assert plan.requests == len(requests)
    assert plan.forwards is not None
    assert made.usage.batches - spent <= plan.forwards


def test_a_header_is_counted_once() -> None:
    header = tuple(range(100))
    requests = [ScoreChoices(f"q{number}", (*header, 200 + number), ((1,), (2,))) for number in range(40)]
    (plan,) = explain(requests, [], None, Budget(64, 64, packed_row=32), 1000)
    assert plan.requested == 40 * 101
    assert plan.distinct == 100 + 40
    assert plan.computed == plan.distinct
    assert plan.prefixes == (1, 100)


def test_prompts_to_continue_are_counted_apart() -> None:
    texts = [Generate(f"g{number}", (1, 2, 3, number), 7) for number in range(4, 8)]
    causal, seq2seq = (next(iter(explain([], texts, start, Budget(64, 64), 1000))) for start in (None, 0))
    assert (causal.work, causal.requested, causal.distinct, causal.decoded) == ("generate", 16, 7, 28)
    assert (seq2seq.requested, seq2seq.distinct, seq2seq.decoded) == (16, 16, 28)


def test_nothing_asked_is_nothing_planned() -> None:
    assert list(explain([], [], None, Budget(64, 64), 1000)) == []
