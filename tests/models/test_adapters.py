"""Adapters attach whole, score as peft's own forward does, and leave the base as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.contract import ChoiceScores, Generate, Generation, ScoreChoices
from harness.errors import AdapterError
from harness.models import adapters, attachment, cards
from harness.models.loading import Loaded
from tests.engine.architectures import engine, load, naive_logprob, questions

Scores = dict[str, tuple[float, ...]]
QUESTIONS = questions(21, 6, longest=12)
TARGETS = {"causal": ["q_proj", "v_proj"], "seq2seq": ["q", "v"]}


def make(base: Path, folder: Path, config: Any, *, fill: bool = True, seed: int = 0) -> Path:
    """Save an adapter made by peft, its weights random unless `fill` is off."""
    from peft import get_peft_model, get_peft_model_state_dict

    torch.manual_seed(seed)
    module = get_peft_model(load(base).module, config)
    if fill:
        with torch.no_grad():
            for name, value in module.named_parameters():
                if value.requires_grad:
                    value.copy_(torch.randn_like(value) * 0.3 + ("ia3" in name))
    assert get_peft_model_state_dict(module)
    module.peft_config["default"].base_model_name_or_path = str(base)
    module.save_pretrained(str(folder))
    return folder


def lora(task: str, **options: Any) -> Any:
    from peft import LoraConfig

    kind = "CAUSAL_LM" if task == "causal" else "SEQ_2_SEQ_LM"
    return LoraConfig(task_type=kind, **({"r": 4, "target_modules": TARGETS[task]} | options))


def method(name: str, task: str) -> Any:
    import peft

    kind = "CAUSAL_LM" if task == "causal" else "SEQ_2_SEQ_LM"
    if name == "ia3":
        return peft.IA3Config(task_type=kind, target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    if name == "prompt":
        return peft.PromptTuningConfig(task_type=kind, num_virtual_tokens=5)
    if name == "prefix":
        return peft.PrefixTuningConfig(task_type=kind, num_virtual_tokens=5)
    options: dict[str, dict[str, Any]] = {
        "lora": {},
        "dora": {"use_dora": True},
        "saved": {"modules_to_save": ["lm_head"]},
        "head": {"target_modules": ["q_proj", "lm_head"]},
        "tokens": {"trainable_token_indices": [30, 40, 50]},
        "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    }
    return lora(task, **options[name])


def found(base: Path, folder: Path, **options: Any) -> adapters.Adapter:
    return adapters.resolve(str(folder), cards.resolve(str(base)), **options)


def scores(module: Any, loaded: Loaded, budget: int = 64) -> Scores:
    computed = engine(replace(loaded, module=module), budget)
    collected: Scores = {}
    for batch in computed.score(QUESTIONS):
        for response in batch:
            assert isinstance(response, ChoiceScores)
            collected[response.id] = response.logprobs
    return collected


def with_adapter(loaded: Loaded, adapter: adapters.Adapter) -> Scores:
    with attachment.attached(loaded, adapter) as attached:
        assert attached.warnings == ()
        return scores(attached.module, loaded)


def far(one: Scores, other: Scores) -> float:
    return max(abs(a - b) for key in one for a, b in zip(one[key], other[key], strict=True))


def naive(base: Path, folder: Path, soft_prompt: int) -> Scores:
    """Peft's own forward on a base of its own."""
    from peft import PeftModel

    loaded = load(base)
    module = PeftModel.from_pretrained(loaded.module, str(folder)).eval()
    module.generation_config = loaded.module.generation_config
    return {
        request.id: tuple(naive_logprob(module, loaded.architecture, request.context, choice, soft_prompt) for choice in request.choices)
        for request in QUESTIONS
    }


@pytest.fixture(scope="module")
def bases(llama: Path, t5: Path) -> dict[str, Path]:
    return {"causal": llama, "seq2seq": t5}


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("lora", "causal"),
        ("dora", "causal"),
        ("saved", "causal"),
        ("head", "causal"),
        ("embeddings", "causal"),
        ("tokens", "causal"),
        ("ia3", "causal"),
        ("prompt", "causal"),
        ("prefix", "causal"),
        ("lora", "seq2seq"),
        ("saved", "seq2seq"),
        ("prompt", "seq2seq"),
        ("prefix", "seq2seq"),
    ],
)
def test_scores_equal_pefts_forward_and_the_base_is_restored(bases: dict[str, Path], tmp_path: Path, name: str, task: str) -> None:
    base = bases[task]
    folder = make(base, tmp_path / "adapter", method(name, task))
    loaded = load(base)
    before = {key: value.clone() for key, value in loaded.module.state_dict().items()}
    plain = scores(loaded.module, loaded)
    adapted = with_adapter(loaded, found(base, folder))
    expected = naive(base, folder, 5 if (name, task) == ("prompt", "causal") else 0)
    for key, values in expected.items():
        assert adapted[key] == pytest.approx(values, abs=2e-5)
    assert far(adapted, plain) > 0.01
    assert not hasattr(loaded.module, "peft_config")
    after = loaded.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert scores(loaded.module, loaded) == plain


