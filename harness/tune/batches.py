"""Which pairs a step learns, and how they become tensors."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import torch

from harness.tune.pairs import TrainingPair

IGNORED = -100
"""The label of positions that are not learned."""

Batch = Mapping[str, torch.Tensor]


def plan(pairs: Sequence[TrainingPair], seed: int, batch_tokens: int, epochs: float, max_steps: int | None) -> list[list[int]]:
    """The pairs of every step, decided by the seed alone.

    Each epoch goes through all pairs in an order of its own; a step takes pairs as they come while they are at most
    `batch_tokens` together, prompts and completions, padding left out.

    Args:
        pairs: what is learned.
        seed: seeds the order of every epoch.
        batch_tokens: tokens of a step; a longer pair is a step of its own.
        epochs: passes; 0.5 is the first half of the steps of one.
        max_steps: this many steps, whatever the epochs.
    """
    steps: list[list[int]] = []
    for epoch in count():
        own = list(_steps(_order(len(pairs), seed, epoch), pairs, batch_tokens))
        whole = max_steps is not None or epoch + 1 <= epochs
        steps += own if whole else own[: round((epochs - epoch) * len(own))]
        if len(steps) >= max_steps if max_steps is not None else epoch + 1 >= epochs:
            break
    return steps[:max_steps] or [own[0]]


def _order(pairs: int, seed: int, epoch: int) -> list[int]:
    order = list(range(pairs))
    random.Random(f"{seed}/order/{epoch}").shuffle(order)
    return order


def _steps(order: Sequence[int], pairs: Sequence[TrainingPair], batch_tokens: int) -> Iterator[list[int]]:
    step: list[int] = []
    tokens = 0
    for index in order:
        if step and tokens + pairs[index].tokens > batch_tokens:
            yield step
            step, tokens = [], 0
        step.append(index)
        tokens += pairs[index].tokens
    if step:
        yield step


@dataclass(frozen=True)
class Steps(torch.utils.data.Dataset[list[TrainingPair]]):
    """A data set whose n-th element is what the n-th step learns."""

    pairs: Sequence[TrainingPair]
    plan: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> list[TrainingPair]:
        return [self.pairs[index] for index in self.plan[step]]


@dataclass(frozen=True)
class Collator:
    """Pads pairs on the right into tensors [pairs, length].

    Decoder-only models read prompt and completion as one sequence, whose prompt is no label. Encoder-decoder models read
    the prompt as source; the labels are the completion. Called with one step's pairs in a list, as a loader of batch size 1 does.
    """

    architecture: Literal["causal", "seq2seq"]
    pad: int

    def __call__(self, steps: Sequence[Sequence[TrainingPair]]) -> dict[str, torch.Tensor]:
        """Token ids, attention mask and labels."""
        pairs = [pair for step in steps for pair in step]
        if self.architecture == "causal":
            inputs = [[*pair.prompt, *pair.completion] for pair in pairs]
            labels = [[IGNORED] * len(pair.prompt) + list(pair.completion) for pair in pairs]
        else:
            inputs = [list(pair.prompt) for pair in pairs]
            labels = [list(pair.completion) for pair in pairs]
        mask = [[1] * len(sequence) for sequence in inputs]
        return {"input_ids": _padded(inputs, self.pad), "attention_mask": _padded(mask, 0), "labels": _padded(labels, IGNORED)}


def _padded(sequences: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    length = max(map(len, sequences))
    return torch.tensor([[*sequence, *[filler] * (length - len(sequence))] for sequence in sequences])


def split(batch: Batch, tokens: int, architecture: Literal["causal", "seq2seq"]) -> list[dict[str, torch.Tensor]]:
    """A batch in micro-batches of at most that many tokens, padding included, rows of like length together; at least one row each."""
    source = batch["attention_mask"].sum(dim=1)
    target = (batch["labels"] != IGNORED).sum(dim=1)
    lengths = (source + target if architecture == "seq2seq" else source).tolist()
    pieces: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if pieces and lengths[pieces[-1][0]] * (len(pieces[-1]) + 1) <= tokens:
            pieces[-1].append(row)
        else:
            pieces.append([row])
    return [_rows(batch, piece) for piece in pieces]


def _rows(batch: Batch, rows: Sequence[int]) -> dict[str, torch.Tensor]:
    """Some rows of a batch, without the columns that are padding in all of them."""
    taken = {name: values[list(rows)] for name, values in batch.items()}
    width = int(taken["attention_mask"].sum(dim=1).max())
    learned = int((taken["labels"] != IGNORED).any(dim=0).nonzero().max()) + 1
    return {name: values[:, : learned if name == "labels" else width] for name, values in taken.items()}
