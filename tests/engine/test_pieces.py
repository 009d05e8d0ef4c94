"""Pieces of work: every batch to one worker at a time, whole, and back when the worker ends."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from harness.contract import Generate, ScoreChoices
from harness.engine.pieces import Batch, BatchCost, Pieces, WorkPiece, planned_costs, ranges
from harness.errors import ModelError


def batches(number: int, seed: int = 0) -> tuple[list[tuple[str, ...]], dict[str, float]]:
    """Batches of one to five requests, with costs."""
    chance = random.Random(seed)
    made = [tuple(f"{place}.{part}" for part in range(chance.randint(1, 5))) for place in range(number)]
    return made, {name: chance.randint(1, 900) for batch in made for name in batch}


def whole(made: list[Batch], costs: Mapping[str, float]) -> dict[Batch, BatchCost]:
    return {batch: BatchCost(sum(costs[name] for name in batch)) for batch in made}


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("seed", range(5))
def test_every_request_is_answered_once_whatever_dies(workers: int, seed: int) -> None:
    made, costs = batches(60, seed)
    chance = random.Random(seed)
    pieces = Pieces(made, whole(made, costs), workers)
    busy: dict[int, WorkPiece] = {}
    answered: list[str] = []
    deaths = 0
    while pieces.waiting or busy:
        for worker in range(workers):
            if worker not in busy and (piece := pieces.take(worker)) is not None:
                busy[worker] = piece
        worker = chance.choice(sorted(busy))
        piece = busy.pop(worker)
        finished = chance.randint(0, len(piece.batches)) if deaths < 2 else len(piece.batches)
        for batch in piece.batches[:finished]:
            answered += batch
            pieces.answered(batch)
        if finished < len(piece.batches):
            deaths += 1
            pieces.lost(worker, piece)
    assert sorted(answered) == sorted(costs)


def test_what_is_answered_already_is_not_handed_out() -> None:
    made, costs = batches(20)
    done = {name for batch in made[:10] for name in batch} | {made[10][0]}
    pieces = Pieces(made, whole(made, costs), 2, done)
    handed: list[tuple[str, ...]] = []
    while (piece := pieces.take(0)) is not None:
        handed += piece.batches
    assert sorted(handed) == sorted(batch for batch in made if not done.issuperset(batch))


def test_each_worker_computes_a_range_in_the_order_of_the_plan_in_smaller_and_smaller_pieces() -> None:
    made: list[Batch] = [(f"{place}",) for place in range(400)]
    pieces = Pieces(made, dict.fromkeys(made, BatchCost(1.0)), 4)
    sizes: list[int] = []
    handed: list[tuple[str, ...]] = []
    while len(handed) < 100:
        piece = pieces.take(1)
        assert piece is not None
        sizes.append(len(piece.batches))
        handed += piece.batches
    assert handed == made[100:200]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (6, 1)


def test_a_worker_that_has_finished_takes_half_of_the_largest_range() -> None:
    made: list[Batch] = [(f"{place}",) for place in range(40)]
    pieces = Pieces(made, dict.fromkeys(made, BatchCost(1.0)), 2)
    own = 0
    while own < 20:
        piece = pieces.take(0)
        assert piece is not None
        own += len(piece.batches)
    stolen = pieces.take(0)
    assert stolen is not None
    assert stolen.batches[0] == ("30",)
    rest: list[tuple[str, ...]] = [*stolen.batches]
    while (piece := pieces.take(1)) is not None:
        rest += piece.batches
    assert sorted(rest) == sorted(made[20:])


def test_a_batch_that_several_workers_did_not_survive_is_named() -> None:
    made: list[Batch] = [("a",), ("b", "c"), ("d",)]
    pieces = Pieces(made, dict.fromkeys(made, BatchCost(1.0)), 1)
    handed: list[tuple[str, ...]] = []
    for _ in range(2):
        while (piece := pieces.take(0)) is not None and ("b", "c") not in piece.batches:
            handed += piece.batches
            pieces.answered(piece.ids)
        assert piece is not None
        pieces.lost(0, piece)
    piece = pieces.take(0)
    assert piece is not None
    assert handed == [("a",), ("d",)]
    with pytest.raises(ModelError, match="3 workers ended while they computed b and 1 more"):
        pieces.lost(0, piece)


@pytest.mark.parametrize("number", [1, 3, 8, 300])
def test_ranges_are_whole_batches_in_order_of_nearly_equal_cost(number: int) -> None:
    made, costs = batches(200)
    of_batches = whole(made, costs)
    parts = ranges(made, of_batches, number)
    assert len(parts) == number
    assert [batch for part in parts for batch in part] == made
    totals = [sum(of_batches[batch].own for batch in part) for part in parts]
    largest = max(cost.own for cost in of_batches.values())
    assert max(totals) <= max(largest, sum(totals) / number + largest)


def test_a_range_pays_for_the_header_that_it_begins_in() -> None:
    made: list[Batch] = [(f"{place}",) for place in range(12)]
    costs = {batch: BatchCost(10.0, 0.0 if place % 6 == 0 else 30.0) for place, batch in enumerate(made)}
    assert [len(part) for part in ranges(made, costs, 2)] == [6, 6]
    assert [len(part) for part in ranges(made, costs, 3)] == [6, 6, 0]


def test_a_prompt_costs_what_the_one_before_it_does_not_begin_with() -> None:
    header = tuple(range(100))
    scored = [ScoreChoices(f"{place}", (*header, place, place), ((1,), (2,))) for place in range(3)]
    generated = Generate("text", (7, 8, 9), max_new_tokens=5, beams=2)
    plan: list[Batch] = [("1", "0"), ("2",), ("text",)]
    costs = planned_costs(plan, [*scored, generated])
    assert costs == {("1", "0"): BatchCost(108, 0), ("2",): BatchCost(4, 100), ("text",): BatchCost(13, 0)}
    assert planned_costs(plan, [*scored, generated], {"0", "text"}) == {**costs, ("1", "0"): BatchCost(104, 0), ("text",): BatchCost(0, 0)}
