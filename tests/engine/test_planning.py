"""Plans: every request once, budgets kept, rows shared exactly where one choice begins another."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from harness.contract import Generate, ScoreChoices, ScoreRequest, ScoreText
from harness.engine.transformers.generation import plan_generation
from harness.engine.transformers.planning import area, plan_scoring, rows_of

tokens = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)
contexts = st.lists(st.integers(0, 2), min_size=1, max_size=20).map(tuple)
contents = st.one_of(
    st.tuples(contexts, st.lists(tokens, min_size=1, max_size=6).map(tuple)),
    st.lists(st.tuples(contexts, tokens), min_size=1, max_size=3).map(tuple),
)
starts = st.one_of(st.none(), st.just(9))


def _request(number: int, content: object) -> ScoreRequest:
    match content:
        case (tuple() as first, tuple() as second) if isinstance(first[0], int):
            return ScoreChoices(f"r{number}", first, second)
        case tuple() as windows:
            return ScoreText(f"r{number}", windows)
    raise AssertionError(content)


requests_lists = st.lists(contents, max_size=20).map(lambda many: [_request(number, one) for number, one in enumerate(many)])


@given(requests_lists, starts, st.integers(1, 200), st.integers(1, 40))
def test_every_request_is_in_one_batch_and_budgets_hold(requests: list[ScoreRequest], start: int | None, budget: int, kept: int) -> None:
    batches = plan_scoring(requests, start, budget, kept)
    assert sorted(one.request.id for batch in batches for one in batch) == sorted(request.id for request in requests)
    for batch in batches:
        if len(batch) > 1:
            assert area([row for one in batch for row in one.rows]) <= budget
            assert sum(row.selected for one in batch for row in one.rows) <= kept


@given(requests_lists, starts, st.integers(1, 200), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_the_input(
    requests: list[ScoreRequest], start: int | None, budget: int, rng: random.Random
) -> None:
    shuffled = list(requests)
    rng.shuffle(shuffled)
    assert plan_scoring(shuffled, start, budget, 100) == plan_scoring(requests, start, budget, 100)


@given(contexts, st.lists(tokens, min_size=1, max_size=6), starts)
def test_rows_are_shared_exactly_where_one_choice_begins_another(
    context: tuple[int, ...], choices: list[tuple[int, ...]], start: int | None
) -> None:
    rows = rows_of(ScoreChoices("q", context, tuple(choices)), start)
    needed = {choice[:-1] for choice in choices}
    longest = [one for one in needed if not any(other != one and other[: len(one)] == one for other in needed)]
    assert len(rows) == len(longest)
    assert sorted(read.place for row in rows for read in row.reads) == list(range(len(choices)))
    lead = context if start is None else (start,)
    for row in rows:
        assert row.source == (() if start is None else context)
        assert row.start == len(lead) - 1
        assert row.start + row.selected == len(row.tokens)
        for read in row.reads:
            assert read.tokens == choices[read.place]
            assert row.tokens[: len(lead) + len(read.tokens) - 1] == lead + read.tokens[:-1]


def test_choices_of_one_token_are_one_row() -> None:
    rows = rows_of(ScoreChoices("q", (5, 6, 7), ((1,), (2,), (3,), (4,))), None)
    assert [row.tokens for row in rows] == [(5, 6, 7)]
    assert rows[0].selected == 1


def test_windows_of_a_text_are_rows_of_one_request() -> None:
    planned = plan_scoring([ScoreText("t", (((1,), (2, 3)), ((3,), (4, 5))))], None, 1, 1)
    assert [[[row.tokens for row in one.rows] for one in batch] for batch in planned] == [[[(1, 2), (3, 4)]]]


generations = st.lists(
    st.tuples(contexts, st.sampled_from([4, 8]), st.sampled_from([0.0, 0.0, 0.7])),
    max_size=20,
).map(lambda many: [Generate(f"g{n}", context, limit, temperature=heat) for n, (context, limit, heat) in enumerate(many)])


@given(generations, st.integers(1, 200), st.randoms(use_true_random=False))
def test_generation_plan(requests: list[Generate], budget: int, rng: random.Random) -> None:
    batches = plan_generation(requests, budget)
    assert sorted(one.id for batch in batches for one in batch) == sorted(one.id for one in requests)
    for batch in (many for many in batches if len(many) > 1):
        assert len({one.max_new_tokens for one in batch}) == 1
        assert all(one.temperature == 0 for one in batch)
        assert len(batch) * (max(len(one.context) for one in batch) + batch[0].max_new_tokens) <= budget
    shuffled = list(requests)
    rng.shuffle(shuffled)
    assert plan_generation(shuffled, budget) == batches


@given(generations, st.integers(1, 200))
def test_generation_plan_without_padding(requests: list[Generate], budget: int) -> None:
    batches = plan_generation(requests, budget, padded=False)
    assert sorted(one.id for batch in batches for one in batch) == sorted(one.id for one in requests)
    assert all(len({len(one.context) for one in batch}) == 1 for batch in batches)
