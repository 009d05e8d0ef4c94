"""A model, and the random state around it, put back exactly as they were before an evaluation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any


@contextmanager
def as_it_was(model: Any) -> Iterator[None]:
    """Put a model back, and the random state with it, when the block ends.

    Restored are, of every submodule: training mode, attributes, registered hooks, buffers and submodules; of every parameter:
    `requires_grad`; every configuration; which adapters are active; and the random state of Python, NumPy and torch on every device.
    Values of weights are not copied: the block must not write to them.

    Args:
        model: a transformers model, or a peft model around one.
    """
    owners = list(_owners(model))
    states = [_State.of(owner) for owner in owners]
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    chance = _RandomState.now()
    try:
        yield
    finally:
        for owner, state in zip(owners, states, strict=True):
            state.restore(owner)
        for parameter, requires_grad in trained:
            parameter.requires_grad_(requires_grad)
        chance.restore()


@dataclass(frozen=True)
class _State:
    """An object's attributes, and what stands in those that are containers."""

    attributes: dict[str, Any]
    contents: dict[str, Any]

    @classmethod
    def of(cls, owner: Any) -> _State:
        attributes = dict(vars(owner))
        return cls(attributes, {name: copy(value) for name, value in attributes.items() if isinstance(value, (dict, list, set))})

    def restore(self, owner: Any) -> None:
        vars(owner).clear()
        vars(owner).update(self.attributes)
        for name, content in self.contents.items():
            container = self.attributes[name]
            container.clear()
            if isinstance(container, list):
                container.extend(content)
            else:
                container.update(content)


def _owners(model: Any) -> Iterator[Any]:
    """Every submodule, and every configuration that one of them holds; each once."""
    seen: set[int] = set()
    waiting = list(model.modules())
    kinds = _configurations()
    while waiting:
        owner = waiting.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        yield owner
        for value in vars(owner).values():
            inner = value.values() if isinstance(value, dict) else (value,)
            waiting += [entry for entry in inner if isinstance(entry, kinds)]


def _configurations() -> tuple[type, ...]:
    from importlib.util import find_spec

    from transformers import GenerationConfig, PreTrainedConfig

    if find_spec("peft") is None:
        return (GenerationConfig, PreTrainedConfig)
    from peft import PeftConfig

    return (GenerationConfig, PreTrainedConfig, PeftConfig)


@dataclass(frozen=True)
class _RandomState:
    """The random state of Python, NumPy and torch."""

    python: object
    numpy: Any
    torch: Any
    cuda: Any
    mps: Any

    @classmethod
    def now(cls) -> _RandomState:
        import numpy as np
        import torch

        in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        cuda = torch.cuda.get_rng_state_all() if in_use else None
        mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda, mps)

    def restore(self) -> None:
        import numpy as np
        import torch

        random.setstate(self.python)  # type: ignore[arg-type]  # what getstate returned
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
        if self.mps is not None:
            torch.mps.set_rng_state(self.mps)
