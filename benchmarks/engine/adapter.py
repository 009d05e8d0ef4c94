"""A LoRA adapter of rank 8 on queries and values, with random weights in both factors: what it computes does not matter, only how much.

Example: python -m benchmarks.engine.adapter MODEL FOLDER SEED
"""

from __future__ import annotations

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def main() -> None:
    """Make and save it."""
    model, folder, seed = sys.argv[1:]
    torch.manual_seed(int(seed))
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)


if __name__ == "__main__":
    main()
