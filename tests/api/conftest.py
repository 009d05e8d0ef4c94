"""A folder with a task, beside tiny random models and an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.cases import ROWS, content, write_rows, write_yaml
from tests.tiny import tiny_causal

TASKS = "choose.yaml,write.yaml"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama."""
    return tiny_causal(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of the tiny model that changes its answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, init_lora_weights=False, task_type="CAUSAL_LM"))
    folder = tmp_path_factory.mktemp("adapters") / "lora"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def place(in_tmp: Path) -> Path:
    """The working folder, with a task of choices and one of generated texts."""
    write_rows(in_tmp / "rows.jsonl", ROWS)
    write_yaml(in_tmp / "choose.yaml", content(task="choose"))
    write_yaml(
        in_tmp / "write.yaml",
        content(
            task="write",
            answer="generate",
            choices=None,
            target="thing",
            metrics=["exact_match", "rouge1"],
            generation={"max_new_tokens": 4},
        ),
    )
    return in_tmp
