"""Soft prompts of decoder-only models: everything is shared behind them, and equals peft's own forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from harness.contract import Generate, ScoreChoices
from harness.engine.soft_prompts import soft_prompt
from harness.models.loading import Loaded
from tests.engine.architectures import engine, load, save
from tests.engine.test_scoring import scores
from tests.engine.test_sharing import few_shot, prompts, texts

CLOSE = 2e-5
METHODS = ("prompt", "ptuning", "prefix")
VIRTUAL = 5
Prompted = Callable[[str, str], Loaded]


def _config(method: str) -> Any:
    import peft

    if method == "ptuning":
        return peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL, encoder_hidden_size=16)
    kind = peft.PromptTuningConfig if method == "prompt" else peft.PrefixTuningConfig
    return kind(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL)


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Prompted:
    """A tiny model with a soft prompt that was saved and loaded; shared, so a test must leave it as it was."""

    @cache
    def made(name: str, method: str) -> Loaded:
        import peft

        folder = save(name, tmp_path_factory.mktemp(name))
        torch.manual_seed(3)
        trained = peft.get_peft_model(load(folder).module, _config(method))
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
@pytest.mark.parametrize("strip", [24, 512])
def test_packed_scores_equal_pefts_forward(prompted: Prompted, name: str, method: str, strip: int) -> None:
    loaded, requests = prompted(name, method), few_shot(1)
    shared, plain = engine(loaded, 128, strip=strip), engine(loaded, share=False)
    assert shared.abilities.share
    assert not shared.notes
    found, expected = scores(shared, requests), scores(plain, requests)
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE), key
    assert shared.usage.prefill_tokens < 0.5 * plain.usage.prefill_tokens


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_texts_equal_those_of_generate(prompted: Prompted, name: str, method: str, rows: int) -> None:
    loaded, requests = prompted(name, method), prompts(5, 14)
    continuous = engine(loaded, rows=rows)
    assert continuous.abilities.slots
    assert texts(continuous, requests) == texts(engine(loaded, share=False), requests)


@pytest.mark.parametrize("method", METHODS)
def test_slots_that_shrink_keep_the_virtual_tokens(prompted: Prompted, method: str) -> None:
    loaded = prompted("llama", method)
    requests = [Generate(f"long{n}", tuple(range(5, 70 + n)), 9) for n in range(3)]
    requests += [Generate(f"short{n:02}", tuple(range(9 + n, 14 + 2 * n)), 2 + n % 7) for n in range(24)]
    assert texts(engine(loaded, 128, rows=4), requests) == texts(engine(loaded, share=False), requests)


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

    monkeypatch.setattr("harness.engine.soft_prompts.contents", refuse)
    computed = engine(loaded)
    assert not computed.abilities.share
    assert scores(computed, requests) == expected
