"""The plan of shared prefixes: everything is asked once, budgets hold, and nothing that is shared is laid out twice."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import ScoreChoices, TokenIds
from harness.engine.transformers.packing import attention, lay_out
from harness.engine.transformers.planning import Planned, rows_of
from harness.engine.transformers.prefixes import Pass, flat_size, packed_row_size, plan_passes
from harness.util.sequences import common_prefix

TOKENS = st.lists(st.integers(3, 5), min_size=1, max_size=12).map(tuple)
CHOICES = st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)
QUESTIONS = st.lists(st.tuples(TOKENS, CHOICES), max_size=12)


def planned(questions: Sequence[tuple[TokenIds, Sequence[TokenIds]]]) -> list[Planned]:
    requests = [ScoreChoices(f"q{number:03}", context, tuple(choices)) for number, (context, choices) in enumerate(questions)]
    return [Planned(request, rows_of(request, None)) for request in requests]


@given(QUESTIONS, st.integers(1, 60), st.integers(1, 40), st.integers(1, 50))
def test_every_request_is_in_one_packed_row_within_the_budgets(
    questions: list[tuple[TokenIds, list[TokenIds]]], budget: int, packed_row: int, kept: int
) -> None:
    wanted = planned(questions)
    passes = plan_passes(wanted, budget, packed_row, kept)
    assert sorted(one.request.id for batch in passes for one in batch.requests) == [one.request.id for one in wanted]
    for batch in passes:
        sizes = [packed_row_size(one, batch.skip) for one in batch.packed_rows]
        for one, size in zip(batch.packed_rows, sizes, strict=True):
            assert size <= min(packed_row, budget) or len(one) == 1
            assert sum(row.selected for some in one for row in some.rows) <= kept or len(one) == 1
        assert len(sizes) * max(sizes) <= budget or len(sizes) == 1
        prefix = tuple(token for piece in batch.prefix for token in piece)
        for request in batch.requests:
            for row in request.rows:
                assert row.tokens[: len(prefix)] == prefix
                assert row.start >= len(prefix)


@given(QUESTIONS, st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_the_input(questions: list[tuple[TokenIds, list[TokenIds]]], rng: random.Random) -> None:
    wanted = planned(questions)
    shuffled = rng.sample(wanted, len(wanted))
    assert plan_passes(shuffled, 40, 20, 50) == plan_passes(wanted, 40, 20, 50)


@given(st.lists(TOKENS, min_size=1, max_size=10))
def test_the_size_is_the_number_of_distinct_beginnings(sequences: list[TokenIds]) -> None:
    beginnings = {sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)}
    assert flat_size(sorted(sequences)) == len(beginnings)


@given(TOKENS, TOKENS)
def test_common_prefix(one: TokenIds, other: TokenIds) -> None:
    assert common_prefix(one, other) == next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def computed(passes: list[Pass]) -> int:
    """Tokens that the forwards run, held prefixes once for as long as they stay."""
    total = 0
    before: tuple[TokenIds, ...] = ()
    for batch in passes:
        kept = next((n for n, (a, b) in enumerate(zip(before, batch.prefix, strict=False)) if a != b), min(len(before), len(batch.prefix)))
        total += sum(map(len, batch.prefix[kept:])) + sum(packed_row_size(packed_row, batch.skip) for packed_row in batch.packed_rows)
        before = batch.prefix
    return total


def test_few_shot_headers_are_held_once_and_levels_within_levels() -> None:
    rng = random.Random(3)
    system = tuple(rng.randrange(3, 999) for _ in range(50))
    headers = [tuple(rng.randrange(3, 999) for _ in range(300)) for _ in range(3)]
    questions = [(system + header + tuple(rng.randrange(3, 999) for _ in range(60)), [(7,), (8,)]) for header in headers for _ in range(40)]
    passes = plan_passes(planned(questions), 512, 512, 10_000)
    assert {len(batch.prefix) for batch in passes} == {2}
    assert {batch.prefix[0] for batch in passes} == {system}
    assert 8140 <= computed(passes) <= 50 + 3 * (300 + 40 * 60)


def test_what_a_few_tokens_share_is_not_held() -> None:
    rng = random.Random(4)
    questions = [((9, 9, *(rng.randrange(10, 999) for _ in range(100))), [(7,)]) for _ in range(20)]
    passes = plan_passes(planned(questions), 512, 512, 10_000)
    assert {batch.prefix for batch in passes} == {()}
    assert len(passes) == 4


@pytest.mark.parametrize("prefix", [0, 2])
@given(sequences=st.lists(TOKENS, min_size=1, max_size=6))
def test_each_token_sees_its_own_sequence_and_nothing_else(prefix: int, sequences: list[TokenIds]) -> None:
    sequences = [(8,) * prefix + sequence for sequence in sequences]
    packed_row = lay_out(sequences, prefix)
    seen = attention([packed_row, lay_out([(8,) * prefix + (3,) * 15], prefix)], prefix)[0]
    for sequence, path in zip(sequences, packed_row.paths, strict=True):
        assert tuple(packed_row.tokens[path]) == sequence[prefix:]
        assert list(packed_row.positions[path]) == list(range(prefix, len(sequence)))
        for place, index in enumerate(path):
            expected = np.concatenate([np.arange(prefix), prefix + path[: place + 1]])
            assert set(np.flatnonzero(seen[index])) == set(expected)
    assert all(seen[row].any() for row in range(len(seen)))
