"""Shared, packed and continuous work gives what plain work gives, on every architecture."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.contract import Generate, Generation, ScoreChoices, TokenIds
from harness.engine.transformers.decode_slots import CausalDecodeSlots, Rows, Seq2SeqDecodeSlots
from harness.engine.transformers.engine import TransformersEngine
from tests.engine.architectures import CAUSAL, SEQ2SEQ, engine, questions, words
from tests.engine.conftest import Tiny
from tests.engine.reference import beam_search, greedy
from tests.engine.test_scoring import scores

CLOSE = 1e-5
SHARING = ("llama", "qwen3", "gpt2", "mistral", "gemma2")


def few_shot(seed: int, subjects: int = 3, number: int = 6, header: int = 60, longest: int = 12) -> list[ScoreChoices]:
    """Questions behind long headers, with choices of one token and of several, some equal in their beginnings."""
    rng = random.Random(seed)
    made = []
    for subject in range(subjects):
        shots = words(rng, header)
        for index in range(number):
            question = shots + words(rng, rng.randint(1, longest))
            stem = words(rng, rng.randint(1, 6))
            choices = tuple(words(rng, 1) for _ in range(4)) if index % 2 else tuple(stem + words(rng, rng.randint(1, 5)) for _ in range(3))
            made.append(ScoreChoices(f"s{subject}/{index}", question, choices))
    return made


def short(requests: list[ScoreChoices], length: int) -> list[ScoreChoices]:
    return [ScoreChoices(one.id, one.context[:length], one.choices) for one in requests]


@pytest.mark.parametrize("packed_row", [24, 512])
@pytest.mark.parametrize("name", CAUSAL)
def test_packed_scores_equal_plain_ones(tiny: Tiny, name: str, packed_row: int) -> None:
    loaded, requests = tiny(name), few_shot(1) + questions(2, 8)
    shared, plain = engine(loaded, 128, packed_row=packed_row), engine(loaded, share=False)
    found, expected = scores(shared, requests), scores(plain, requests)
    assert found.keys() == expected.keys()
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE), key


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_a_header_is_computed_once(tiny: Tiny, name: str) -> None:
    shared, plain = engine(tiny(name), 64), engine(tiny(name), share=False)
    assert shared.abilities.share
    assert shared.abilities.continuous_batching
    requests = few_shot(1)
    scores(shared, requests)
    scores(plain, requests)
    assert shared.usage.prefill_tokens < 0.5 * plain.usage.prefill_tokens
    assert shared.usage.requested_tokens == plain.usage.requested_tokens == plain.usage.prefill_tokens


@pytest.mark.parametrize("name", ["mistral", "gemma2"])
def test_beyond_the_window_nothing_is_shared_and_that_is_said_once(tiny: Tiny, name: str) -> None:
    computed = engine(tiny(name), 64)
    assert computed.abilities.longest == 6
    scores(computed, few_shot(1))
    scores(computed, few_shot(2))
    assert len(computed.notes) == 1
    assert "window of 6 tokens" in computed.notes[0]
    assert computed.usage.prefill_tokens == computed.usage.requested_tokens
    within = engine(tiny(name), 64)
    scores(within, [ScoreChoices(f"{n}", (5, 6, 7), ((8 + n,), (9 + n, 8))) for n in range(4)])
    assert within.usage.prefill_tokens < within.usage.requested_tokens
    assert not within.notes


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), budget=st.sampled_from([16, 64, 300]), packed_row=st.sampled_from([8, 40, 200]))
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_any_set_of_requests(tiny: Tiny, name: str, seed: int, budget: int, packed_row: int) -> None:
    rng = random.Random(seed)
    requests = few_shot(seed, rng.randint(1, 3), rng.randint(1, 5), rng.randint(0, 50) + 1) + questions(seed, rng.randint(0, 6))
    found = scores(engine(tiny(name), budget, packed_row=packed_row), requests)
    expected = scores(engine(tiny(name), 4096, share=False), requests)
    assert found.keys() == expected.keys()
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE), key


def texts(computed: TransformersEngine, requests: list[Generate]) -> dict[str, Generation]:
    found = {}
    for batch in computed.generate(requests):
        for answer in batch:
            assert isinstance(answer, Generation)
            assert answer.id not in found
            found[answer.id] = answer
    return found


def prompts(seed: int, number: int, *, longest: int = 30, header: TokenIds = ()) -> list[Generate]:
    rng = random.Random(seed)
    return [Generate(f"g{n}", header + words(rng, rng.randint(1, longest)), rng.randint(1, 14)) for n in range(number)]


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize("name", CAUSAL + SEQ2SEQ)
def test_texts_decoded_in_slots_equal_a_loop_of_full_forwards(tiny: Tiny, name: str, rows: int) -> None:
    loaded, requests = tiny(name), prompts(5, 14)
    continuous = engine(loaded, rows=rows)
    found = texts(continuous, requests)
    assert found == greedy(loaded, requests)
    assert len(found) == len(requests)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_prompts_with_a_common_header_are_prefilled_behind_it(tiny: Tiny, name: str) -> None:
    loaded, requests = tiny(name), prompts(6, 12, header=words(random.Random(1), 50))
    continuous = engine(loaded, 4096, packed_row=64, rows=5)
    assert texts(continuous, requests) == greedy(loaded, requests)
    assert continuous.usage.prefill_tokens < 0.5 * continuous.usage.requested_tokens


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_slots_become_shorter_and_more_when_the_long_prompts_are_done(tiny: Tiny, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, rng = tiny(name), random.Random(7)
    long = [Generate(f"long{n}", words(rng, 60 + 3 * n), 4 + 3 * n) for n in range(3)]
    short = [Generate(f"short{n:02}", words(rng, 3 + n % 9), 2 + n % 7) for n in range(24)]
    kind = CausalDecodeSlots if loaded.architecture == "causal" else Seq2SeqDecodeSlots
    seen: list[tuple[int, int]] = []
    refit = kind.refit

    def watched(slots: Any, others: Sequence[Generate], rows: Rows) -> None:
        refit(slots, others, rows)
        assert slots.active <= slots.capacity
        seen.append((slots.capacity, slots.active))

    monkeypatch.setattr(kind, "refit", watched)
    continuous = engine(loaded, 160)
    assert texts(continuous, long + short) == greedy(loaded, long + short)
    assert seen[0][0] <= 2
    assert max(capacity for capacity, _ in seen) >= 6
    assert any(active for (capacity, active), (before, _) in zip(seen[1:], seen, strict=False) if capacity > before) or name == "bart"


def test_t5_lets_rows_enter_at_any_time_and_bart_does_not(tiny: Tiny) -> None:
    assert engine(tiny("t5")).abilities.anytime
    assert engine(tiny("bart")).abilities.continuous_batching
    assert not engine(tiny("bart")).abilities.anytime


def test_t5_makes_room_for_new_columns(tiny: Tiny) -> None:
    loaded = tiny("t5")
    requests = [Generate(f"g{n}", words(random.Random(n), 4 + n % 3), 1 + n % 4) for n in range(40)]
    assert texts(engine(loaded, rows=2), requests) == greedy(loaded, requests)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_beams_find_what_a_search_by_full_forwards_finds(tiny: Tiny, name: str) -> None:
    loaded = tiny(name)
    requests = [Generate(request.id, request.context, 8, beams=3) for request in prompts(7, 6)]
    assert texts(engine(loaded), requests) == {request.id: beam_search(loaded, request) for request in requests}
