"""Adapters that peft computes in ways of their own: those that rewrite the base, and those that are active only behind certain tokens."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import AdapterError, ModelError
from harness.models import adapters, cards
from harness.models.loading import check_weights
from tests.engine.architectures import load
from tests.models.test_adapters import configure, edit, far, found, lora, make, naive, scores, with_adapter
from tests.test_weights import COMPLEX

STARTS = ["pissa", "olora", "pissa_niter_4"]


@pytest.mark.parametrize("start", STARTS)
def test_an_adapter_that_rewrites_the_base_scores_as_in_peft_and_the_base_is_put_back(llama: Path, tmp_path: Path, start: str) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    other = make(llama, tmp_path / "two", lora("causal"), seed=1)
    configure(folder, init_lora_weights=start)
    loaded = load(llama)
    before = {key: value.clone() for key, value in loaded.module.state_dict().items()}
    plain, alone = scores(loaded.module, loaded), with_adapter(load(llama), found(llama, other))
    with adapters.attached(loaded, found(llama, folder)) as attached:
        adapted = scores(attached.module, loaded)
    assert all(torch.equal(value, before[key]) for key, value in loaded.module.state_dict().items())
    assert scores(loaded.module, loaded) == plain
    assert with_adapter(loaded, found(llama, other)) == alone
    if "niter" not in start:
        expected = naive(llama, folder, 0)
        assert all(adapted[key] == pytest.approx(values, abs=5e-4) for key, values in expected.items())
    with adapters.attached(load(llama), found(llama, folder)) as attached:
        assert far(scores(attached.module, loaded), adapted) == 0


@pytest.mark.parametrize("start", STARTS)
def test_the_base_is_put_back_after_merging(llama: Path, tmp_path: Path, start: str) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    configure(folder, init_lora_weights=start)
    loaded = load(llama)
    before = {key: value.clone() for key, value in loaded.module.state_dict().items()}
    with adapters.attached(loaded, found(llama, folder)) as beside:
        adapted = scores(beside.module, loaded)
    with adapters.attached(loaded, found(llama, folder, merge=True)) as merged:
        assert far(scores(merged.module, loaded), adapted) < 1e-3
    assert all(torch.equal(value, before[key]) for key, value in loaded.module.state_dict().items())


def test_a_write_that_was_not_put_back_is_noticed(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, kept = load(llama), found(llama, make(llama, tmp_path / "one", lora("causal")))
    weight = loaded.module.get_output_embeddings().weight

    def write(module: Any) -> None:
        detach(module)
        with torch.no_grad():
            weight.mul_(2)

    detach = adapters.detach
    monkeypatch.setattr(adapters, "detach", write)
    with pytest.raises(AdapterError, match="not restored"), adapters.attached(loaded, kept):
        pass


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"init_lora_weights": "pissa"}, {"quantization": "8bit"}, 'started with "pissa".*--quantize 8bit'),
        ({"init_lora_weights": "olora"}, {"engine": "vllm"}, 'started with "olora".*--engine vllm'),
        ({"alora_invocation_tokens": [5, 6]}, {"engine": "vllm"}, "invocation tokens.*--engine vllm"),
        ({"alora_invocation_tokens": [5, 6]}, {"merge": True}, "invocation tokens.*--merge"),
        ({"layer_replication": [[0, 2], [0, 2]]}, {}, "repeats layers"),
        ({"peft_type": "XLORA", "adapters": {"0": "elsewhere"}}, {}, "mixes adapters of other folders"),
    ],
)
def test_what_cannot_be_computed_right_is_refused_by_name(
    llama: Path, tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    configure(folder, **changes)
    adapter = replace(found(llama, folder), merge=bool(options.get("merge")))
    with pytest.raises(AdapterError, match=words):
        adapters.check_kind(adapter, options.get("quantization"), options.get("engine", "transformers"))


def test_a_start_that_needs_what_is_not_there_says_how_to_convert(llama: Path, tmp_path: Path) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    configure(folder, init_lora_weights="corda")
    loaded = load(llama)
    with pytest.raises(AdapterError, match="does not fit") as caught, adapters.attached(loaded, found(llama, folder)):
        pass
    assert "Convert it" in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"task_type": "NONSENSE"}, "Correct .*adapter_config.json"),
        ({"lora_alpha": "x"}, "Correct .*adapter_config.json"),
        ({"base_model_name_or_path": "some/other"}, "names some/other; give --model that one"),
        ({"base_model_name_or_path": None, "r": 8}, "names no base: give --model the base"),
        ({"base_model_name_or_path": None, "target_modules": ["nope"]}, "names no base: give --model the base"),
    ],
)
def test_the_remedy_fits_what_is_wrong(llama: Path, tmp_path: Path, changes: dict[str, Any], remedy: str) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    configure(folder, **({"r": 8} if changes.get("base_model_name_or_path") else {}), **changes)
    loaded = load(llama)
    with pytest.raises(AdapterError, match="does not fit") as caught, adapters.attached(loaded, found(llama, folder)):
        pass
    assert re.search(remedy, caught.value.remedy)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, pytest.param(torch.complex64, marks=COMPLEX)])
@pytest.mark.parametrize("pickled", [False, True])
def test_an_adapter_of_a_senseless_type_is_refused_by_name(llama: Path, tmp_path: Path, dtype: torch.dtype, pickled: bool) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    edit(folder, lambda tensors: {name: value.to(dtype) if "lora_B" in name else value for name, value in tensors.items()})
    if pickled:
        path = folder / "adapter_model.safetensors"
        torch.save(load_file(path), folder / "adapter_model.bin")
        path.unlink()
    with pytest.raises(AdapterError, match=rf"lora_B.* is of type {str(dtype).removeprefix('torch.')}"):
        adapters.check_finite(found(llama, folder, pickles=pickled), pickles=pickled)


def test_a_model_of_a_senseless_type_is_refused_unless_it_is_quantized(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    path = folder / "model.safetensors"
    name = "model.layers.0.self_attn.q_proj.weight"
    save_file(load_file(path) | {name: torch.ones(32, 32, dtype=torch.int8)}, path, {"format": "pt"})
    with pytest.raises(ModelError, match=f"{name} is of type int8"):
        check_weights(cards.resolve(str(folder)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    check_weights(cards.resolve(str(folder)))
