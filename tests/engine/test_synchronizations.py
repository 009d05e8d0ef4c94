"""How often the host reads values off tensors, each of which would hold up a GPU, and how many operators a step launches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from harness.contract import Generate
from harness.engine.transformers.decode_slots import CausalDecodeSlots, DecodeSlots, Seq2SeqDecodeSlots, Waiting
from harness.engine.transformers.engine import TransformersEngine
from tests.engine.architectures import engine, questions
from tests.engine.conftest import Tiny
from tests.engine.test_scoring import scores
from tests.engine.test_sharing import few_shot

LAYERS = 2
"""Of each model here, in its decoder."""

_READS = {
    getattr(torch.Tensor, name): name for name in ("item", "tolist", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__")
} | {torch.nonzero: "nonzero", torch.masked_select: "masked_select", torch.equal: "equal"}


@dataclass
class Counted:
    """Reads by name, and operators that compute; views are not among them."""

    reads: Counter[str] = field(default_factory=Counter)
    launches: int = 0


class _Reads(TorchFunctionMode):
    """Counts reads of values, and of shapes that depend on values."""

    def __init__(self, counted: Counted) -> None:
        super().__init__()
        self.counted = counted

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count a call."""
        if function in _READS:
            self.counted.reads[_READS[function]] += 1
        elif function is torch.Tensor.__getitem__ and isinstance(args[1], torch.Tensor) and args[1].dtype == torch.bool:
            self.counted.reads["boolean index"] += 1
        return function(*args, **(kwargs or {}))


class _Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators that compute."""

    def __init__(self, counted: Counted) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted = counted

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operator."""
        returns = operator._schema.returns
        self.counted.launches += not all(entry.alias_info is not None and not entry.alias_info.is_write for entry in returns)
        return operator(*args, **(kwargs or {}))


@contextmanager
def counting() -> Iterator[Counted]:
    """Count while active."""
    counted = Counted()
    with _Reads(counted), _Launches(counted):
        yield counted


def prepared(tiny: Tiny, name: str) -> TransformersEngine:
    """An engine that computes as it would on a GPU, which has no kernel for blocks."""
    made = engine(tiny(name), 128, packed_row=64)
    if made.architecture == "causal":
        made._causal.blocks = False
    return made


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "t5", "bart"])
def test_a_batch_is_read_once(tiny: Tiny, name: str) -> None:
    made, requests = prepared(tiny, name), few_shot(1) + questions(2, 8)
    batches = len(made._scoring(requests))
    before = made.usage.batches
    with counting() as counted:
        scores(made, requests)
    assert batches == made.usage.batches - before
    assert 0 < counted.reads.total() <= batches


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "t5", "bart"])
def test_a_step_is_read_once(tiny: Tiny, name: str) -> None:
    made = prepared(tiny, name)
    requests = [Generate(question.id, question.context[:40], 8) for question in few_shot(1)]
    with counting() as counted:
        texts = [text for batch in made.generate(requests) for text in batch]
    assert len(texts) == len(requests)
    assert 0 < counted.reads.total() <= made.usage.steps.passes + made.usage.batches


@pytest.mark.parametrize(("name", "most"), [("llama", 50), ("gpt2", 25), ("qwen3", 65), ("t5", 65), ("bart", 40)])
def test_a_step_launches_few_operators_for_each_layer(tiny: Tiny, name: str, most: int) -> None:
    """What one step launches, over its layers: a loop over rows or tokens would launch more with more rows."""
    made = prepared(tiny, name)
    launches = {}
    for rows in (2, 8):
        requests = [Generate(f"{rows} {number}", question.context[:20], 40) for number, question in enumerate(few_shot(1)[:rows])]
        slots: DecodeSlots = CausalDecodeSlots(made._causal, 8, 80, 4096)
        if made.architecture == "seq2seq":
            slots = Seq2SeqDecodeSlots(made._seq2seq, 8, 40, 40, 4096, anytime=False, boolean=True)
        slots.admit([Waiting(request) for request in requests])
        slots.step([5] * rows)
        with counting() as counted:
            slots.step([6] * rows)
        launches[rows] = counted.launches
    assert launches[2] == launches[8]
    assert launches[8] <= most * LAYERS
