"""An engine with an adapter is used only if its scores match the model's own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.contract import ChoiceScores, Generate, Generation, ScoreChoices, Usage
from harness.engine.transformers.budget import Budget
from harness.engine.transformers.engine import TransformersEngine
from harness.engine.transformers.session import TransformersSession
from harness.engine.transformers.trust import trusted
from harness.errors import AdapterError
from harness.models import attachment
from harness.models.in_memory import InMemoryModel
from harness.models.loading import Loaded
from harness.models.opening import ModelOptions, open_memory
from tests.engine.architectures import engine, load, naive_logprob
from tests.models.test_adapters import configure, edit, found, lora, make, method

ACTIVE = (7, 8, 9)
QUESTIONS = [
    ScoreChoices("behind", (5, 6, 7, 8, 9, 11, 12), ((13,), (14, 15))),
    ScoreChoices("behind too", (5, 6, 7, 8, 9, 11, 30), ((13, 14, 16), (14, 15))),
    ScoreChoices("at the end", (5, 6, 40, 41, 7, 8, 9), ((13, 14), (15,))),
    ScoreChoices("nowhere", (5, 6, 7, 8, 11), ((13, 14), (15,))),
    ScoreChoices("alone", (7, 8, 9), ((13, 14), (15, 16, 17, 18))),
]


def scores(computed: TransformersEngine) -> dict[str, tuple[float, ...]]:
    collected: dict[str, tuple[float, ...]] = {}
    for batch in computed.score(QUESTIONS):
        for response in batch:
            assert isinstance(response, ChoiceScores)
            collected[response.id] = response.logprobs
    return collected


def alora(base: Path, folder: Path) -> Path:
    make(base, folder, lora("causal"))
    configure(folder, alora_invocation_tokens=list(ACTIVE))
    return folder


def opened(loaded: Loaded, module: Any) -> TransformersEngine:
    return trusted(TransformersEngine(module, loaded.tokenizer, loaded.architecture, Budget(64, 64)), "mine")


def test_an_alora_adapter_scores_as_in_pefts_forward(llama: Path, tmp_path: Path) -> None:
    folder, loaded = alora(llama, tmp_path / "alora"), load(llama)
    plain = scores(engine(loaded))
    with attachment.attached(loaded, found(llama, folder)) as attached:
        computed = opened(loaded, attached.module)
        mine = scores(computed)
        for one in QUESTIONS:
            expected = [naive_logprob(attached.module, "causal", one.context, choice) for choice in one.choices]
            assert mine[one.id] == pytest.approx(expected, abs=2e-5)
    assert mine["nowhere"] == pytest.approx(plain["nowhere"], abs=2e-5)
    assert all(abs(mine[key][0] - plain[key][0]) > 1e-3 for key in mine if key != "nowhere")
    assert [("aLoRA" in note, "Some of the prompts" in note) for note in computed.notes] == [(True, False), (True, True)]


def test_an_alora_adapter_is_right_where_its_tokens_hold_the_filler(llama: Path, tmp_path: Path) -> None:
    loaded = load(llama)
    pad = loaded.module.generation_config.pad_token_id
    folder = make(llama, tmp_path / "alora", lora("causal"))
    configure(folder, alora_invocation_tokens=[9, pad])
    questions = [ScoreChoices("short", (9, pad, 5, 9), ((13,),)), ScoreChoices("long", (4, 9, pad, 9, 5, 6, 7, 8), ((13,), (14, 15)))]
    with attachment.attached(loaded, found(llama, folder)) as attached:
        for batch in opened(loaded, attached.module).score(questions):
            for response in batch:
                assert isinstance(response, ChoiceScores)
                one = next(question for question in questions if question.id == response.id)
                expected = [naive_logprob(attached.module, "causal", one.context, choice) for choice in one.choices]
                assert response.logprobs == pytest.approx(expected, abs=2e-5)


def test_texts_of_an_alora_adapter_are_those_of_full_forwards(llama: Path, tmp_path: Path) -> None:
    folder, loaded = alora(llama, tmp_path / "alora"), load(llama)
    requests = [Generate(one.id, one.context, 5) for one in QUESTIONS]
    with attachment.attached(loaded, found(llama, folder)) as attached:
        answers = {answer.id: answer for batch in opened(loaded, attached.module).generate(requests) for answer in batch}
        for request in requests:
            answer, ids = answers[request.id], list(request.context)
            assert isinstance(answer, Generation)
            for token in answer.tokens:
                with torch.inference_mode():
                    assert int(attached.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()) == token
                ids.append(token)


@pytest.mark.parametrize(("name", "task"), [("lora", "causal"), ("prompt", "causal"), ("prefix", "causal"), ("lora", "seq2seq")])
def test_ordinary_adapters_are_trusted_as_they_are_and_the_check_costs_nothing(
    llama: Path, t5: Path, tmp_path: Path, name: str, task: str
) -> None:
    base = {"causal": llama, "seq2seq": t5}[task]
    loaded = load(base)
    with attachment.attached(loaded, found(base, make(base, tmp_path / "one", method(name, task)))) as attached:
        given = engine(replace(loaded, module=attached.module))
        computed = trusted(given, "mine")
        assert computed is given
        assert computed.usage == Usage()
        assert not computed.notes


def _shared(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Computes otherwise where positions are given, as sharing does."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = plain(*args, **kwargs)
        if kwargs.get("position_ids") is not None:
            output.logits = output.logits * 0.5
        return output

    return forward


def _filled(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Computes otherwise without an attention mask, as the engine calls it."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = plain(*args, **kwargs)
        if kwargs.get("attention_mask") is None:
            output.logits = output.logits * 0.5
        return output

    return forward


def test_where_sharing_gives_other_scores_nothing_is_shared(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(llama)
    right = scores(engine(loaded))
    monkeypatch.setattr(loaded.module, "forward", _shared(loaded.module.forward))
    computed = trusted(engine(loaded), "mine")
    assert not computed.abilities.share
    assert scores(computed) == {key: pytest.approx(values, abs=2e-5) for key, values in right.items()}


def test_where_no_way_gives_the_forwards_scores_it_is_refused(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(llama)
    monkeypatch.setattr(loaded.module, "forward", _filled(loaded.module.forward))
    with pytest.raises(AdapterError, match="With the adapter mine, the scores"):
        trusted(engine(loaded), "mine")


def test_an_adapter_that_overflows_is_named_before_anything_is_computed(llama: Path, tmp_path: Path) -> None:
    folder, loaded = make(llama, tmp_path / "one", lora("causal")), load(llama)
    edit(folder, lambda tensors: {name: value * 3e37 for name, value in tensors.items()})
    with (
        attachment.attached(loaded, found(llama, folder)) as attached,
        pytest.raises(AdapterError, match="those of the base alone are finite"),
    ):
        opened(loaded, attached.module)


def test_a_model_in_memory_is_checked_as_well_and_only_its_active_adapters_count(llama: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    loaded = load(llama)
    overflowing = make(llama, tmp_path / "one", lora("causal"))
    edit(overflowing, lambda tensors: {name: value * 3e37 for name, value in tensors.items()})
    model = PeftModel.from_pretrained(loaded.module, str(overflowing), adapter_name="large")
    model.load_adapter(str(alora(llama, tmp_path / "alora")), adapter_name="activated")
    memory = InMemoryModel(model, loaded.tokenizer)
    options = ModelOptions(model="", adapters=(None, "large", "activated"), chat=False)
    opening = open_memory(options, memory)
    session = TransformersSession(opening)
    base, large, activated = opening.adapters
    with session.engine(base) as computed:
        assert computed.abilities.share
    with pytest.raises(AdapterError, match="With the adapter large"), session.engine(large):
        pass
    with session.engine(activated) as computed:
        assert not computed.abilities.share
        assert any("aLoRA" in note for note in computed.notes)
