"""The state of a model in memory, and whether two states are equal to the last bit."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch


def snapshot(model: Any) -> dict[str, Any]:
    """Everything that an evaluation must leave as it was."""
    state: dict[str, Any] = {"weights": {name: value.clone() for name, value in model.state_dict().items()}}
    state["gradients"] = {name: None if value.grad is None else value.grad.clone() for name, value in model.named_parameters()}
    state["requires_grad"] = {name: value.requires_grad for name, value in model.named_parameters()}
    state["identity"] = {name: id(value) for name, value in model.named_parameters()}
    state["training"] = {name: part.training for name, part in model.named_modules()}
    attributes = {}
    for name, part in model.named_modules():
        for key, value in vars(part).items():
            attributes[f"{name}.{key}"] = dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value
    state["attributes"] = {key: value for key, value in attributes.items() if not isinstance(value, torch.Tensor)}
    state["config"] = deepcopy(model.config.to_dict())
    state["generation"] = deepcopy(model.generation_config.to_dict())
    state["active"] = list(getattr(model, "active_adapters", [])) if hasattr(model, "peft_config") else []
    return state


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return bool(torch.equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return bool(one == other)
