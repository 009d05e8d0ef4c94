"""Requests longer than the token budget: their context is computed once, as the plan says, and no score moves."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.contract import Generate, ScoreChoices, ScoreRequest, ScoreText
from harness.engine.base import BatchPlan
from harness.engine.transformers.budget import LARGEST_CHUNK, SMALLEST_CHUNK, Budget, chunk_size, max_logit_positions
from harness.engine.transformers.engine import TransformersEngine
from harness.engine.transformers.explain import explain
from harness.engine.transformers.memory import OutOfMemoryError
from harness.engine.transformers.planning import Planned, prompt_of, rows_of
from harness.engine.transformers.prefixes import pieces, plan_passes
from harness.errors import NumericError
from tests.engine.architectures import SIZES, SPECIAL, engine, load, naive_choices, save, words
from tests.engine.conftest import Tiny
from tests.engine.reference import greedy
from tests.engine.test_memory import small_device
from tests.engine.test_scoring import scores
from tests.engine.test_sharing import texts
from tests.tiny import tokenizer

CLOSE = 1e-5
LONGEST = 110
"""GPT-2 and BART have learned positions, 128 of them."""


def planned(requests: list[ScoreRequest]) -> list[Planned]:
    return [Planned(request, rows_of(request, None)) for request in requests]


def promise(made: TransformersEngine, requests: list[ScoreRequest]) -> BatchPlan:
    start = made.module.generation_config.decoder_start_token_id if made.architecture == "seq2seq" else None
    (plan,) = explain(requests, [], start, made.budget, max_logit_positions(made.module.config.vocab_size))
    return plan


def long_requests(seed: int) -> list[ScoreRequest]:
    """Questions behind shared passages and alone, with choices of one token and of several that begin alike, and texts."""
    rng = random.Random(seed)
    passages = [words(rng, rng.randint(1, 70)) for _ in range(rng.randint(1, 3))]
    made: list[ScoreRequest] = []
    for number in range(rng.randint(1, 8)):
        context = rng.choice([(), *passages]) + words(rng, rng.choice([1, 3, 30]))
        stem = words(rng, 3)
        match rng.randrange(4):
            case 0:
                made.append(ScoreChoices(f"r{number}", context, tuple(words(rng, 1) for _ in range(rng.randint(1, 5)))))
            case 1:
                windows = tuple((rng.choice(passages), words(rng, rng.randint(1, 25))) for _ in range(rng.randint(1, 4)))
                made.append(ScoreText(f"r{number}", windows))
            case _:
                choices = tuple(stem[: rng.randint(0, 3)] + words(rng, rng.randint(1, 12)) for _ in range(rng.randint(1, 12)))
                made.append(ScoreChoices(f"r{number}", context, choices))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32), budget=st.sampled_from([1, 8, 24, 50, 90]), packed_row=st.sampled_from([8, 24, 512]))
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_what_is_computed_is_what_the_plan_promises_and_no_score_moves(
    tiny: Tiny, name: str, seed: int, budget: int, packed_row: int
) -> None:
    loaded, requests = tiny(name), long_requests(seed)
    shared, plain = engine(loaded, budget, packed_row=packed_row), engine(loaded, share=False)
    plan = promise(shared, requests)
    found, expected = scores(shared, requests), scores(plain, requests)
    assert found.keys() == expected.keys()
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE, rel=1e-5), key
    assert (plan.requested, plan.computed) == (shared.usage.requested_tokens, shared.usage.prefill_tokens)
    assert plan.padding is not None
    assert shared.usage.padding_tokens <= plan.padding
    assert plan.distinct <= plan.computed


def question(length: int = LONGEST, choices: int = 6, tokens: int = 5, name: str = "q") -> ScoreChoices:
    rng = random.Random(f"{length} {choices} {tokens} {name}")
    return ScoreChoices(name, words(rng, length), tuple(words(rng, tokens) for _ in range(choices)))


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3"])
def test_the_context_is_computed_once_in_chunks_and_the_choices_behind_it_within_the_budget(tiny: Tiny, name: str) -> None:
    loaded, request = tiny(name), question(choices=20)
    shared = engine(loaded, 40)
    sizes: list[int] = []
    handle = loaded.module.register_forward_pre_hook(lambda _, __, given: sizes.append(given["input_ids"].numel()), with_kwargs=True)
    try:
        scores(shared, [request])
    finally:
        handle.remove()
    assert sizes[:3] == [40, 40, LONGEST - 1 - 80]
    assert max(sizes) <= 40
    again = len(sizes[3:]) - 1
    assert shared.usage.prefill_tokens == LONGEST + 20 * 4 + again, "each pass behind the context runs its last token once more"
    assert promise(shared, [request]).forwards == len(sizes)
    assert promise(shared, [request]).prefixes == (1, LONGEST - 1)


def test_a_passage_is_computed_once_for_all_its_questions(tiny: Tiny) -> None:
    rng = random.Random(3)
    passage = words(rng, 80)
    requests: list[ScoreRequest] = [
        ScoreChoices(f"q{number}", passage + words(rng, 6), tuple(words(rng, 3) for _ in range(4))) for number in range(3)
    ]
    shared = engine(tiny("llama"), 40, packed_row=40)
    scores(shared, requests)
    assert shared.usage.prefill_tokens == 80 + 3 * (6 + 4 * 2) == promise(shared, requests).distinct


def test_contexts_are_cached_for_one_question_at_a_time(tiny: Tiny) -> None:
    header = words(random.Random(9), 50)
    requests = [ScoreChoices(f"q{n}", header + question(50 + n, name=f"{n}").context, question().choices) for n in range(4)]
    shared, held = engine(tiny("llama"), 40), []
    for batch in shared.score(requests):
        assert len(batch) == 1
        held.append([len(piece) for piece in shared._causal.prefix.pieces])
        assert shared._causal.prefix.content[0][0].shape[2] == sum(held[-1])
    assert held == [[50, 52], [50, 51], [50, 50], [50, 49]], "the header stays; the longest question comes first"


def test_choices_that_fit_together_have_no_prefix_of_their_own() -> None:
    passes = plan_passes(planned([question(60, 4, 5)]), 60 + 4 * 4, 512, 1000)
    assert [batch.prefix for batch in passes] == [()]
    (batch,) = plan_passes(planned([question(60, 4, 5)]), 60 + 4 * 4 - 1, 512, 1000)
    assert batch.skip == 59
    (batch,) = plan_passes(planned([question(60, 4, 5)]), 1000, 512, 19)
    assert batch.skip == 59, "logits exceed their budget too"


def test_a_short_context_is_repeated_where_that_is_cheaper_than_a_pass() -> None:
    (batch,) = plan_passes(planned([question(10, 8, 10)]), 60, 60, 1000)
    assert batch.prefix == ()


def test_pieces_take_as_much_as_the_budgets_allow() -> None:
    (item,) = planned([question(10, 8, 4)])
    split = pieces(item.rows, lambda row: row, 9, 10, 1000)
    assert [len(part) for part in split] == [3, 3, 2]
    assert sorted(row.tokens for part in split for row in part) == sorted(row.tokens for row in item.rows)
    assert [len(part) for part in pieces(item.rows, lambda row: row, 9, 1000, 8)] == [2] * 4
    assert pieces(item.rows, lambda row: row, 9, 1000, 1000) == [list(item.rows)]


def test_prompts_have_no_prefix_of_their_own_but_one_that_they_share() -> None:
    rng = random.Random(4)
    header = words(rng, 60)
    prompts = [prompt_of(Generate(f"g{n}", header + words(rng, 50), 4)) for n in range(3)]
    passes = plan_passes(prompts, 40, 40, 1000, own_prefixes=False)
    assert {batch.prefix for batch in passes} == {(header,)}
    assert plan_passes(prompts[:1], 40, 40, 1000, own_prefixes=False)[0].prefix == ()


@pytest.mark.parametrize(("name", "header"), [("llama", 60), ("llama", 0), ("gpt2", 40), ("qwen3", 60)])
def test_prompts_to_continue_are_prefilled_in_chunks_behind_their_header(tiny: Tiny, name: str, header: int) -> None:
    loaded, rng = tiny(name), random.Random(5)
    shared = words(rng, header)
    requests = [Generate(f"g{n}", shared + words(rng, 42 + n), 6) for n in range(5)]
    continuous = engine(loaded, 40, rows=3)
    sizes: list[int] = []
    handle = loaded.module.register_forward_pre_hook(lambda _, __, given: sizes.append(given["input_ids"].numel()), with_kwargs=True)
    try:
        found = texts(continuous, requests)
    finally:
        handle.remove()
    assert found == greedy(loaded, requests)
    assert max(sizes) <= 40
    (plan,) = explain([], requests, None, continuous.budget, 1000)
    assert continuous.usage.prefill_tokens == plan.computed == header + sum(42 + n for n in range(5))


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_a_source_beyond_the_budget_is_encoded_once_for_all_its_choices(tiny: Tiny, name: str) -> None:
    loaded = tiny(name)
    requests: list[ScoreRequest] = [question(60, 30, 5), ScoreChoices("again", question(60, 30, 5).context, question(60, 3).choices)]
    computed = engine(loaded, 40)
    seen: list[tuple[int, ...]] = []
    rows: list[int] = []
    encoder = loaded.module.get_encoder()
    handles = [
        encoder.register_forward_pre_hook(lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True),
        loaded.module.register_forward_pre_hook(lambda _, __, given: rows.append(given["decoder_input_ids"].numel()), with_kwargs=True),
    ]
    try:
        found = scores(computed, requests)
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [(1, 60)]
    assert max(rows) <= 40
    assert computed.usage.prefill_tokens == promise(computed, requests).computed == 60 + 1 + 33 * 4
    expected = scores(engine(loaded), requests)
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE), key


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_texts_about_a_long_source_are_generated_from_one_encoding(tiny: Tiny, name: str) -> None:
    loaded, source = tiny(name), question(60).context
    requests = [Generate(f"g{n}", source, 4 + n) for n in range(3)]
    computed = engine(loaded, 40)
    assert texts(computed, requests) == greedy(loaded, requests)
    assert computed.usage.prefill_tokens == 60 + 1


def test_memory_that_runs_out_makes_chunks_smaller(tiny: Tiny) -> None:
    loaded, request = tiny("llama"), question(300, 3)
    expected, cramped = scores(engine(loaded), [request]), engine(loaded, 200)
    with small_device(loaded.module, 60) as tried:
        found = scores(cramped, [request])
        first = len(tried)
        scores(cramped, [question(300, 3, name="other")])
    assert tried[:4] == [200, 100, 50, 50]
    assert max(tried[first:]) <= 50, "a size that did not fit is not tried again"
    assert cramped.usage.out_of_memory == 2
    assert found["q"] == pytest.approx(expected["q"], abs=CLOSE)


def test_memory_that_runs_out_in_a_long_prompt_makes_chunks_smaller(tiny: Tiny) -> None:
    loaded = tiny("llama")
    requests = [Generate(f"g{n}", question(150 + n).context, 5) for n in range(3)]
    cramped = engine(loaded, 120)
    with small_device(loaded.module, 64):
        found = texts(cramped, requests)
    assert found == greedy(loaded, requests)
    assert cramped.usage.out_of_memory == 1


def test_a_context_that_fits_in_no_chunk_is_an_error_that_names_its_length(tiny: Tiny) -> None:
    loaded = tiny("llama")
    cramped = engine(loaded, 200)
    with small_device(loaded.module, SMALLEST_CHUNK - 1), pytest.raises(OutOfMemoryError, match=r"single sequence of 304 tokens"):
        list(cramped.score([question(300, 3)]))


@pytest.mark.parametrize(("tokens", "size"), [(1, SMALLEST_CHUNK), (40, 40), (1024, 1024), (16384, LARGEST_CHUNK)])
def test_chunks_stay_within_the_budget(tokens: int, size: int) -> None:
    assert chunk_size(Budget(tokens, tokens).score) == size


def test_a_number_that_is_none_behind_a_long_context_names_the_request(tmp_path: Path) -> None:
    loaded, broken = load(save("llama", tmp_path)), 42
    context = (*question(100).context[:-1], broken)
    with torch.no_grad():
        loaded.module.get_input_embeddings().weight[broken] = float("nan")
    with pytest.raises(NumericError, match="mmlu/item-17"):
        scores(engine(loaded, 40), [ScoreChoices("mmlu/item-17", context, question(choices=8).choices)])


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 4.0},
        {
            "rope_type": "longrope",
            "original_max_position_embeddings": 64,
            "short_factor": [1.0] * 4,
            "long_factor": [1.5, 3.0, 6.0, 9.0],
            "factor": 4.0,
        },
    ],
    ids=["dynamic", "longrope"],
)
def test_positions_that_are_scaled_by_length_are_computed_whole(tmp_path: Path, rope: dict[str, Any]) -> None:
    import transformers as hf

    torch.manual_seed(0)
    words_of = tokenizer()
    limit = {} if "original_max_position_embeddings" in rope else {"max_position_embeddings": 64}
    config = hf.LlamaConfig(
        vocab_size=len(words_of),
        **{"max_position_embeddings": 256, **limit},
        rope_parameters={"rope_theta": 10000.0, **rope},
        **SIZES,
        **SPECIAL,
    )
    hf.LlamaForCausalLM(config).save_pretrained(tmp_path)
    words_of.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    long, short = question(100), question(40)
    shared = engine(loaded, 50)
    assert shared.abilities.share
    assert shared.abilities.longest == 64
    found = scores(shared, [long])
    assert found["q"] == pytest.approx(scores(engine(loaded, share=False), [long])["q"], abs=CLOSE)
    assert "original context of 64 tokens" in shared.notes[0]
    within = engine(loaded, 30)
    assert scores(within, [short])["q"] == pytest.approx(naive_choices(loaded, short), abs=CLOSE)
    assert within.usage.prefill_tokens < within.usage.requested_tokens


@pytest.mark.parametrize("kind", ["prompt", "prefix", "lora"])
def test_adapters_score_long_questions_as_the_plan_says(tmp_path: Path, kind: str) -> None:
    import peft

    task, virtual = peft.TaskType.CAUSAL_LM, {"num_virtual_tokens": 5}
    configs: dict[str, Any] = {
        "prompt": peft.PromptTuningConfig(task_type=task, **virtual),
        "prefix": peft.PrefixTuningConfig(task_type=task, **virtual),
        "lora": peft.LoraConfig(task_type=task, r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    }
    loaded = load(save("llama", tmp_path))
    torch.manual_seed(0)
    adapted = replace(loaded, module=peft.get_peft_model(loaded.module, configs[kind]).eval())
    requests = [*long_requests(1), question()]
    shared = engine(adapted, 40)
    assert shared.abilities.share
    plan, found = promise(shared, requests), scores(shared, requests)
    assert plan.computed == shared.usage.prefill_tokens
    for key, logprobs in scores(engine(adapted, share=False), requests).items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE, rel=1e-5), key


def test_what_is_done_is_not_computed_and_moves_nothing(tiny: Tiny) -> None:
    loaded, requests = tiny("llama"), [*long_requests(11), question(), question(90, 9, name="p")]
    whole = scores(engine(loaded, 40, packed_row=24), requests)
    batches = [{response.id for response in batch} for batch in engine(loaded, 40, packed_row=24).score(requests)]
    done = {name for batch in batches[::2] for name in batch}
    rest = scores(engine(loaded, 40, packed_row=24), requests, done)
    assert rest == {key: value for key, value in whole.items() if key not in done}
    assert rest
