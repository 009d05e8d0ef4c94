"""Decoding without a KV cache: each step runs full forward passes. Slow, and correct for every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from harness.contract import Generate, Usage
from harness.engine.transformers.decode_slots import Rows, Waiting
from harness.engine.transformers.planning import SequenceRow


@dataclass
class UncachedDecodeSlots:
    """Decode slots that hold tokens instead of keys and values.

    Args:
        forward: a `CausalForward` or `Seq2SeqForward`, whose `plain` is the model's own forward.
        start: first token of the decoder of an encoder-decoder model, None for decoder-only models.
        capacity: rows at once.
    """

    forward: Any
    start: int | None
    capacity: int
    active: int = 0
    _rows: list[tuple[Generate, list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._repeats = replace(self.forward, usage=Usage())  # recomputed tokens are not counted as prompt tokens

    def refit(self, others: Sequence[Generate], rows: Rows) -> None:
        """Do nothing: there are no buffers to resize."""

    def admissible(self, queue: Sequence[Waiting]) -> int:
        """Return how many waiting requests fit."""
        return min(len(queue), self.capacity - self.active)

    def admit(self, entering: Sequence[Waiting]) -> torch.Tensor:
        """Run prompts; return logits [entering, vocabulary]."""
        fresh: list[tuple[Generate, list[int]]] = [(waiting.request, []) for waiting in entering]
        logits = self._last(self.forward, fresh)
        self._rows += fresh
        self.active = len(self._rows)
        return logits

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append a token to every row; return logits [active, vocabulary]."""
        for (_, answer), token in zip(self._rows, tokens, strict=True):
            answer.append(token)
        return self._last(self._repeats, self._rows)

    def drop(self, row: int) -> None:
        """The last row takes this one's number."""
        last = self._rows.pop()
        self.active = len(self._rows)
        if row < self.active:
            self._rows[row] = last

    def _last(self, forward: Any, rows: Sequence[tuple[Generate, list[int]]]) -> torch.Tensor:
        logits: torch.Tensor = forward.plain([self._row(request, answer) for request, answer in rows])[0]
        return logits

    def _row(self, request: Generate, answer: Sequence[int]) -> SequenceRow:
        source, lead = ((), request.context) if self.start is None else (request.context, (self.start,))
        tokens = (*lead, *answer)
        return SequenceRow(source, tokens, len(tokens) - 1, ())