@pytest.mark.parametrize(
    ("name", "task"),
    [("lora", "causal"), ("prompt", "causal"), ("prefix", "causal"), ("lora", "seq2seq"), ("prompt", "seq2seq"), ("prefix", "seq2seq")],
)
def test_greedy_answers_are_what_scoring_calls_likeliest(bases: dict[str, Path], tmp_path: Path, name: str, task: str) -> None:
    folder = make(bases[task], tmp_path / "adapter", method(name, task))
    requests = [Generate(f"g{n}", tuple(range(5, 7 + 3 * n)), 6) for n in range(4)]
    loaded = load(bases[task])
    with attachment.attached(loaded, found(bases[task], folder)) as attached:
        computed = engine(replace(loaded, module=attached.module))
        answers = {answer.id: answer for batch in computed.generate(requests) for answer in batch}
        again = []
        for request in requests:
            answer = answers[request.id]
            assert isinstance(answer, Generation)
            again.append(ScoreChoices(request.id, request.context, (answer.tokens,)))
        for batch in computed.score(again):
            assert [response.greedy for response in batch if isinstance(response, ChoiceScores)] == [(True,)] * len(batch)
    assert answers != {answer.id: answer for batch in engine(loaded).generate(requests) for answer in batch}


def test_adapters_one_after_another_score_as_each_alone(bases: dict[str, Path], tmp_path: Path) -> None:
    base, shared = bases["causal"], load(bases["causal"])
    folders = [
        make(base, tmp_path / name, method(name, "causal"), seed=n) for n, name in enumerate(["lora", "prompt", "ia3", "prefix", "saved"])
    ]
    for folder in [*folders, folders[0]]:
        assert with_adapter(shared, found(base, folder)) == with_adapter(load(base), found(base, folder))


@pytest.mark.parametrize("task", ["causal", "seq2seq"])
def test_an_update_of_zero_warns_and_scores_as_the_base(bases: dict[str, Path], tmp_path: Path, task: str) -> None:
    folder = make(bases[task], tmp_path / "zero", lora(task), fill=False)
    loaded = load(bases[task])
    plain = scores(loaded.module, loaded)
    with attachment.attached(loaded, found(bases[task], folder)) as attached:
        assert [("zero" in warning, "has no effect" in warning) for warning in attached.warnings] == [(True, True)]
        adapted = scores(attached.module, loaded)
    assert adapted == plain


@pytest.fixture
def good(bases: dict[str, Path], tmp_path: Path) -> Path:
    return make(bases["causal"], tmp_path / "good", lora("causal"))


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _refused(base: Path, folder: Path, words: str) -> None:
    loaded = load(base)
    plain = scores(loaded.module, loaded)
    with pytest.raises(AdapterError, match=words) as caught, attachment.attached(loaded, found(base, folder)):
        pass
    assert "\n" not in caught.value.what
    assert scores(loaded.module, loaded) == plain


def test_missing_weights(bases: dict[str, Path], good: Path) -> None:
    edit(good, lambda weights: dict(sorted(weights.items())[1:]))
    _refused(bases["causal"], good, "lacks 1 weights")


def test_left_over_weights(bases: dict[str, Path], good: Path) -> None:
    configure(good, target_modules=["q_proj"])
    _refused(bases["causal"], good, "4 weights that did not attach")


def test_weights_of_another_shape(bases: dict[str, Path], good: Path) -> None:
    edit(good, lambda weights: {key: value.repeat(1, 2).contiguous() for key, value in weights.items()})
    _refused(bases["causal"], good, "does not fit tiny-llama.*size mismatch")


def test_another_rank_in_the_configuration(bases: dict[str, Path], good: Path) -> None:
    configure(good, r=8)
    _refused(bases["causal"], good, "does not fit tiny-llama.*size mismatch")


def test_unknown_target_modules(bases: dict[str, Path], good: Path) -> None:
    configure(good, target_modules=["no_such_projection"])
    _refused(bases["causal"], good, "does not fit tiny-llama")


def test_an_unknown_method(bases: dict[str, Path], good: Path) -> None:
    configure(good, peft_type="TELEPATHY")
    _refused(bases["causal"], good, "does not fit tiny-llama")


def test_an_adapter_for_another_architecture(bases: dict[str, Path], good: Path) -> None:
    _refused(bases["seq2seq"], good, "does not fit tiny-t5")


