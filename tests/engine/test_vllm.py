"""The vLLM engine against its recorded interface: the same responses as the transformers engine, on a tiny Llama."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.contract import Generate, Generation, ScoreRequest, ScoreText
from harness.engine.endings import Endings
from harness.engine.vllm import VllmEngine, open_server
from harness.errors import InputError, ModelError, NumericError
from harness.models import cards, loading
from tests.engine import recorded_vllm
from tests.engine.architectures import engine, load, questions, words
from tests.tiny import tiny_causal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("llama"))


def random_lora(folder: Path, base: Path, rank: int) -> Path:
    """Save a LoRA adapter with random weights in both factors."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(task_type="CAUSAL_LM", r=rank, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


def served(folder: Path, **options: Any) -> VllmEngine:
    source = cards.resolve(str(folder))
    tokenizer = loading.load_tokenizer(source)
    adapters = [options["adapter"]] if options.get("adapter") else []
    return VllmEngine(open_server(folder, "float32", adapters), Endings(tokenizer, loading.end_tokens(source, tokenizer)), **options)


def test_scores_equal_those_of_the_other_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    text = ScoreText("text", (((1,), (5, 6, 7)), ((7, 8), (9,))))
    requests: list[ScoreRequest] = [*questions(3, 12), text]
    there, here = served(folder), engine(load(folder))
    found = {one.id: one for batch in there.score(requests, done={"q1"}) for one in batch}
    expected = {one.id: one for batch in here.score(requests) for one in batch}
    assert found.keys() == expected.keys() - {"q1"}
    for key, one in found.items():
        other = expected[key]
        assert not isinstance(one, Generation)
        assert not isinstance(other, Generation)
        assert type(one) is type(other)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5), key
        assert one.greedy == other.greedy, key
    assert there.usage.prefill_tokens == there.usage.requested_tokens > 0


def test_texts_equal_those_of_the_other_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    rng = random.Random(5)
    plain = [Generate(f"g{number}", (1, *words(rng, 6)), 9) for number in range(6)]
    here = engine(load(folder))
    free = {one.id: one for batch in here.generate(plain) for one in batch if isinstance(one, Generation)}
    stopped = [Generate(f"stopped/{one.id}", one.context, 9, (free[one.id].text[2:4],)) for one in plain if len(free[one.id].text) > 5]
    requests = [*plain, *stopped]
    found = {one.id: one for batch in served(folder).generate(requests) for one in batch}
    assert found == {one.id: one for batch in here.generate(requests) for one in batch}
    assert any(isinstance(one, Generation) and one.finish == "stop" for one in found.values())


def test_an_adapter_is_asked_by_its_folder_and_number(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = recorded_vllm.install(monkeypatch)
    adapter = random_lora(tmp_path / "lora", folder, rank=12)
    requests = questions(3, 2)
    adapted = [one for batch in served(folder, adapter=adapter, number=1).score(requests) for one in batch]
    plain = [one for batch in served(folder).score(requests) for one in batch]
    assert adapted != plain
    assert [(one["enable_lora"], one["max_lora_rank"]) for one in llm.opened] == [(True, 16), (False, 16)]


def test_beams_and_other_adapters_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    with pytest.raises(InputError, match="beam search"):
        list(served(folder).generate([Generate("g", (1, 5), 3, beams=2)]))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    with pytest.raises(InputError, match="vLLM serves LoRA adapters"):
        open_server(folder, "float32", [tmp_path])
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8, "rank_pattern": {"q_proj": 600}}')
    with pytest.raises(InputError, match="up to rank 512, not 600"):
        open_server(folder, "float32", [tmp_path])


def test_without_vllm_the_way_to_it_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match="needs the library vllm") as caught:
        open_server(folder, "float32")
    assert "adapter-harness[vllm]" in str(caught.value.remedy)


def test_what_is_no_number_names_the_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    monkeypatch.setattr(recorded_vllm, "_logprob", lambda row, token: recorded_vllm.Logprob(float("nan"), 1))
    with pytest.raises(NumericError, match="q0"):
        list(served(folder).score(questions(3, 1)))
