"""The vLLM engine against its recorded interface: the same responses as the transformers engine, on a tiny Llama."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.contract import ChoiceScores, Generate, Generation, Response, ScoreChoices, ScoreRequest, ScoreText, TextScore
from harness.engine import base
from harness.engine.endings import Endings
from harness.engine.vllm import VllmEngine
from harness.engine.vllm.adapters import check_adapter
from harness.engine.vllm.arguments import VllmArguments
from harness.engine.vllm.server import open_server
from harness.errors import AdapterError, InputError, ModelError, NumericError
from harness.models import cards, loading
from harness.models.adapters import Adapter, read_config
from harness.models.opening import ModelOptions
from tests.engine import recorded_vllm
from tests.engine.architectures import engine, load, questions, words
from tests.tiny import tiny_causal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("llama"))


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs of vLLM go with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def random_lora(folder: Path, base: Path, **options: Any) -> Adapter:
    """Save a LoRA adapter with random weights in both factors."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    chosen: dict[str, Any] = {"r": 12, "target_modules": ["q_proj"], "init_lora_weights": False} | options
    config = LoraConfig(task_type="CAUSAL_LM", **chosen)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return Adapter(folder.name, folder, "", "")


def served(folder: Path, adapter: Adapter | None = None, arguments: VllmArguments | None = None) -> VllmEngine:
    source = cards.resolve(str(folder))
    tokenizer = loading.load_tokenizer(source)
    server = open_server(folder, "float32", [adapter] if adapter else [], arguments or VllmArguments())
    endings = Endings(tokenizer, loading.end_tokens(source, tokenizer))
    return VllmEngine(server, endings, adapter.folder if adapter else None, int(adapter is not None))


def scored(engine: Any, requests: list[ScoreRequest], done: Any = ()) -> dict[str, ChoiceScores | TextScore]:
    found: dict[str, Response] = {one.id: one for batch in engine.score(requests, done) for one in batch}
    assert not any(isinstance(one, Generation) for one in found.values())
    return found  # type: ignore[return-value]  # the line above


def assert_equal(found: dict[str, ChoiceScores | TextScore], expected: dict[str, ChoiceScores | TextScore]) -> None:
    assert found.keys() == expected.keys()
    for key, one in found.items():
        assert type(one) is type(expected[key])
        assert one.logprobs == pytest.approx(expected[key].logprobs, abs=1e-5), key
        assert one.greedy == expected[key].greedy, key


TEXT = ScoreText("text", (((1,), (5, 6, 7)), ((7, 8), (9,))))


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
@pytest.mark.parametrize("rows", ["unwritten", "missing"])
def test_scores_equal_those_of_the_other_engine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, old: bool, rows: Literal["unwritten", "missing"]
) -> None:
    llm = recorded_vllm.install(monkeypatch, old=old)
    monkeypatch.setattr(llm, "rows", rows)
    requests: list[ScoreRequest] = [*questions(3, 12), TEXT]
    there = served(folder)
    found = scored(there, requests, done={"q1"})
    assert_equal(found, {key: one for key, one in scored(engine(load(folder)), requests).items() if key != "q1"})
    assert there.usage.requested_tokens > 0
    assert there.usage.prefill_tokens > 0
    (note,) = there.notes
    assert ("prompt_logprobs): a newer vLLM" if old else "logprob_token_ids") in note


def test_choices_of_one_token_are_one_prompt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = recorded_vllm.install(monkeypatch)
    request = ScoreChoices("q", (1, 5, 6, 7), ((8,), (9,), (10,)))
    there = served(folder)
    found = scored(there, [request])
    ((prompt, params),) = llm.asked
    assert prompt == request.context
    assert params.logprob_token_ids == [8, 9, 10]
    assert params.prompt_logprobs is None
    assert there.usage.prefill_tokens == 4
    assert_equal(found, scored(engine(load(folder)), [request]))


def test_greedy_is_the_likeliest_token_whatever_the_ranks_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    everything = tuple((token,) for token in range(load(folder).module.config.vocab_size))
    (found,) = scored(served(folder), [ScoreChoices("q", (1, 5, 6), everything)]).values()
    (expected,) = scored(engine(load(folder)), [ScoreChoices("q", (1, 5, 6), everything)]).values()
    assert found.greedy == expected.greedy
    assert sum(found.greedy) == 1


