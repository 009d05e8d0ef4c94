"""What is loaded is what the checkpoint holds, or there is a message."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.contract import ChoiceScores, Generate, Usage
from harness.engine.transformers import TransformersEngine
from harness.errors import ModelError
from harness.models import cards, loading
from harness.models.loading import (
    check_head,
    check_weights,
    generation_config,
    load_config,
    load_tokenizer,
    max_length,
    pick_device,
    pick_dtype,
)
from tests.engine.architectures import engine, load, questions, save
from tests.tiny import tiny_causal


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "copy"))


def drop(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def test_what_is_loaded(llama: Path, t5: Path) -> None:
    causal, seq2seq = load(llama), load(t5)
    assert (causal.architecture, causal.dtype, causal.quantization, causal.max_length) == ("causal", "float32", None, 256)
    assert (seq2seq.architecture, seq2seq.max_length) == ("seq2seq", None)
    assert not causal.module.training
    assert causal.parameters == sum(value.numel() for value in load_file(llama / "model.safetensors").values())
    assert next(load(llama, dtype="bfloat16").module.parameters()).dtype == torch.bfloat16


def test_a_missing_weight_is_named(llama: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(llama)
    drop(folder, "model.layers.1.mlp.up_proj.weight")
    with pytest.raises(ModelError, match=r"lacks 1 weights.*layers\.1\.mlp\.up_proj"):
        load(folder)


def test_a_missing_head_is_not_random(llama: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(llama)
    drop(folder, "lm_head.weight")
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        load(folder)


def test_weights_of_another_shape(llama: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(llama)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with pytest.raises(ModelError, match=r"has the shape \[.*\], and config\.json asks for \[") as caught:
        load(folder)
    assert "\n" not in caught.value.what


def test_pickles_need_permission(llama: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(llama)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="only pickled weights"):
        load(folder)
    allowed = next(engine(load(folder, pickles=True)).score(questions(1, 3)))
    assert allowed == next(engine(load(llama)).score(questions(1, 3)))


def test_a_folder_without_weights(llama: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(llama)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        load(folder)


@pytest.mark.parametrize(("name", "reader"), [("config.json", load_config), ("tokenizer.json", load_tokenizer)])
def test_an_unreadable_file_is_one_message(llama: Path, copy: Callable[[Path], Path], name: str, reader: Callable[..., Any]) -> None:
    folder = copy(llama)
    (folder / name).write_text("{ not json")
    with pytest.raises(ModelError, match=f"{name} is damaged"):
        reader(cards.resolve(str(folder)))


def test_a_configuration_that_makes_no_sense_is_one_line(llama: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(llama)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": "wide"}))
    with pytest.raises(ModelError, match="hidden_size") as caught:
        load_config(cards.resolve(str(folder)))
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("content", ["", '{"eos_token', "[1]", '{"eos_token_id": "end"}', '{"eos_token_id": [2, "end"]}'])
def test_settings_of_generation_that_cannot_be_read_are_not_passed_over(llama: Path, copy: Callable[[Path], Path], content: str) -> None:
    """transformers would go on without them, and texts would not end where the model ends them."""
    folder = copy(llama)
    (folder / "generation_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"generation_config\.json"):
        generation_config(cards.resolve(str(folder)))
    with pytest.raises(ModelError, match=r"generation_config\.json"):
        load(folder)


def test_a_truncated_file_of_weights(llama: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(llama)
    content = (folder / "model.safetensors").read_bytes()
    for size in [*range(0, len(content), max(64, len(content) // 200)), len(content) - 1]:
        (folder / "model.safetensors").write_bytes(content[:size])
        with pytest.raises(ModelError, match=r"model\.safetensors is (cut short|empty)"):
            check_weights(cards.resolve(str(folder)))
    with pytest.raises(ModelError, match=r"model\.safetensors is cut short"):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_weight_that_is_no_number_is_named_with_its_file(llama: Path, copy: Callable[[Path], Path], name: str, value: float) -> None:
    folder = copy(llama)
    stored = load_file(folder / "model.safetensors")
    stored[name][1, 2] = value
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"model\.safetensors: the tensor {name} holds NaN or infinite values"):
        load(folder)


def test_a_weight_that_a_narrow_type_does_not_hold(llama: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(llama)
    stored = load_file(folder / "model.safetensors")
    stored["model.norm.weight"][0] = 70_000.0
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    load(folder)
    with pytest.raises(ModelError, match=r"model\.norm\.weight .* in float16") as caught:
        load(folder, dtype="float16")
    assert "--dtype float32" in caught.value.remedy


@pytest.mark.parametrize("name", ["meta", "xla", "vulkan", "cpu:9", "cuda:99", "abacus", ""])
def test_devices_that_nothing_is_computed_on(name: str) -> None:
    with pytest.raises(ModelError, match="device"):
        pick_device(name)


def test_a_head_of_its_own_is_loaded(t5: Path) -> None:
    module = load(t5).module
    stored = load_file(t5 / "model.safetensors")
    assert not torch.equal(stored["lm_head.weight"], stored["shared.weight"])
    assert torch.equal(module.lm_head.weight, stored["lm_head.weight"])
    assert torch.equal(module.shared.weight, stored["shared.weight"])


def test_a_head_that_was_tied_is_noticed(t5: Path) -> None:
    module = load(t5).module
    module.lm_head.weight = module.shared.weight
    with pytest.raises(ModelError, match="tied or resized"):
        check_head(module, t5)


@pytest.mark.parametrize("name", ["llama", "t5", "bart"])
@pytest.mark.parametrize("size", [300, 400])
def test_a_head_that_was_resized_is_noticed(name: str, size: int, tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    module = load(folder).module
    check_head(module, folder)
    module.resize_token_embeddings(size)
    with pytest.raises(ModelError, match="tied or resized"):
        check_head(module, folder)


def test_one_changed_row_in_the_head_is_noticed(llama: Path) -> None:
    module = load(llama).module
    with torch.no_grad():
        module.lm_head.weight[-1, 0] += 0.5
    with pytest.raises(ModelError, match="tied or resized"):
        check_head(module, llama)


def test_a_tied_checkpoint_must_be_tied_in_memory(tmp_path: Path) -> None:
    folder = save("bart", tmp_path)
    module = load(folder).module
    module.lm_head.weight = torch.nn.Parameter(module.lm_head.weight.clone())
    with pytest.raises(ModelError, match="not tied"):
        check_head(module, folder)


@pytest.mark.real
def test_flan_t5_keeps_its_head_and_tying_it_is_noticed(flan_t5: Path) -> None:
    module = load(flan_t5).module
    check_head(module, flan_t5)
    module.config.tie_word_embeddings = True
    module.tie_weights()
    with pytest.raises(ModelError, match="tied or resized"):
        check_head(module, flan_t5)


def test_only_special_tokens_are_left_of_the_generation_settings(llama: Path, t5: Path) -> None:
    config = load(llama).module.generation_config
    assert (config.eos_token_id, config.pad_token_id) == ([2], 0)
    assert load(t5).module.generation_config.decoder_start_token_id == 0


def test_longest_sequences() -> None:
    from transformers import BartConfig, GPT2Config, MistralConfig, T5Config

    assert max_length(GPT2Config(n_positions=77)) == 77
    assert max_length(MistralConfig(max_position_embeddings=99)) == 99
    assert max_length(BartConfig(max_position_embeddings=55)) == 55
    assert max_length(T5Config()) is None


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_dtype("auto", torch.device("cpu")) == "float32"
    assert pick_dtype("float16", torch.device("cpu")) == "float16"
    with pytest.raises(ModelError, match="Unknown device"):
        pick_device("abacus")
    with pytest.raises(ModelError, match="not here"):
        pick_device("cuda:99")


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantized_models_load_and_score(quantize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes")
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny import tokenizer

    config = LlamaConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    full, loaded = load(tmp_path), load(tmp_path, quantize=quantize)
    kinds = {type(part).__name__ for part in loaded.module.modules()}
    assert ("Linear4bit" if quantize == "4bit" else "Linear8bitLt") in kinds
    assert loaded.quantization == quantize
    assert loaded.parameters == full.parameters
    expected = next(engine(full).score(questions(1, 4)))
    for response, other in zip(next(engine(loaded).score(questions(1, 4))), expected, strict=True):
        assert isinstance(response, ChoiceScores)
        assert isinstance(other, ChoiceScores)
        assert response.logprobs == pytest.approx(other.logprobs, abs=1.0)
        assert response.logprobs != other.logprobs
    prompts = [Generate(f"g{number}", tuple(range(5, 45)), 20) for number in range(40)]
    rows = [_rows_at_once(engine(one), prompts, monkeypatch) for one in (full, loaded)]
    assert 1 < rows[0] < 40
    assert rows[1] == rows[0]


def _rows_at_once(running: TransformersEngine, prompts: list[Generate], monkeypatch: pytest.MonkeyPatch) -> int:
    most: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(Usage, "stepped", lambda self, rows, seconds: most.append(rows))
        list(running.generate(prompts))
    return max(most)


def test_quantization_without_its_library(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else real(name, *rest))
    with pytest.raises(ModelError, match="needs the library bitsandbytes") as caught:
        load(llama, quantize="4bit")
    assert "pip install" in caught.value.remedy


@pytest.mark.parametrize("layers", [1, 0])
def test_a_configuration_of_fewer_layers_than_the_checkpoint_holds_is_refused(tmp_path: Path, layers: int) -> None:
    folder = tiny_causal(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers, "layer_types": ["full_attention"] * layers}))
    source = cards.resolve(str(folder))
    with pytest.raises(ModelError, match="weights of layers that the model does not have"):
        loading.load_model(source, tokenizer=loading.load_tokenizer(source), device="cpu")
