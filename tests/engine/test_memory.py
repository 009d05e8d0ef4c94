"""Out of memory: halved, counted, remembered, and no answer moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from harness.contract import ChoiceScores, Generate, ScoreChoices, Usage
from harness.engine.transformers.memory import Halving, OutOfMemoryError, is_out_of_memory
from tests.engine.architectures import engine, questions
from tests.engine.conftest import Tiny
from tests.engine.test_scoring import scores


@contextmanager
def small_device(module: Any, limit: int) -> Iterator[list[int]]:
    """A module that refuses more than `limit` token ids at a time; yields the sizes that were tried."""
    tried: list[int] = []

    def check(_: Any, __: Any, given: dict[str, Any]) -> None:
        size = max(ids.numel() for name in ("input_ids", "decoder_input_ids") if (ids := given.get(name)) is not None)
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    handle = module.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield tried
    finally:
        handle.remove()


@pytest.mark.parametrize(("name", "limit"), [("llama", 120), ("t5", 200)])
def test_scores_do_not_move(tiny: Tiny, name: str, limit: int) -> None:
    loaded, requests = tiny(name), questions(7, 24)
    plain, cramped = engine(loaded), engine(loaded)
    expected = scores(plain, requests)
    with small_device(loaded.module, limit) as tried:
        found = scores(cramped, requests)
    assert max(tried) > limit
    assert cramped.usage.out_of_memory == sum(size > limit for size in tried)
    assert set(found) == set(expected)
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=1e-5)


def test_tokens_that_were_not_computed_are_not_counted(tiny: Tiny) -> None:
    loaded, requests = tiny("llama"), questions(7, 24)
    plain, cramped = engine(loaded), engine(loaded)
    list(plain.score(requests))
    with small_device(loaded.module, 120):
        list(cramped.score(requests))
    assert cramped.usage.requested_tokens == plain.usage.requested_tokens
    assert plain.usage.prefill_tokens < cramped.usage.prefill_tokens < plain.usage.requested_tokens


def test_a_question_larger_than_memory_is_split_between_its_choices(tiny: Tiny) -> None:
    loaded = tiny("llama")
    question = ScoreChoices("q", tuple(range(10, 30)), tuple((3 + n, 4 + n, 5 + n) for n in range(6)))
    expected = next(engine(loaded).score([question]))[0]
    with small_device(loaded.module, 2 * 22):
        found = next(engine(loaded).score([question]))[0]
    assert isinstance(expected, ChoiceScores)
    assert isinstance(found, ChoiceScores)
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-5)


def test_a_size_that_did_not_fit_is_not_tried_again(tiny: Tiny) -> None:
    loaded = tiny("llama")
    computed = engine(loaded)
    with small_device(loaded.module, 120) as tried:
        list(computed.score(questions(7, 24)))
        failures, first = computed.usage.out_of_memory, len(tried)
        list(computed.score(questions(8, 24)))
    assert failures > 0
    assert all(size <= 120 for size in tried[first:])
    assert computed.usage.out_of_memory == failures


def test_generation_is_halved_too(tiny: Tiny) -> None:
    loaded = tiny("llama")
    requests = [Generate(f"g{n}", tuple(range(5, 9 + n % 4)), 6) for n in range(16)]
    plain, cramped = engine(loaded), engine(loaded)
    expected = {response.id: response for batch in plain.generate(requests) for response in batch}
    with small_device(loaded.module, 10):
        found = {response.id: response for batch in cramped.generate(requests) for response in batch}
    assert found == expected
    assert cramped.usage.out_of_memory > 0


def test_a_single_sequence_that_does_not_fit_is_an_error(tiny: Tiny) -> None:
    loaded = tiny("llama")
    with small_device(loaded.module, 0), pytest.raises(OutOfMemoryError, match="single sequence"):
        list(engine(loaded).score(questions(7, 4)))


def test_other_failures_are_not_swallowed() -> None:
    def broken(_: Any) -> list[int]:
        raise ValueError("a bug")

    usage = Usage()
    with pytest.raises(ValueError, match="a bug"):
        Halving(usage).run([1, 2, 3], len, broken)
    assert usage.out_of_memory == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. Error code 12: not enough memory"), True),
        (RuntimeError("CUDA out of memory."), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