def test_more_tokens_than_one_prompt_takes_are_several(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = recorded_vllm.install(monkeypatch)
    scored(served(folder), [ScoreChoices("q", (1, 5, 6), tuple((token,) for token in range(300)))])
    assert [len(params.logprob_token_ids or []) for _, params in llm.asked] == [128, 128, 44]


def test_what_the_prefix_cache_left_out_is_asked_again_without_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = recorded_vllm.install(monkeypatch)
    rng = random.Random(3)
    context, shared = (1, *words(rng, 15)), words(rng, 32)
    request = ScoreChoices("q", context, ((*shared, 7, 8), (*shared, 7, 9), (*shared, 9, 8)))
    there = served(folder)
    found = scored(there, [request])
    skipped = [params.skip_reading_prefix_cache for _, params in llm.asked]
    assert skipped == [False, False, True]  # two prompts, of which the second begins like the first and further than the context
    assert_equal(found, scored(engine(load(folder)), [request]))


def test_a_vllm_that_leaves_rows_out_anyway_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    monkeypatch.setattr(recorded_vllm, "_row", lambda row, token, likeliest: {0: recorded_vllm.Logprob(-1.0, 1)})
    with pytest.raises(ModelError, match="returns no log-probabilities of some prompts"):
        scored(served(folder), [ScoreChoices("q", (1, 5, 6), ((7, 8), (9, 8)))])


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


def test_an_adapter_is_loaded_with_room_for_its_rank_and_modules(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = recorded_vllm.install(monkeypatch)
    adapter = random_lora(tmp_path / "lora", folder)
    requests: list[ScoreRequest] = [*questions(3, 2)]
    assert scored(served(folder, adapter), requests) != scored(served(folder), requests)
    lora = [{key: value for key, value in one.items() if "lora" in key} for one in llm.opened]
    assert lora == [{"enable_lora": True, "max_loras": 1, "max_lora_rank": 16, "lora_target_modules": ["q_proj"]}, {}]


def test_modules_of_all_adapters_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = recorded_vllm.install(monkeypatch)
    adapters = [random_lora(tmp_path / "a", folder, r=1), random_lora(tmp_path / "b", folder, r=1, target_modules="all-linear")]
    open_server(folder, "float32", adapters, VllmArguments())
    (opened,) = llm.opened
    assert opened["lora_target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert opened["max_lora_rank"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": ["q_proj", "lm_head"]}, "does not support an adapter on lm_head"),
        ({"target_modules": ["embed_tokens"]}, "does not support an adapter on embed_tokens"),
        ({"modules_to_save": ["lm_head"]}, r"whole modules beside LoRA \(modules_to_save\)"),
        ({"use_dora": True}, "does not support DoRA"),
        ({"lora_bias": True}, "biases of LoRA's own"),
        ({"trainable_token_indices": [5]}, "trained embeddings of single tokens"),
    ],
    ids=["lm_head", "embeddings", "modules_to_save", "dora", "lora_bias", "tokens"],
)
def test_what_vllm_computes_in_part_is_refused(folder: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    adapter = random_lora(tmp_path / "lora", folder, **options)
    with pytest.raises(AdapterError, match=message):
        check_adapter(adapter, read_config(adapter.folder), pickles=False)
    with pytest.raises(AdapterError, match=message):
        base.load("vllm").prepare(ModelOptions(str(folder), (str(adapter.folder),), any_base=True), lambda note: None)


def test_trained_biases_and_unknown_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    adapter = random_lora(tmp_path / "lora", folder)
    config = json.loads((adapter.folder / "adapter_config.json").read_text())
    with pytest.raises(AdapterError, match="trained biases"):
        check_adapter(adapter, config | {"bias": "all"}, pickles=False)
    weights = adapter.folder / "adapter_model.safetensors"
    save_file({**load_file(weights), "base_model.model.model.layers.0.self_attn.q_proj.new": torch.zeros(1)}, weights)
    with pytest.raises(AdapterError, match=r"the weight base_model.model.model.layers.0.self_attn.q_proj.new"):
        check_adapter(adapter, config, pickles=False)


def test_ranks_that_the_installed_vllm_does_not_serve_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    large = random_lora(tmp_path / "large", folder, rank_pattern={"q_proj": 600})
    with pytest.raises(AdapterError, match="up to rank 512; large has rank 600"):
        open_server(folder, "float32", [large], VllmArguments())
    recorded_vllm.install(monkeypatch, old=True)
    with pytest.raises(AdapterError, match="installed vLLM ignores alpha_pattern, which the adapter own has"):
        open_server(folder, "float32", [random_lora(tmp_path / "own", folder, alpha_pattern={"q_proj": 4})], VllmArguments())


def test_an_adapter_that_vllm_ignores_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    adapter = random_lora(tmp_path / "lora", folder)
    backend = base.load("vllm")
    opening = backend.prepare(ModelOptions(str(folder), (None, str(adapter.folder)), any_base=True, devices=("cpu",)), lambda note: None)
    session = backend.open(opening)
    with session.engine(opening.adapters[1]):
        pass
    session.close()
    module = recorded_vllm.LLM._module
    monkeypatch.setattr(recorded_vllm.LLM, "_module", lambda self, lora: module(self, None))
    session = backend.open(opening)
    with pytest.raises(ModelError, match="does not apply the adapter lora: it changes nothing"), session.engine(opening.adapters[1]):
        pass
    session.close()


def test_beams_are_refused_before_anything_is_computed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    with pytest.raises(InputError, match="beam search"):
        served(folder).generate([Generate("g", (1, 5), 3, beams=2)])


def test_arguments_become_keywords_of_vllm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = recorded_vllm.install(monkeypatch)
    given = VllmArguments.parse("head_dtype=float32, max_num_seqs=8,kv_cache_gib=0.5,enforce_eager=no", "vllm")
    served(folder, arguments=given)
    (opened,) = llm.opened
    expected = {"hf_overrides": {"head_dtype": "float32"}, "max_num_seqs": 8, "kv_cache_memory_bytes": 1 << 29, "enforce_eager": False}
    assert opened == {
        **{"model": str(folder), "dtype": "float32", "enable_prefix_caching": True, "block_size": 32, "logprobs_mode": "raw_logprobs"},
        **expected,
    }
    assert given.text == "enforce_eager=false,head_dtype=float32,kv_cache_gib=0.5,max_num_seqs=8"
    assert given.changing == "enforce_eager=false,head_dtype=float32"


def test_defaults_depend_on_the_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = {"model": str(folder), "dtype": "float32", "enable_prefix_caching": True, "logprobs_mode": "raw_logprobs"}
    llm = recorded_vllm.install(monkeypatch)
    served(folder)
    assert llm.opened == [{**common, "enforce_eager": True, "block_size": 32, "kv_cache_memory_bytes": 4 << 30}]
    with pytest.raises(InputError, match="batch_invariant needs a GPU"):
        served(folder, arguments=VllmArguments(batch_invariant=True))
    llm = recorded_vllm.install(monkeypatch, cpu=False)
    served(folder, arguments=VllmArguments(batch_invariant=True))
    assert llm.opened == [common]


def test_a_longest_prompt_shortens_prompts(folder: Path) -> None:
    def longest(arguments: str) -> int | None:
        options = ModelOptions(str(folder), devices=("cpu",), engine_args=arguments)
        return base.load("vllm").prepare(options, lambda note: None).encoder.max_length

    assert longest("max_model_len=100") == 100
    assert longest("max_model_len=10000") == longest("") == 256


def test_arguments_that_change_numbers_are_another_system(folder: Path) -> None:
    backend = base.load("vllm")

    def system(arguments: str | None) -> Any:
        from harness.models.identity import system

        opening = backend.prepare(ModelOptions(str(folder), devices=("cpu",), engine_args=arguments), lambda note: None)
        return system(opening, backend.identify(opening), None, backend.name, backend.suffix)

    plain, memory, head = system(None), system("max_num_seqs=4,gpu_memory_utilization=0.5"), system("head_dtype=float32,enforce_eager=true")
    assert plain == memory
    assert head == replace(
        plain, name=f"{plain.name}@enforce_eager=true@head_dtype=float32", engine_args="enforce_eager=true,head_dtype=float32"
    )
    assert base.response_key(plain) == base.response_key(memory) != base.response_key(head)
    assert backend.environment(ModelOptions("m", engine_args="max_num_seqs=4"))["engine_args"] == "max_num_seqs=4"


def test_without_vllm_the_way_to_it_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match="needs the library vllm") as caught:
        open_server(folder, "float32", [], VllmArguments())
    assert "adapter-harness[vllm]" in str(caught.value.remedy)


