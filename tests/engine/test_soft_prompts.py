"""Soft prompts: everything is shared behind them, and equals full forwards of peft's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch

from harness.contract import Generate, ScoreChoices
from harness.engine.transformers.soft_prompts import soft_prompt, source_prompt
from harness.errors import ModelError
from harness.models.loading import Loaded
from tests.engine.architectures import SEQ2SEQ, engine, load, naive_choices, questions, save
from tests.engine.reference import beam_search, greedy
from tests.engine.test_scoring import scores
from tests.engine.test_sharing import few_shot, prompts, texts

CLOSE = 2e-5
METHODS = ("prompt", "ptuning", "prefix")
VIRTUAL = 5
Prompted = Callable[[str, str], Loaded]


def _config(method: str, task: str) -> Any:
    import peft

    if method == "ptuning":
        return peft.PromptEncoderConfig(task_type=task, num_virtual_tokens=VIRTUAL, encoder_hidden_size=16)
    kind = peft.PromptTuningConfig if method == "prompt" else peft.PrefixTuningConfig
    return kind(task_type=task, num_virtual_tokens=VIRTUAL)


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Prompted:
    """A tiny model with a soft prompt that was saved and loaded; shared, so a test must leave it as it was."""

    @cache
    def made(name: str, method: str) -> Loaded:
        import peft

        folder = save(name, tmp_path_factory.mktemp(name))
        torch.manual_seed(3)
        trained = peft.get_peft_model(load(folder).module, _config(method, "SEQ_2_SEQ_LM" if name in SEQ2SEQ else "CAUSAL_LM"))
        for parameter in trained.prompt_encoder.parameters():
            parameter.data.normal_(std=0.5)
        trained.save_pretrained(str(folder / "soft"))
        loaded = load(folder)
        module = peft.PeftModel.from_pretrained(loaded.module, str(folder / "soft")).eval()
        module.generation_config = loaded.module.generation_config
        return replace(loaded, module=module)

    return made


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("packed_row", [24, 512])
def test_packed_scores_equal_pefts_forward(prompted: Prompted, name: str, method: str, packed_row: int) -> None:
    loaded, requests = prompted(name, method), few_shot(1)
    shared, plain = engine(loaded, 128, packed_row=packed_row), engine(loaded, share=False)
    assert shared.abilities.share
    assert not shared.notes
    found, expected = scores(shared, requests), scores(plain, requests)
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE), key
    assert shared.usage.prefill_tokens < 0.5 * plain.usage.prefill_tokens


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_texts_equal_a_loop_of_full_forwards(prompted: Prompted, name: str, method: str, rows: int) -> None:
    loaded, requests = prompted(name, method), prompts(5, 14)
    continuous = engine(loaded, rows=rows)
    assert continuous.abilities.continuous_batching
    assert texts(continuous, requests) == greedy(loaded, requests)


@pytest.mark.parametrize("method", METHODS)
def test_slots_that_shrink_keep_the_virtual_tokens(prompted: Prompted, method: str) -> None:
    loaded = prompted("llama", method)
    requests = [Generate(f"long{n}", tuple(range(5, 70 + n)), 9) for n in range(3)]
    requests += [Generate(f"short{n:02}", tuple(range(9 + n, 14 + 2 * n)), 2 + n % 7) for n in range(24)]
    assert texts(engine(loaded, 128, rows=4), requests) == greedy(loaded, requests)


@pytest.mark.parametrize("name", ["mistral", "gemma2"])
def test_virtual_tokens_count_against_an_attention_window(prompted: Prompted, name: str) -> None:
    loaded = prompted(name, "prompt")
    requests = [ScoreChoices(f"{n}", (5, 6, 7), ((8 + n,), (9 + n, 8))) for n in range(4)]
    computed = engine(loaded, 64)
    found, expected = scores(computed, requests), scores(engine(loaded, share=False), requests)
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE), key
    assert any("window" in note for note in computed.notes) == computed.abilities.share, "five virtual tokens and four words exceed six"


def test_a_model_without_a_soft_prompt_has_none(prompted: Prompted) -> None:
    assert soft_prompt(prompted("llama", "prompt").module.get_base_model()) is None
    assert source_prompt(prompted("t5", "prompt").module.get_base_model()) is None


@pytest.mark.parametrize("method", METHODS)
def test_the_virtual_tokens_are_read_as_peft_reads_them(prompted: Prompted, method: str) -> None:
    found = soft_prompt(prompted("llama", method).module)
    assert found is not None
    assert found.length == VIRTUAL
    assert all(keys.shape == values.shape and keys.shape[0] == 1 for keys, values in found.content)


def test_what_cannot_be_read_is_left_to_pefts_forward(prompted: Prompted, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, requests = prompted("llama", "prefix"), few_shot(1)[:3]
    expected = scores(engine(loaded, share=False), requests)

    def refuse(*_: Any) -> None:
        raise AttributeError

    monkeypatch.setattr("harness.engine.transformers.soft_prompts.contents", refuse)
    computed = engine(loaded)
    assert not computed.abilities.share
    assert scores(computed, requests) == expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SEQ2SEQ)
def test_scores_of_an_encoder_decoder_equal_full_forwards(prompted: Prompted, name: str, method: str) -> None:
    loaded, requests = prompted(name, method), questions(4, 12)
    shared, plain = engine(loaded, 64), engine(loaded, share=False)
    assert shared.abilities.share
    assert not shared.notes
    found, unshared = scores(shared, requests), scores(plain, requests)
    for request in requests:
        expected = pytest.approx(naive_choices(loaded, request), abs=CLOSE)
        assert found[request.id] == expected, request.id
        assert unshared[request.id] == expected, request.id
    assert shared.usage.prefill_tokens < plain.usage.prefill_tokens


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SEQ2SEQ)
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_texts_of_an_encoder_decoder_equal_a_loop_of_full_forwards(prompted: Prompted, name: str, method: str, rows: int) -> None:
    loaded, requests = prompted(name, method), prompts(5, 14)
    continuous = engine(loaded, rows=rows)
    assert continuous.abilities.continuous_batching
    assert texts(continuous, requests) == greedy(loaded, requests)


@pytest.mark.parametrize("method", METHODS)
def test_slots_of_sources_that_shrink_keep_the_virtual_tokens(prompted: Prompted, method: str) -> None:
    loaded = prompted("t5", method)
    requests = [Generate(f"long{n}", tuple(range(5, 70 + n)), 9) for n in range(3)]
    requests += [Generate(f"short{n:02}", tuple(range(9 + n, 14 + 2 * n)), 2 + n % 7) for n in range(24)]
    assert texts(engine(loaded, 128, rows=4), requests) == greedy(loaded, requests)


def test_a_prefix_of_t5_is_what_its_file_says(prompted: Prompted) -> None:
    """Peft's own forward, and so the reference of the other tests, against the base with keys and values overwritten by hand.

    The decoder reads as many words more as there are virtual tokens, whose keys and values in each layer are replaced by those of the
    file; nothing is cached. Peft lays the file's rows out twice, and each layer takes the next four: keys and values of its own, and two
    for the attention to the source that are dropped. Training does the same.
    """
    loaded = prompted("t5", "prefix")
    base = loaded.module.get_base_model()
    config = base.config
    rows = loaded.module.prompt_encoder["default"].embedding.weight.view(VIRTUAL, 2 * config.num_layers, config.num_heads * config.d_kv)
    requests = questions(6, 6)
    by_hand: dict[str, list[float]] = {request.id: [] for request in requests}
    with ExitStack() as stack, torch.no_grad():
        for number, block in enumerate(base.decoder.block):
            attention, place = block.layer[0].SelfAttention, 4 * number % rows.shape[1]
            for linear, given in ((attention.k, rows[:, place]), (attention.v, rows[:, place + 1])):
                stack.callback(linear.register_forward_hook(partial(_overwrite, given)).remove)
        for request in requests:
            for choice in request.choices:
                decoder = torch.tensor([[*range(9, 9 + VIRTUAL), config.decoder_start_token_id, *choice[:-1]]])
                logits = base(input_ids=torch.tensor([request.context]), decoder_input_ids=decoder, use_cache=False).logits
                table = torch.log_softmax(logits[0, VIRTUAL:].double(), dim=-1)
                by_hand[request.id].append(sum(float(table[place, token]) for place, token in enumerate(choice)))
    found = scores(engine(loaded), requests)
    for request in requests:
        assert naive_choices(loaded, request) == pytest.approx(by_hand[request.id], abs=CLOSE), request.id
        assert found[request.id] == pytest.approx(by_hand[request.id], abs=CLOSE), request.id


def _overwrite(given: torch.Tensor, _: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
    return torch.cat([given.unsqueeze(0), output[:, VIRTUAL:]], dim=1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_beams_search_by_the_numbers_of_full_forwards_or_are_refused(prompted: Prompted, name: str, method: str) -> None:
    loaded = prompted(name, method)
    requests = [replace(request, max_new_tokens=6, beams=3) for request in prompts(7, 4)]
    computed = engine(loaded)
    try:
        found = texts(computed, requests)
    except ModelError:
        pytest.skip("refused with the releases installed; tests/engine/test_agreement.py holds what is said")
    assert found == {request.id: beam_search(loaded, request) for request in requests}
