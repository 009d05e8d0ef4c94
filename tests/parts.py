"""What tests of runs in parts evaluate: a model, an adapter for it, and a task of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.tasks.cases import content, write_rows, write_yaml
from tests.tiny import tiny_causal


def model_and_tasks(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write `model`, its adapter `tuned`, and the tasks `pick.yaml` (choices) and `write.yaml` (generation) over some rows."""
    tiny_causal(folder / "model")
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "model"), config)
    adapted.peft_config["default"].base_model_name_or_path = "model"
    adapted.save_pretrained(str(folder / "tuned"))
    write_rows(folder / "rows.jsonl", list(rows))
    write_yaml(folder / "pick.yaml", content(task="pick"))
    generation = {"answer": "generate", "choices": None, "target": "thing", "metrics": ["exact_match"], "generation": {"max_new_tokens": 5}}
    write_yaml(folder / "write.yaml", content(task="write", **generation))
    return folder