def test_an_engine_that_dies_is_one_message(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = recorded_vllm.install(monkeypatch)
    there = served(folder)
    log = there.server.log
    assert log is not None
    log.write_text("(EngineCore pid=7) ERROR [core.py:1] torch.OutOfMemoryError: no memory\nRuntimeError: Engine core failed\n")
    monkeypatch.setattr(llm, "dies", True)
    for _ in range(2):  # asked again, it says the same
        with pytest.raises(ModelError, match=r"vLLM ended unexpectedly: its engine stopped. torch.OutOfMemoryError: no memory") as caught:
            list(there.score(questions(3, 1)))
    assert "it continues where it stopped" in caught.value.remedy
    assert str(log) in caught.value.remedy
    there.server.close()
    assert log.exists()
    log.unlink()


def test_a_process_that_is_killed_ends_a_call_that_would_wait_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    llm = recorded_vllm.install(monkeypatch)
    there = served(folder)
    core, worker = (subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(2))
    there.server.processes = {psutil.Process(core.pid): "VLLM::EngineCore", psutil.Process(worker.pid): "VLLM::Worker"}
    waits = threading.Event()

    def killed(*arguments: Any, **options: Any) -> None:
        core.kill()
        waits.wait()

    monkeypatch.setattr(llm, "generate", killed)
    monkeypatch.setattr("harness.engine.vllm.server._GRACE_SECONDS", 0.5)
    with pytest.raises(ModelError, match=rf"vLLM ended unexpectedly: VLLM::EngineCore \(process {core.pid}\) stopped"):
        list(there.score(questions(3, 1)))
    assert not psutil.pid_exists(worker.pid)  # what is left of it is ended too
    waits.set()


def test_a_log_is_forgotten_where_nothing_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    there = served(folder)
    there.server.close()
    assert there.server.log is not None
    assert not there.server.log.exists()


def test_what_is_no_number_names_the_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    monkeypatch.setattr(recorded_vllm, "Logprob", lambda value, rank: _NotANumber())
    with pytest.raises(NumericError, match="q0"):
        list(served(folder).score(questions(3, 1)))


class _NotANumber:
    logprob = float("nan")
