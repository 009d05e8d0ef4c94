"""Pieces of work: every batch to one worker at a time, whole, and back when the worker ends."""

from __future__ import annotations

import random

import pytest

from harness.engine.pieces import Pieces, WorkPiece, shares
from harness.errors import ModelError


def batches(number: int, seed: int = 0) -> tuple[list[tuple[str, ...]], dict[str, float]]:
    """Batches of one to five requests, with costs."""
    chance = random.Random(seed)
    made = [tuple(f"{place}.{part}" for part in range(chance.randint(1, 5))) for place in range(number)]
    return made, {name: chance.randint(1, 900) for batch in made for name in batch}


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("seed", range(5))
def test_every_request_is_answered_once_whatever_dies(workers: int, seed: int) -> None:
    made, costs = batches(60, seed)
    chance = random.Random(seed)
    pieces = Pieces(made, costs, workers)
    busy: list[WorkPiece] = []
    answered: list[str] = []
    deaths = 0
    while not pieces.finished:
        while len(busy) < workers and (piece := pieces.take()) is not None:
            busy.append(piece)
        piece = busy.pop(chance.randrange(len(busy)))
        finished = chance.randint(0, len(piece.batches)) if deaths < 2 else len(piece.batches)
        for batch in piece.batches[:finished]:
            answered += batch
            pieces.answered(batch)
        if finished < len(piece.batches):
            deaths += 1
            pieces.lost(piece)
    assert sorted(answered) == sorted(costs)
    assert not busy


def test_what_is_answered_already_is_not_handed_out() -> None:
    made, costs = batches(20)
    done = {name for batch in made[:10] for name in batch} | {made[10][0]}
    pieces = Pieces(made, costs, 2, done)
    handed: list[tuple[str, ...]] = []
    while (piece := pieces.take()) is not None:
        handed += piece.batches
    assert handed == [batch for batch in made if not done.issuperset(batch)]


def test_pieces_get_smaller() -> None:
    made = [(f"{place}",) for place in range(1000)]
    pieces = Pieces(made, {f"{place}": 1.0 for place in range(1000)}, 4)
    sizes = []
    while (piece := pieces.take()) is not None:
        sizes.append(len(piece.batches))
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (125, 1)


def test_a_batch_that_several_workers_did_not_survive_is_named() -> None:
    pieces = Pieces([("a",), ("b", "c"), ("d",)], dict.fromkeys("abcd", 1.0), 1)
    handed: list[tuple[str, ...]] = []
    for _ in range(2):
        while (piece := pieces.take()) is not None and ("b", "c") not in piece.batches:
            handed += piece.batches
            pieces.answered(piece.ids)
        assert piece is not None
        pieces.lost(piece)
    piece = pieces.take()
    assert piece is not None
    assert handed == [("a",), ("d",)]
    with pytest.raises(ModelError, match="3 workers ended while they computed b and 1 more"):
        pieces.lost(piece)


@pytest.mark.parametrize("number", [1, 3, 8])
def test_shares_are_whole_batches_of_nearly_equal_cost(number: int) -> None:
    made, costs = batches(200)
    parts = shares(made, costs, number)
    assert sorted(batch for part in parts for batch in part) == sorted(made)
    totals = [sum(costs[name] for batch in part for name in batch) for part in parts]
    assert max(totals) - min(totals) <= max(sum(costs[name] for name in batch) for batch in made)
    assert shares(list(reversed(made)), costs, number) == parts
