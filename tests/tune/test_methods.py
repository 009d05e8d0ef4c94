"""What each method trains, what it writes, and that the base comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import AdapterError
from harness.models import cards
from harness.models.loaded_weights import check_head
from harness.tune import methods
from harness.tune.settings import METHODS
from tests.tune.conftest import load, settings


def state(module: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def shake(made: methods.Tunable) -> None:
    with torch.no_grad():
        for value in made.parameters.values():
            value.add_(torch.randn_like(value) * 0.1)


def test_lora_on_a_layer_of_512_by_64_trains_86_percent_fewer() -> None:
    from peft import inject_adapter_in_model

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(64, 512, bias=False)

    config = methods.peft_config(settings(rank=8, targets=("layer",)), "causal")
    net = inject_adapter_in_model(config, Net())
    trained = {name: value for name, value in net.named_parameters() if value.requires_grad}
    made = methods.Tunable(net, trained, 512 * 64)
    assert (made.count, made.base) == (4608, 32768)
    assert made.share == pytest.approx(1 - 0.86, abs=0.005)


@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
@pytest.mark.parametrize("method", METHODS)
def test_the_base_comes_back_as_it_was(bases: dict[str, Path], method: Any, architecture: str) -> None:
    loaded = load(bases[architecture], quantize="4bit" if method == "qlora" else None)
    before = state(loaded.module)
    flags = [value.requires_grad for value in loaded.module.parameters()]
    cache = loaded.module.config.use_cache
    with methods.tunable(loaded, settings(method=method)) as made:
        assert made.count == sum(value.numel() for value in made.module.parameters() if value.requires_grad)
        assert (made.count == made.base) == (method == "full")
        shake(made)
    after = loaded.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [value.requires_grad for value in loaded.module.parameters()] == flags
    assert loaded.module.config.use_cache == cache
    assert not hasattr(loaded.module, "peft_config")
    assert not loaded.module.training


def test_first_weights_are_the_seeds(bases: dict[str, Path]) -> None:
    loaded = load(bases["causal"])

    def first(seed: int) -> torch.Tensor:
        with methods.tunable(loaded, settings(seed=seed)) as made:
            return torch.cat([value.detach().flatten() for value in made.parameters.values()])

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))


def test_an_update_that_was_not_trained_is_zero(bases: dict[str, Path]) -> None:
    loaded = load(bases["causal"])
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        plain = loaded.module(ids).logits
        with methods.tunable(loaded, settings()) as made:
            assert torch.equal(made.module.eval()(ids).logits, plain)


@pytest.mark.parametrize(("rank", "targets"), [(4, ("no_such",)), (4, ("q_prj", "v_prj"))])
def test_unknown_target_modules(bases: dict[str, Path], rank: int, targets: tuple[str, ...]) -> None:
    loaded = load(bases["causal"])
    chosen = settings(rank=rank, targets=targets)
    with pytest.raises(AdapterError, match=f"tiny-llama has no module called {targets[0]}") as caught, methods.tunable(loaded, chosen):
        pass
    assert "q_proj" in caught.value.remedy
    assert "all-linear" in caught.value.remedy


def test_targets_of_ones_own(bases: dict[str, Path]) -> None:
    loaded = load(bases["causal"])
    for targets, count in ((("q_proj",), 2), (("all-linear",), 14)):
        with methods.tunable(loaded, settings(targets=targets)) as made:
            assert len(made.parameters) == 2 * count
    with methods.tunable(loaded, settings(method="ia3", targets=("k_proj", "down_proj"))) as made:
        assert len(made.parameters) == 4


@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_fully_tuned_model_is_written_with_its_own_head(bases: dict[str, Path], tmp_path: Path, architecture: str, dtype: Any) -> None:
    loaded = load(bases[architecture])
    chosen = settings(method="full", weights_dtype=dtype)
    with methods.tunable(loaded, chosen) as made:
        shake(made)
        methods.round_weights(made, dtype)
        tuned = state(loaded.module)
        methods.write(made, loaded, chosen, tmp_path / "out")
        assert loaded.module.dtype == torch.float32
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {str(value.dtype) for value in stored.values()} == {f"torch.{dtype}"}
    again = load(tmp_path / "out")
    check_head(again.module, tmp_path / "out")
    assert all(torch.equal(again.module.state_dict()[name], value) for name, value in tuned.items())
    head, embeddings = again.module.get_output_embeddings().weight, again.module.get_input_embeddings().weight
    assert not torch.equal(head, embeddings)
    own = {path.name for path in bases[architecture].iterdir()}
    assert own - {"chat_template.jinja"} <= {path.name for path in (tmp_path / "out").iterdir()}
    generation = "generation_config.json"
    assert (tmp_path / "out" / generation).read_text() == (bases[architecture] / generation).read_text()


def test_a_tied_head_stays_tied(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny import tokenizer

    words = tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), tie_word_embeddings=True, **sizes)).save_pretrained(tmp_path / "tied")
    words.save_pretrained(tmp_path / "tied")
    loaded = load(tmp_path / "tied")
    with methods.tunable(loaded, settings(method="full")) as made:
        shake(made)
        tuned = made.module.get_input_embeddings().weight.detach().clone()
        methods.write(made, loaded, settings(method="full"), tmp_path / "out")
    again = load(tmp_path / "out")
    assert torch.equal(again.module.get_output_embeddings().weight, tuned)
    assert torch.equal(again.module.get_input_embeddings().weight, tuned)


def test_adapters_name_the_base_without_its_place_on_this_machine(bases: dict[str, Path], tmp_path: Path) -> None:
    loaded = load(bases["causal"])
    with methods.tunable(loaded, settings(weights_dtype="bfloat16")) as made:
        methods.write(made, loaded, settings(weights_dtype="bfloat16"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny-llama"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    assert methods.weights_bytes(tmp_path / "out") == (tmp_path / "out" / "adapter_model.safetensors").stat().st_size
    assert cards.resolve(str(bases["causal"])).name == "tiny-llama"


@pytest.mark.parametrize(("method", "field"), [("lora", "target_modules"), ("ia3", "feedforward_modules")])
def test_names_in_a_configuration_stand_in_one_order(bases: dict[str, Path], tmp_path: Path, method: Any, field: str) -> None:
    loaded = load(bases["causal"])
    targets = ("all-linear",) if method == "lora" else ()
    with methods.tunable(loaded, settings(method=method, targets=targets)) as made:
        methods.write(made, loaded, settings(method=method), tmp_path / "adapter")
    names = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())[field]
    assert names
    assert names == sorted(names)