def test_an_error_inside_does_not_keep_the_adapter_on(bases: dict[str, Path], good: Path) -> None:
    loaded = load(bases["causal"])
    plain = scores(loaded.module, loaded)
    with pytest.raises(KeyError), attachment.attached(loaded, found(bases["causal"], good)):
        raise KeyError
    assert scores(loaded.module, loaded) == plain


def test_another_base_is_refused(bases: dict[str, Path], good: Path) -> None:
    source = cards.resolve(str(bases["causal"]))
    adapters.check_base(found(bases["causal"], good), source)
    for name in ("acme/other-llama", "/models/other-llama/"):
        configure(good, base_model_name_or_path=name)
        with pytest.raises(AdapterError, match="was trained for") as caught:
            adapters.check_base(found(bases["causal"], good), source)
        assert "--any-base" in caught.value.remedy


@pytest.mark.parametrize("name", ["TINY-llama", "acme/tiny-llama", "/elsewhere/tiny-llama/", "", None])
def test_the_same_base_under_another_path_is_accepted(bases: dict[str, Path], good: Path, name: str | None) -> None:
    configure(good, base_model_name_or_path=name)
    adapters.check_base(found(bases["causal"], good), cards.resolve(str(bases["causal"])))


def test_pickled_adapters_need_permission(bases: dict[str, Path], good: Path) -> None:
    base = bases["causal"]
    loaded = load(base)
    expected = with_adapter(loaded, found(base, good))
    torch.save(load_file(good / "adapter_model.safetensors"), good / "adapter_model.bin")
    (good / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match="only pickled weights"):
        found(base, good)
    with attachment.attached(loaded, found(base, good, pickles=True), pickles=True) as attached:
        assert scores(attached.module, loaded) == expected


def test_a_truncated_adapter_is_found_out_when_it_is_found(bases: dict[str, Path], good: Path) -> None:
    path = good / "adapter_model.safetensors"
    content = path.read_bytes()
    for size in [*range(0, len(content), 64), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(AdapterError, match=r"adapter_model\.safetensors is (truncated|empty)"):
            found(bases["causal"], good)


@pytest.mark.parametrize("content", ["", '{"peft_ty', "[]", "{}", '{"peft_type": 3}'])
def test_a_truncated_configuration_of_an_adapter(bases: dict[str, Path], good: Path, content: str) -> None:
    (good / "adapter_config.json").write_text(content)
    with pytest.raises(AdapterError, match=r"adapter_config\.json"):
        found(bases["causal"], good)


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_with_a_value_that_is_no_number(bases: dict[str, Path], good: Path, value: float, pickled: bool) -> None:
    path = good / "adapter_model.safetensors"
    stored = load_file(path)
    adapters.check_finite(found(bases["causal"], good))
    name = sorted(stored)[1]
    stored[name].view(-1)[3] = value
    if pickled:
        path.unlink()
        path = good / "adapter_model.bin"
        torch.save(stored, path)
    else:
        save_file(stored, path, {"format": "pt"})
    with pytest.raises(AdapterError, match=rf"{path.name}: the tensor {name} holds NaN or infinite values"):
        adapters.check_finite(found(bases["causal"], good, pickles=pickled), pickles=pickled)


def test_a_truncated_pickle(bases: dict[str, Path], good: Path) -> None:
    (good / "adapter_model.safetensors").unlink()
    (good / "adapter_model.bin").write_bytes(b"PK\x03\x04")
    with pytest.raises(AdapterError, match=r"adapter_model\.bin cannot be read"):
        adapters.check_finite(found(bases["causal"], good, pickles=True), pickles=True)


def test_folders_that_hold_no_adapter(bases: dict[str, Path], good: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"no adapter_config\.json"):
        found(bases["causal"], bases["causal"])
    (good / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match="no weights"):
        found(bases["causal"], good)
    (good / "adapter_config.json").write_text("[]")
    with pytest.raises(AdapterError, match="it has no peft_type"):
        found(bases["causal"], good)
    with pytest.raises(AdapterError, match="not an adapter card, a local folder or a Hub id"):
        found(bases["causal"], Path("nothing-like-it"))


def test_a_card_gives_each_base_its_weights(bases: dict[str, Path], good: Path, in_tmp: Path) -> None:
    (in_tmp / "adapters").mkdir()
    shutil.copytree(good, in_tmp / "adapters" / "weights")
    (in_tmp / "adapters" / "mine.yaml").write_text("name: mine\nweights: {tiny-llama: weights}\n")
    adapter = found(bases["causal"], Path("mine"))
    assert (adapter.name, adapter.digest) == ("mine", found(bases["causal"], good).digest)
    with pytest.raises(AdapterError, match="no weights for tiny-t5"):
        found(bases["seq2seq"], Path("mine"))
    with pytest.raises(AdapterError) as caught:
        found(bases["causal"], Path("mien"))
    assert "mine" in caught.value.remedy
