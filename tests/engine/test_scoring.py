"""Scores against one full forward a choice: the same numbers whatever is shared, padded or batched."""

from __future__ import annotations

import random
from collections.abc import Container, Sequence

import pytest
import torch

from harness.contract import ChoiceScores, ScoreChoices, ScoreRequest, ScoreText, TextScore
from harness.engine.transformers.engine import TransformersEngine
from harness.errors import NumericError
from tests.engine.architectures import (
    CAUSAL,
    SEQ2SEQ,
    engine,
    greedy_tokens,
    load,
    naive_choices,
    naive_logprob,
    naive_text,
    questions,
    save,
    words,
)
from tests.engine.conftest import Tiny

CLOSE = 1e-5


def scores(computed: TransformersEngine, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for batch in computed.score(requests, done):
        for response in batch:
            assert response.id not in found
            assert isinstance(response, (ChoiceScores, TextScore))
            found[response.id] = response.logprobs
    return found


@pytest.mark.parametrize("budget", [1, 64, 4096])
@pytest.mark.parametrize("name", CAUSAL + SEQ2SEQ)
def test_choices_equal_a_full_forward_each(tiny: Tiny, name: str, budget: int) -> None:
    loaded, requests = tiny(name), questions(1, 16)
    found = scores(engine(loaded, budget), requests)
    assert set(found) == {request.id for request in requests}
    for request in requests:
        assert found[request.id] == pytest.approx(naive_choices(loaded, request), abs=CLOSE), request.id


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_greedy_says_what_greedy_decoding_would_give(tiny: Tiny, name: str) -> None:
    loaded, rng = tiny(name), random.Random(9)
    requests = []
    for number in range(5):
        context = words(rng, 4 + number)
        likely = greedy_tokens(loaded, context, 4)
        requests.append(
            ScoreChoices(f"q{number}", context, (likely, likely[:1], (*likely[:3], likely[3] ^ 1), (likely[0] ^ 1, *likely[1:])))
        )
    for batch in engine(loaded, 64).score(requests):
        for response in batch:
            assert isinstance(response, ChoiceScores)
            assert response.greedy == (True, True, False, False)


def test_the_soft_cap_of_gemma_is_part_of_the_score(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, requests = tiny("gemma2"), questions(1, 4)
    capped = scores(engine(loaded), requests)
    monkeypatch.setattr(loaded.module.config, "final_logit_softcapping", None)
    uncapped = scores(engine(loaded), requests)
    assert max(abs(a - b) for key in capped for a, b in zip(capped[key], uncapped[key], strict=True)) > 0.1


@pytest.mark.parametrize("budget", [1, 64, 4096])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_windows_of_a_text_equal_a_full_forward_each(tiny: Tiny, name: str, budget: int) -> None:
    rng, loaded = random.Random(2), tiny(name)
    texts = [
        ScoreText(f"t{number}", tuple((words(rng, rng.randint(1, 5)), words(rng, rng.randint(1, 40))) for _ in range(rng.randint(1, 4))))
        for number in range(6)
    ]
    found = scores(engine(loaded, budget), texts)
    for text in texts:
        assert found[text.id] == pytest.approx(naive_text(loaded, text), rel=1e-6, abs=CLOSE)


@pytest.mark.parametrize(("name", "rows"), [("llama", 40), ("t5", 40)])
def test_a_request_larger_than_the_budget_is_computed_in_pieces(tiny: Tiny, name: str, rows: int) -> None:
    rng, loaded = random.Random(6), tiny(name)
    text = ScoreText("long", tuple((words(rng, 2), words(rng, 10)) for _ in range(rows)))
    sizes: list[int] = []
    handle = loaded.module.register_forward_pre_hook(
        lambda _, __, given: sizes.append(given["decoder_input_ids" if name == "t5" else "input_ids"].numel()), with_kwargs=True
    )
    try:
        found = scores(engine(loaded, 64), [text])
    finally:
        handle.remove()
    assert max(sizes) <= 64
    assert found["long"] == pytest.approx(naive_text(loaded, text), abs=CLOSE)


def test_t5_reads_sources_beyond_512_tokens(tiny: Tiny) -> None:
    rng, loaded = random.Random(3), tiny("t5")
    long = ScoreChoices("long", words(rng, 700), (words(rng, 3), words(rng, 1)))
    short = ScoreChoices("short", long.context[:512], long.choices)
    found = scores(engine(loaded), [long, short])
    for request in (long, short):
        assert found[request.id] == pytest.approx(naive_choices(loaded, request), abs=CLOSE)
    assert found["long"] != pytest.approx(found["short"], abs=1e-3)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_what_is_done_is_not_computed_and_moves_nothing(tiny: Tiny, name: str) -> None:
    loaded, requests = tiny(name), questions(4, 12)
    batches = [{response.id for response in batch} for batch in engine(loaded, 128).score(requests)]
    assert len(batches) > 2
    unperturbed = scores(engine(loaded, 128), requests)
    done = batches[0] | batches[2]
    assert scores(engine(loaded, 128), requests, done) == {key: value for key, value in unperturbed.items() if key not in done}


def test_tokens_and_padding_are_counted(tiny: Tiny) -> None:
    causal = engine(tiny("llama"))
    scores(causal, [ScoreChoices("a", (5, 6, 7), ((8,), (9,), (8, 9, 10))), ScoreChoices("b", (5,), ((6,),))])
    assert (causal.usage.requested_tokens, causal.usage.prefill_tokens, causal.usage.padding_tokens) == (5 + 1, 5, 0)
    apart = engine(tiny("llama"), share=False)
    scores(apart, [ScoreChoices("a", (5, 6, 7), ((8,), (9,), (8, 9, 10))), ScoreChoices("b", (5,), ((6,),))])
    assert (apart.usage.prefill_tokens, apart.usage.padding_tokens, apart.usage.batches) == (5 + 1, 4, 1)
    seq2seq = engine(tiny("t5"))
    scores(seq2seq, [ScoreChoices("a", (5, 6, 7), ((8, 9), (9, 9))), ScoreChoices("b", (5,), ((6,),))])
    assert seq2seq.usage.requested_tokens == (3 + 2) + (3 + 2) + (1 + 1)
    assert seq2seq.usage.prefill_tokens == (3 + 1) + (1 + 1) + (1 + 1)
    assert seq2seq.usage.padding_tokens == 2
    assert seq2seq.usage.decode_tokens == 0


def test_a_source_is_encoded_once_for_all_its_choices(tiny: Tiny) -> None:
    loaded = tiny("t5")
    computed = engine(loaded)
    seen: list[tuple[int, ...]] = []
    encoder = loaded.module.get_encoder()
    handle = encoder.register_forward_pre_hook(lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    try:
        scores(computed, [ScoreChoices(key, (5, 6, 7), ((8, 9), (9, 9), (10, 9))) for key in "ab"])
    finally:
        handle.remove()
    assert seen == [(1, 3)]


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_number_that_is_none_names_the_request(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    loaded = load(save(name, tmp_path_factory.mktemp(name)))
    broken = 42
    with torch.no_grad():
        loaded.module.get_input_embeddings().weight[broken] = float("nan")
    good, bad = ScoreChoices("fine", (5, 6), ((7,),)), ScoreChoices("mmlu/item-17", (5, broken), ((7,),))
    assert scores(engine(loaded, 1), [good])
    with pytest.raises(NumericError, match="mmlu/item-17"):
        scores(engine(loaded, 64), [good, bad])


def test_half_precision_is_summed_in_float32(tmp_path_factory: pytest.TempPathFactory) -> None:
    loaded = load(save("llama", tmp_path_factory.mktemp("half")), dtype="bfloat16")
    request = questions(5, 1)[0]
    found = scores(engine(loaded), [request])[request.id]
    for value, choice in zip(found, request.choices, strict=True):
        reference = naive_logprob(loaded.module, "causal", request.context, choice)
        assert value == pytest.approx(reference, abs=0.05)
        assert value != float(torch.tensor(value, dtype=torch.bfloat16))
