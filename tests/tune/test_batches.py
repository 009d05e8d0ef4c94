"""Which pairs a step learns, and how they become tensors."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Literal

import pytest
import torch

from harness.tune.batches import IGNORED, Collator, Steps, plan, split
from harness.tune.loss import completion_tokens
from harness.tune.pairs import TrainingPair

PAIRS = [TrainingPair(tuple(range(10, 10 + n)), tuple(range(50, 51 + n % 3))) for n in range(2, 22)]


def planned(seed: int = 0, tokens: int = 40, epochs: float = 1, max_steps: int | None = None) -> list[list[int]]:
    return plan(PAIRS, seed, tokens, epochs, max_steps)


def test_an_epoch_goes_through_every_pair_once_within_the_budget() -> None:
    steps = planned()
    assert sorted(chain.from_iterable(steps)) == list(range(20))
    assert all(sum(PAIRS[index].tokens for index in step) <= 40 for step in steps)
    assert all(sum(PAIRS[index].tokens for index in step) + PAIRS[after[0]].tokens > 40 for step, after in pairwise(steps))


def test_the_order_is_the_seeds() -> None:
    assert planned(seed=1) == planned(seed=1) != planned(seed=2)
    twice = planned(epochs=2)
    assert twice[: len(planned())] == planned()
    assert twice[len(planned()) :] != planned()


def test_a_pair_longer_than_the_budget_is_a_step_of_its_own() -> None:
    assert [len(step) for step in planned(tokens=1)] == [1] * 20


def test_epochs_and_steps() -> None:
    whole = len(planned())
    assert len(planned(epochs=0.5)) == round(whole / 2)
    assert len(planned(epochs=0.0001)) == 1
    assert planned(max_steps=3) == planned()[:3]
    assert len(planned(epochs=1, max_steps=3 * whole)) == 3 * whole


def test_labels_outside_the_completion_are_masked() -> None:
    pairs = PAIRS[:5]
    causal = Collator("causal", 0)([pairs])
    assert causal["input_ids"].shape == causal["labels"].shape == causal["attention_mask"].shape
    assert int((causal["labels"] != IGNORED).sum()) == sum(len(pair.completion) for pair in pairs)
    for row, pair in enumerate(pairs):
        length = pair.tokens
        assert causal["input_ids"][row, :length].tolist() == [*pair.prompt, *pair.completion]
        assert causal["labels"][row, len(pair.prompt) : length].tolist() == list(pair.completion)
        assert set(causal["labels"][row, : len(pair.prompt)].tolist()) == {IGNORED}
        assert set(causal["labels"][row, length:].tolist()) <= {IGNORED}
        assert causal["attention_mask"][row].tolist() == [1] * length + [0] * (causal["input_ids"].shape[1] - length)
    other = Collator("seq2seq", 0)([pairs])
    assert int((other["labels"] != IGNORED).sum()) == sum(len(pair.completion) for pair in pairs)
    assert int(other["attention_mask"].sum()) == sum(len(pair.prompt) for pair in pairs)


def test_a_sequence_that_begins_with_its_completion_has_one_prediction_less() -> None:
    batch = Collator("causal", 0)([[TrainingPair((), (5, 6, 7)), TrainingPair((1,), (5,))]])
    assert completion_tokens(batch, "causal") == 3
    assert completion_tokens(Collator("seq2seq", 0)([[TrainingPair((1,), (5, 6, 7))]]), "seq2seq") == 3


@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
@pytest.mark.parametrize("tokens", [1, 30, 60, 10_000])
def test_pieces_hold_every_row_once_within_the_budget(architecture: Literal["causal", "seq2seq"], tokens: int) -> None:
    batch = Collator(architecture, 0)([PAIRS])
    pieces = split(batch, tokens, architecture)
    rows = []
    for piece in pieces:
        width = piece["input_ids"].shape[1] + (piece["labels"].shape[1] if architecture == "seq2seq" else 0)
        assert len(piece["input_ids"]) == 1 or len(piece["input_ids"]) * width <= tokens + len(piece["input_ids"]) * 2
        assert bool(piece["attention_mask"][:, -1].any())
        assert bool((piece["labels"][:, -1] != IGNORED).any())
        for ids, mask, labels in zip(piece["input_ids"], piece["attention_mask"], piece["labels"], strict=True):
            rows.append((ids[mask.bool()].tolist(), labels[labels != IGNORED].tolist()))
    expected = [([*p.prompt, *p.completion] if architecture == "causal" else [*p.prompt], [*p.completion]) for p in PAIRS]
    assert sorted(rows) == sorted(expected)
    assert (len(pieces) == len(PAIRS)) == (tokens == 1)
    assert (len(pieces) == 1) == (tokens == 10_000)


def test_the_data_set_gives_a_step_at_a_time() -> None:
    steps = Steps(PAIRS, planned())
    loader = torch.utils.data.DataLoader(steps, batch_size=1, collate_fn=Collator("causal", 0))
    assert [len(batch["labels"]) for batch in loader] == [len(step) for step in planned()]
