"""Settings that are not finite, and files that do not belong together: one message names file and field."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.engine.transformers.budget import Budget
from harness.engine.transformers.engine import TransformersEngine
from harness.engine.transformers.trust import trusted
from harness.errors import AdapterError, BrokenModelError, ModelError
from harness.models import adapters, attachment, cards
from harness.models.loading import check_weights, load_config, load_model
from harness.models.settings import check_numbers
from tests.engine.architectures import engine, load
from tests.models.test_adapters import QUESTIONS, lora, make


@pytest.fixture
def model(llama: Path, tmp_path: Path) -> Path:
    shutil.copytree(llama, tmp_path / "model")
    return tmp_path / "model"


def configure(folder: Path, name: str = "config.json", **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rms_norm_eps": float("nan")}, "config.json: rms_norm_eps is nan"),
        ({"rope_parameters": {"rope_theta": float("inf")}}, "config.json: rope_parameters.rope_theta is inf"),
        ({"list": [1.0, float("-inf")]}, r"config.json: list\[1\] is -inf"),
        ({"max_position_embeddings": -3}, "config.json: max_position_embeddings is -3"),
        ({"text_config": {"max_position_embeddings": 0}}, "config.json: max_position_embeddings is 0"),
    ],
)
def test_a_setting_of_a_model_that_is_not_finite(model: Path, changes: dict[str, Any], words: str) -> None:
    configure(model, **changes)
    with pytest.raises(ModelError, match=words):
        load_config(cards.resolve(str(model)))


def test_a_bound_may_be_infinite() -> None:
    check_numbers(Path("config.json"), {"time_step_limit": [0.0, float("inf")]}, ModelError)
    with pytest.raises(ModelError):
        check_numbers(Path("config.json"), {"time_step_limit": [float("nan")]}, ModelError)


@pytest.mark.parametrize(("value", "shown"), [("NaN", "nan"), ("Infinity", "inf"), ("1e999", "inf")])
def test_an_adapters_scale_that_is_not_finite(llama: Path, tmp_path: Path, value: str, shown: str) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    path = folder / "adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": 8', f'"lora_alpha": {value}'))
    with pytest.raises(AdapterError, match=f"adapter_config.json: lora_alpha is {shown}"):
        adapters.resolve(str(folder), cards.resolve(str(llama)))


def test_a_configuration_that_is_nested_too_deeply(llama: Path, model: Path, tmp_path: Path) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    (folder / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(AdapterError, match=r"adapter_config\.json is nested too deeply"):
        adapters.resolve(str(folder), cards.resolve(str(llama)))
    (model / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match=r"config\.json is damaged: it is nested too deeply"):
        load_config(cards.resolve(str(model)))


def test_a_tensor_of_another_shape_is_named(model: Path) -> None:
    path, name = model / "model.safetensors", "model.layers.0.self_attn.q_proj.weight"
    tensors = load_file(path)
    save_file(tensors | {name: tensors[name][:-1].contiguous()}, path, {"format": "pt"})
    with pytest.raises(ModelError, match=rf"tensor {name} has the shape \[31, 32\], but config.json requires \[32, 32\]") as caught:
        load_model(cards.resolve(str(model)), tokenizer=None)
    assert "ignore_mismatched_sizes" not in str(caught.value)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq"])
def test_weights_that_are_not_quantized_as_the_configuration_says(model: Path, method: str) -> None:
    configure(model, quantization_config={"quant_method": method, "load_in_4bit": True, "bits": 4})
    with pytest.raises(ModelError, match=r"has a quantization_config, but model\.safetensors has no quantized weights"):
        check_weights(cards.resolve(str(model)))


def test_a_model_whose_logits_are_not_finite_is_reported_before_anything_is_computed(model: Path) -> None:
    configure(model, rms_norm_eps=-1e9)
    with pytest.raises(BrokenModelError, match="logits are NaN or infinite") as caught:
        list(engine(load(model)).score(QUESTIONS))
    assert caught.value.exit_code == 2


def test_an_overflow_in_the_base_is_not_blamed_on_the_adapter(llama: Path, model: Path, tmp_path: Path) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    path = model / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"model.norm.weight": torch.full_like(tensors["model.norm.weight"], 3e38)}, path, {"format": "pt"})
    loaded = load(model)
    adapter = adapters.resolve(str(folder), cards.resolve(str(model)))
    with attachment.attached(loaded, adapter) as attached:
        computed = TransformersEngine(attached.module, loaded.tokenizer, loaded.architecture, Budget(64, 64))
        with pytest.raises(AdapterError, match="With the adapter one, the model's log-probabilities are") as caught:
            trusted(computed, "one")
    assert "the base alone" not in caught.value.what
