"""Adapters that PEFT computes specially: those that rewrite the base, and those that are active only after certain tokens."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.engine import base
from harness.errors import AdapterError, ModelError
from harness.models import adapter_kinds, adapters, attachment, cards
from harness.models.loading import check_weights
from harness.models.opening import ModelOptions
from tests.engine.architectures import load
from tests.models.test_adapters import configure, edit, far, found, lora, make, naive, scores, with_adapter
from tests.test_weights import COMPLEX

INITIALIZATIONS = ["pissa", "olora", "pissa_niter_4"]


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_an_adapter_that_rewrites_the_base_scores_as_in_peft_and_the_base_is_put_back(
    llama: Path, tmp_path: Path, initialization: str
) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    other = make(llama, tmp_path / "two", lora("causal"), seed=1)
    configure(folder, init_lora_weights=initialization)
    loaded = load(llama)
    before = {key: value.clone() for key, value in loaded.module.state_dict().items()}
    plain, alone = scores(loaded.module, loaded), with_adapter(load(llama), found(llama, other))
    with attachment.attached(loaded, found(llama, folder)) as attached:
        adapted = scores(attached.module, loaded)
    assert all(torch.equal(value, before[key]) for key, value in loaded.module.state_dict().items())
    assert scores(loaded.module, loaded) == plain
    assert with_adapter(loaded, found(llama, other)) == alone
    if "niter" not in initialization:
        expected = naive(llama, folder, 0)
        assert all(adapted[key] == pytest.approx(values, abs=5e-4) for key, values in expected.items())
    with attachment.attached(load(llama), found(llama, folder)) as attached:
        assert far(scores(attached.module, loaded), adapted) == 0


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_the_base_is_put_back_after_merging(llama: Path, tmp_path: Path, initialization: str) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    configure(folder, init_lora_weights=initialization)
    loaded = load(llama)
    before = {key: value.clone() for key, value in loaded.module.state_dict().items()}
    with attachment.attached(loaded, found(llama, folder)) as beside:
        adapted = scores(beside.module, loaded)
    with attachment.attached(loaded, found(llama, folder, merge=True)) as merged:
        assert far(scores(merged.module, loaded), adapted) < 1e-3
    assert all(torch.equal(value, before[key]) for key, value in loaded.module.state_dict().items())


def test_a_write_that_was_not_put_back_is_noticed(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, adapter = load(llama), found(llama, make(llama, tmp_path / "one", lora("causal")))
    weight = loaded.module.get_output_embeddings().weight

    def write(module: Any) -> None:
        detach(module)
        with torch.no_grad():
            weight.mul_(2)

    detach = attachment.detach
    monkeypatch.setattr(attachment, "detach", write)
    with pytest.raises(AdapterError, match="not restored"), attachment.attached(loaded, adapter):
        pass


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"init_lora_weights": "pissa"}, {"quantization": "8bit"}, 'initialized with "pissa".*--quantize 8bit'),
        ({"init_lora_weights": "olora"}, {"engine": "vllm"}, 'initialized with "olora".*--engine vllm'),
        ({"alora_invocation_tokens": [5, 6]}, {"engine": "vllm"}, "invocation tokens.*--engine vllm"),
        ({"alora_invocation_tokens": [5, 6]}, {"merge": True}, "invocation tokens.*--merge"),
        ({"layer_replication": [[0, 2], [0, 2]]}, {}, "repeats layers"),
        ({"peft_type": "XLORA", "adapters": {"0": "elsewhere"}}, {}, "mixes adapters of other folders"),
    ],
)
def test_what_cannot_be_evaluated_correctly_is_refused_by_name(
    llama: Path, tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    configure(folder, **changes)
    adapter = replace(found(llama, folder), merge=bool(options.get("merge")))
    with pytest.raises(AdapterError, match=words):
        adapter_kinds.check_kind(
            adapter,
            adapters.read_config(adapter.folder),
            quantization=options.get("quantization"),
            engine=options.get("engine", "transformers"),
        )


@pytest.mark.parametrize(("engine", "refused"), [("transformers", False), ("vllm", True)])
def test_what_an_engine_cannot_compute_is_refused_when_the_model_is_opened(llama: Path, tmp_path: Path, engine: str, refused: bool) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    configure(folder, alora_invocation_tokens=[5, 6])
    backend = base.load(engine)
    opening = backend.prepare(ModelOptions(model=str(llama), adapters=(str(folder),)), lambda _: None)
    with pytest.raises(AdapterError, match=r"invocation tokens.*--engine vllm") if refused else nullcontext():
        base.check_opening(backend, opening)


def test_an_initialization_that_needs_missing_data_says_how_to_convert(llama: Path, tmp_path: Path) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    configure(folder, init_lora_weights="corda")
    loaded = load(llama)
    with pytest.raises(AdapterError, match="does not fit") as caught, attachment.attached(loaded, found(llama, folder)):
        pass
    assert "Convert it" in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"task_type": "NONSENSE"}, "Correct .*adapter_config.json"),
        ({"lora_alpha": "x"}, "Correct .*adapter_config.json"),
        ({"base_model_name_or_path": "some/other"}, "names some/other; pass that one with --model"),
        ({"base_model_name_or_path": None, "r": 8}, "names no base: pass the base"),
        ({"base_model_name_or_path": None, "target_modules": ["nope"]}, "names no base: pass the base"),
    ],
)
def test_the_remedy_fits_what_is_wrong(llama: Path, tmp_path: Path, changes: dict[str, Any], remedy: str) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    configure(folder, **({"r": 8} if changes.get("base_model_name_or_path") else {}), **changes)
    loaded = load(llama)
    with pytest.raises(AdapterError, match="does not fit") as caught, attachment.attached(loaded, found(llama, folder)):
        pass
    assert re.search(remedy, caught.value.remedy)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, pytest.param(torch.complex64, marks=COMPLEX)])
@pytest.mark.parametrize("pickled", [False, True])
def test_an_adapter_of_an_invalid_dtype_is_refused_by_name(llama: Path, tmp_path: Path, dtype: torch.dtype, pickled: bool) -> None:
    folder = make(llama, tmp_path / "one", lora("causal"))
    edit(folder, lambda tensors: {name: value.to(dtype) if "lora_B" in name else value for name, value in tensors.items()})
    if pickled:
        path = folder / "adapter_model.safetensors"
        torch.save(load_file(path), folder / "adapter_model.bin")
        path.unlink()
    with pytest.raises(AdapterError, match=rf"lora_B.* has the dtype {str(dtype).removeprefix('torch.')}"):
        adapters.check_finite(found(llama, folder, pickles=pickled), pickles=pickled)


def test_a_model_of_an_invalid_dtype_is_refused_unless_it_is_quantized(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    path = folder / "model.safetensors"
    name = "model.layers.0.self_attn.q_proj.weight"
    save_file(load_file(path) | {name: torch.ones(32, 32, dtype=torch.int8)}, path, {"format": "pt"})
    with pytest.raises(ModelError, match=f"{name} has the dtype int8"):
        check_weights(cards.resolve(str(folder)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    check_weights(cards.resolve(str(folder)))
