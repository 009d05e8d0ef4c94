"""Attention in blocks gives what attention under a mask gives, and tokens of different questions share none."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.contract import ScoreChoices, ScoreRequest
from harness.engine.transformers.blocks import grouped
from harness.engine.transformers.engine import TransformersEngine
from harness.engine.transformers.packing import lay_out
from tests.engine.architectures import CAUSAL, engine, questions, words
from tests.engine.conftest import Tiny
from tests.engine.test_scoring import scores
from tests.engine.test_sharing import CLOSE, few_shot

IN_BLOCKS = {"llama", "gpt2", "qwen3", "mistral"}


def masked(made: TransformersEngine) -> TransformersEngine:
    """The same engine with masks."""
    made._causal = replace(made._causal, blocks=False)
    return made


@pytest.mark.parametrize("name", CAUSAL)
def test_models_that_cap_their_attention_keep_their_masks(tiny: Tiny, name: str) -> None:
    abilities = engine(tiny(name)).abilities
    assert abilities.share
    assert abilities.blocks == (name in IN_BLOCKS)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32), packed_row=st.sampled_from([24, 80, 512]))
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3"])
def test_blocks_give_what_masks_give(tiny: Tiny, name: str, seed: int, packed_row: int) -> None:
    loaded = tiny(name)
    requests: list[ScoreRequest] = [*few_shot(seed, subjects=2, number=4, header=40), *questions(seed + 1, 6)]
    blocks, masks = engine(loaded, 128, packed_row=packed_row), masked(engine(loaded, 128, packed_row=packed_row))
    found, expected = scores(blocks, requests), scores(masks, requests)
    assert found.keys() == expected.keys()
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE), key
    assert blocks.usage.prefill_tokens == masks.usage.prefill_tokens
    assert blocks.usage.padding_tokens == 0


def test_choices_stay_with_their_question_and_questions_apart() -> None:
    rng = random.Random(0)
    sequences = []
    for _ in range(3):
        question = words(rng, 90)
        sequences += [question + words(rng, 4) for _ in range(4)]
    packed = lay_out(sequences, 0)
    groups = grouped(packed.spans)
    assert [(group[0][0], group[-1][1]) for group in groups] == [(0, 106), (106, 212), (212, 318)]


def test_questions_of_a_few_tokens_share_a_block() -> None:
    rng = random.Random(0)
    packed = lay_out([words(rng, 6) for _ in range(4)], 0)
    assert len(grouped(packed.spans)) == 1


def test_questions_that_begin_alike_see_their_beginning_from_blocks_of_their_own() -> None:
    rng = random.Random(0)
    beginning = words(rng, 3)
    packed = lay_out([beginning + words(rng, 100) for _ in range(5)], 0)
    groups = grouped(packed.spans)
    assert [len(group) for group in groups] == [1] * 5
    assert [len(group[0][2]) for group in groups] == [0, 3, 3, 3, 3]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_blocks_cover_a_row_in_order(seed: int) -> None:
    rng = random.Random(seed)
    stems = [words(rng, rng.randint(1, 120)) for _ in range(3)]
    sequences = [rng.choice(stems)[: rng.randint(0, 120)] + words(rng, rng.randint(1, 60)) for _ in range(rng.randint(1, 12))]
    packed = lay_out(sequences, 0)
    spans = [span for group in grouped(packed.spans) for span in group]
    assert [span[:2] for span in spans] == [span[:2] for span in packed.spans]
    assert all(grouped(packed.spans))


def test_choices_behind_a_context_of_their_own(tiny: Tiny) -> None:
    rng = random.Random(1)
    request = ScoreChoices("q", words(rng, 60), tuple(words(rng, 5) for _ in range(6)))
    made = engine(tiny("llama"), 40)
    expected = scores(engine(tiny("llama"), share=False), [request])
    assert scores(made, [request])["q"] == pytest.approx(expected["q"], abs=CLOSE)
