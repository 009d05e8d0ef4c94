"""Models in memory: scored as they are, put back as they were, and identified by what they hold."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from harness.contract import System
from harness.errors import AdapterError, InputError
from harness.evaluation.options import Options
from harness.evaluation.run import FinishedRun, run
from harness.evaluation.systems import OpenSystems, open_systems
from harness.models.in_memory import AdapterInMemory, InMemoryModel, prepared
from harness.models.preserved import as_it_was
from tests.silent import Recorder
from tests.states import equal, snapshot
from tests.tasks.cases import content, write_rows, write_yaml
from tests.tiny import tiny_causal, tiny_seq2seq

LORA = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.3, init_lora_weights=False)
SAVED_HEAD = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"], modules_to_save=["lm_head"], init_lora_weights=False)
METHODS: dict[str, Any] = {
    "lora": LORA,
    "dora": LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"], use_dora=True, init_lora_weights=False),
    "saved head": SAVED_HEAD,
    "ia3": IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("memory") / "tiny")


@pytest.fixture
def tasks(tmp_path: Path) -> tuple[str, str]:
    """A task of choices and a task of generation."""
    write_rows(tmp_path / "rows.jsonl", [{"thing": f"thing {number}", "label": number % 2} for number in range(6)])
    pick = write_yaml(tmp_path / "pick.yaml", content(task="pick"))
    generation = {"answer": "generate", "choices": None, "target": "thing", "metrics": ["exact_match"], "generation": {"max_new_tokens": 4}}
    return str(pick), str(write_yaml(tmp_path / "write.yaml", content(task="write", **generation)))


def base_model(folder: Path) -> Any:
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_pretrained(folder, attention_dropout=0.2)


def in_memory(model: Any, folder: Path, name: str = "mine") -> InMemoryModel:
    return InMemoryModel(model, AutoTokenizer.from_pretrained(folder), name)


def score(memory: InMemoryModel, tasks: tuple[str, ...], output: Path, **options: Any) -> list[FinishedRun]:
    return run(Options(model="", tasks=tasks, output=output, fresh=True, **options), Recorder(), memory=memory)


def opened(memory: InMemoryModel, output: Path, **options: Any) -> OpenSystems:
    return open_systems(Options(model="", tasks=("none",), output=output, **options), Recorder(), memory)


def identity(memory: InMemoryModel, output: Path, **options: Any) -> System:
    ((system, _),) = opened(memory, output, **options).systems
    return system


def train(model: Any, folder: Path, steps: int, evaluate: Callable[[], None] | None = None) -> list[float]:
    """Losses of training steps with dropout; `evaluate` is called in the middle of gradient accumulation."""
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(11)
    model.train()
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    losses = []
    for step in range(steps):
        ids = torch.tensor([[1, *(random.randrange(3, 300) for _ in range(12))], [1, *np.random.randint(3, 300, 12).tolist()]])
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        losses.append(float(loss.detach()))
        if evaluate is not None and step == steps // 2:
            evaluate()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
    return losses


@pytest.mark.parametrize("method", ["none", *METHODS])
def test_training_goes_on_as_without_the_evaluation(folder: Path, tasks: tuple[str, str], tmp_path: Path, method: str) -> None:
    """Losses, weights and the whole state are equal to the last bit with and without an evaluation, of the base model as well."""

    def made() -> Any:
        base = base_model(folder)
        return base if method == "none" else get_peft_model(base, METHODS[method])

    alone, evaluated = made(), made()
    states: list[dict[str, Any]] = []

    def evaluate() -> None:
        states.append(snapshot(evaluated))
        memory = in_memory(evaluated, folder)
        score(memory, tasks, tmp_path / "active")
        if method != "none":
            score(memory, tasks, tmp_path / "both", adapter=("none", "default"))
        states.append(snapshot(evaluated))

    losses = train(alone, folder, 6)
    assert train(evaluated, folder, 6, evaluate) == losses
    assert len(set(losses)) == len(losses)
    before, after = states
    for kind, value in before.items():
        assert equal(value, after[kind]), kind
    assert all(torch.equal(value, evaluated.state_dict()[name]) for name, value in alone.state_dict().items())


def test_checkpointing_and_hooks_stay(folder: Path, tasks: tuple[str, str], tmp_path: Path) -> None:
    model = get_peft_model(base_model(folder), LORA)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    model.config.use_cache = False
    calls: list[int] = []
    handle = model.get_base_model().lm_head.register_forward_hook(lambda *_: calls.append(1))
    model.train()
    before = snapshot(model)
    score(in_memory(model, folder), tasks, tmp_path / "out")
    after = snapshot(model)
    assert calls, "hooks of the caller run while the model is scored as it is"
    for kind, value in before.items():
        assert equal(value, after[kind]), kind
    assert handle.id in model.get_base_model().lm_head._forward_hooks
    ids = torch.tensor([[1, 5, 6, 7]])
    model(input_ids=ids, labels=ids).loss.backward()


def test_random_state_and_modes_are_restored() -> None:
    model: Any = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(), torch.nn.BatchNorm1d(2))
    model[1].eval()
    model[0].weight.requires_grad_(False)
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(5)
    expected = (random.random(), float(np.random.rand()), float(torch.rand(1)))
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(5)
    with contextlib.suppress(KeyError), as_it_was(model):
        model.eval()
        model.requires_grad_(True)
        model.register_forward_hook(lambda *_: None)
        model.added = "attribute"
        model[2].running_mean = torch.ones(2)
        random.random(), np.random.rand(), torch.rand(3)
        raise KeyError
    assert (random.random(), float(np.random.rand()), float(torch.rand(1))) == expected
    assert [part.training for part in model] == [True, False, True]
    assert not model[0].weight.requires_grad
    assert not model._forward_hooks
    assert not hasattr(model, "added")
    assert torch.equal(model[2].running_mean, torch.zeros(2))


def test_scores_equal_those_of_the_same_weights_on_disk(folder: Path, tasks: tuple[str, str], tmp_path: Path) -> None:
    model = get_peft_model(base_model(folder), LORA)
    model.peft_config["default"].base_model_name_or_path = "tiny"
    model.save_pretrained(str(tmp_path / "default"))
    here = score(in_memory(model, folder), tasks, tmp_path / "memory", adapter=("none", "default"))
    there = run(
        Options(model=str(folder), tasks=tasks, adapter=("none", str(tmp_path / "default")), device="cpu", output=tmp_path / "disk"),
        Recorder(),
    )
    for mine, theirs in zip(here, there, strict=True):
        for task in ("pick", "write"):
            samples = [
                [json.loads(line) for line in (finished.folder / "samples" / f"{task}.jsonl").read_text().splitlines()]
                for finished in (mine, theirs)
            ]
            for one, other in zip(*samples, strict=True):
                assert one["prediction"] == other["prediction"]
                assert one.get("logprobs") == (None if other.get("logprobs") is None else pytest.approx(other["logprobs"], abs=1e-5))
        assert mine.record.system.identity == "memory"
        assert theirs.record.system.identity == "files"
    assert [finished.record.system.name for finished in here] == ["mine", "mine+default"]
    bases = {finished.record.system.model_digest for finished in here}
    assert len(bases) == 1
    assert here[0].record.system.adapter_digest is None
    assert here[1].record.system.adapter_digest is not None
    assert here[1].record.system.parameters == there[1].record.system.parameters
    assert here[1].record.system.adapter_parameters == there[1].record.system.adapter_parameters


def test_a_base_has_one_digest_and_an_adapter_one_by_any_name(folder: Path, tmp_path: Path) -> None:
    plain = identity(in_memory(base_model(folder), folder), tmp_path / "a")
    for method, config in METHODS.items():
        wrapped = get_peft_model(base_model(folder), config)
        base = identity(in_memory(wrapped, folder), tmp_path / "a", adapter="none")
        assert base.model_digest == plain.model_digest, method
        assert base == plain, method
        assert identity(in_memory(wrapped, folder), tmp_path / "b").adapter_digest is not None
    torch.manual_seed(1)
    first = get_peft_model(base_model(folder), LORA, adapter_name="first")
    second = get_peft_model(base_model(folder), LORA, adapter_name="second")
    one, other = (identity(in_memory(model, folder), tmp_path / "c") for model in (first, second))
    assert (one.adapter, other.adapter) == ("first", "second")
    assert one.adapter_digest == other.adapter_digest
    assert one.adapter_parameters == sum(value.numel() for name, value in first.named_parameters() if "lora_" in name)


def test_what_changes_an_answer_changes_the_identity(folder: Path, tmp_path: Path) -> None:
    model = get_peft_model(base_model(folder), LORA)
    memory = in_memory(model, folder)
    before = identity(memory, tmp_path / "out")
    memory.tokenizer(["some words", "more"], padding=True, truncation=True, max_length=4)
    assert identity(memory, tmp_path / "out") == before
    with torch.no_grad():
        model.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight[0, 0] += 1e-3
    trained = identity(memory, tmp_path / "out")
    assert trained.model_digest == before.model_digest
    assert trained.adapter_digest != before.adapter_digest
    with torch.no_grad():
        model.get_base_model().lm_head.weight[0, 0] += 1e-3
    assert identity(memory, tmp_path / "out").model_digest != before.model_digest
    memory.tokenizer.add_tokens(["<new>"])
    assert identity(memory, tmp_path / "out").tokenizer_digest != before.tokenizer_digest


def test_each_adapter_is_scored_by_its_name(folder: Path, tasks: tuple[str, str], tmp_path: Path) -> None:
    model = get_peft_model(base_model(folder), LORA, adapter_name="a")
    model.add_adapter("b", LORA)
    memory = in_memory(model, folder)
    finished = score(memory, tasks[:1], tmp_path / "out", adapter=("none", "a", "b"))
    digests = [one.record.system.adapter_digest for one in finished]
    assert len(set(digests)) == 3
    logprobs = [(one.folder / "samples" / "pick.jsonl").read_text() for one in finished]
    assert len(set(logprobs)) == 3
    assert model.active_adapters == ["a"]
    (active,) = score(memory, tasks[:1], tmp_path / "active")
    assert active.record.system.name == "mine+a"
    assert (active.folder / "samples" / "pick.jsonl").read_text() == logprobs[1]


def test_encoder_decoder_models_are_scored(tasks: tuple[str, str], tmp_path: Path) -> None:
    folder = tiny_seq2seq(tmp_path / "t5")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).train()
    before = snapshot(model)
    (finished,) = score(in_memory(model, folder), tasks, tmp_path / "out")
    assert finished.record.system.architecture == "seq2seq"
    after = snapshot(model)
    assert all(equal(value, after[kind]) for kind, value in before.items())


def test_the_module_is_not_copied(folder: Path) -> None:
    model = get_peft_model(base_model(folder), LORA)
    memory = in_memory(model, folder)
    with prepared(memory, AdapterInMemory("default", ("default",))) as module:
        assert module is model
        assert not any(part.training for part in model.modules())
    with prepared(memory, None) as module:
        assert module is model.get_base_model()


def test_what_cannot_be_scored_is_refused(folder: Path, tmp_path: Path) -> None:
    model = get_peft_model(base_model(folder), LORA)
    memory = in_memory(model, folder)
    with pytest.raises(AdapterError, match="no adapter 'other'"):
        opened(memory, tmp_path, adapter="other")
    with pytest.raises(InputError, match="--engine vllm does not support a model in memory") as caught:
        opened(memory, tmp_path, engine="vllm")
    assert "--engine transformers" in caught.value.remedy
    for option, value in {"quantize": "8bit", "dtype": "float16", "device": "cpu", "merge": True}.items():
        with pytest.raises(InputError, match=f"{option} does not apply to a model in memory"):
            opened(memory, tmp_path, **{option: value})
    with pytest.raises(InputError, match="A Linear cannot be evaluated in memory"):
        opened(InMemoryModel(torch.nn.Linear(2, 2), memory.tokenizer), tmp_path)
    with pytest.raises(InputError, match="needs its tokenizer"):
        opened(InMemoryModel(model, None), tmp_path)
    model.merge_adapter()
    with pytest.raises(AdapterError, match="default is merged"):
        opened(memory, tmp_path)
