"""As in a notebook: a PeftModel is evaluated before and after ten training steps, and both evaluations are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import harness
from tests.states import equal, snapshot

pytestmark = pytest.mark.real

STEPS, MORE = 10, 2
TEXTS = [f"Question: which colour has the {thing}?\nAnswer: it is {colour}." for thing, colour in (("sky", "blue"), ("grass", "green"))]
TASKS = ["glue_sst2", "demo_dialogue"]


def notebook(folder: Path) -> tuple[Any, Any, torch.optim.Optimizer]:
    """A model with a fresh adapter, its tokenizer, and an optimizer."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)
    model = get_peft_model(base, config)
    return model, AutoTokenizer.from_pretrained(folder), torch.optim.AdamW(model.parameters(), lr=1e-3)


def trained(model: Any, tokenizer: Any, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """Losses of some steps in training mode."""
    batch = tokenizer(TEXTS, return_tensors="pt", padding=True)
    losses = []
    model.train()
    for _ in range(steps):
        loss = model(**batch, labels=batch["input_ids"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def test_a_model_is_evaluated_while_it_is_trained(smollm2: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, tokenizer, optimizer = notebook(smollm2)
    torch.manual_seed(1)
    expected = trained(model, tokenizer, optimizer, STEPS + MORE)

    model, tokenizer, optimizer = notebook(smollm2)
    torch.manual_seed(1)
    options: dict[str, Any] = {"tokenizer": tokenizer, "data": data, "limit": 10}
    model.train()
    untouched, random_state = snapshot(model), torch.get_rng_state()
    before = harness.evaluate(model, TASKS, output="before", **options)
    assert equal(untouched, snapshot(model))
    assert torch.equal(random_state, torch.get_rng_state())
    losses = trained(model, tokenizer, optimizer, STEPS)
    state, random_state = snapshot(model), torch.get_rng_state()
    after = harness.evaluate(model, TASKS, output="after", **options)
    assert equal(state, snapshot(model))
    assert torch.equal(random_state, torch.get_rng_state())
    losses += trained(model, tokenizer, optimizer, MORE)
    assert losses == expected
    assert losses[-1] < losses[0]

    comparison = harness.compare(before, after, target="demo_dialogue")
    assert set(comparison.verdicts) == set(TASKS)
    assert before.record.system.digest != after.record.system.digest
    assert len(comparison.to_pandas()) >= len(TASKS)
    assert "glue_sst2" in comparison._repr_html_()
