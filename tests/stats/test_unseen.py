"""What stayed unseen: kinds of items of which none was drawn do not pass for certainty, however many others change a little."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.bootstrap import FloatArray
from harness.stats.contrast import FEW, contrast, unseen_room
from harness.stats.discordant import unseen_share
from harness.stats.intervals import ScoreStatistics, mean_interval
from harness.stats.paired import compare
from harness.stats.pairs import MacroPairs, Pairs

SAMPLES = 200
MARGIN = 0.01


def ratio(totals: FloatArray) -> FloatArray:
    result: FloatArray = totals[..., 0] / totals[..., 1]
    return result


def table(values: FloatArray) -> FloatArray:
    return np.stack([values, np.ones(len(values))], axis=1)


def drawn(generator: np.random.Generator, items: int, jitter: float, lost: float, span: float = 1.0) -> Pairs:
    """Scores that all move by a hair, and a share of items that lose all of their 0.8."""
    before = np.full(items, 0.8)
    after = np.where(generator.random(items) < lost / 0.8, 0.0, before + generator.normal(0.0, jitter, items))
    return Pairs(table(before), table(after), ratio, span)


@pytest.mark.parametrize(("items", "jitter"), [(50, 0.003), (100, 0.003), (100, 0.02)])
def test_small_changes_everywhere_do_not_hide_a_few_that_lose_all(items: int, jitter: float) -> None:
    generator = np.random.default_rng(items)
    kept = 0
    for seed in range(SAMPLES):
        _, found = contrast(drawn(generator, items, jitter, MARGIN), seed=seed, resamples=300, threads=1)
        assert found is not None
        kept += found.low > -MARGIN
    assert kept / SAMPLES <= 0.05


@pytest.mark.parametrize("factor", [0.9, 0.95])
def test_a_multiple_of_the_baseline_is_not_passed_by_what_was_not_seen(factor: float) -> None:
    generator = np.random.default_rng(1)
    passed = 0
    for seed in range(SAMPLES):
        pairs = drawn(generator, 30, 0.01, (1 - factor) * 0.8)
        _, found = contrast(pairs, factor=factor, seed=seed, resamples=300, threads=1)
        assert found is not None
        passed += found.low >= 0
    assert passed / SAMPLES <= 0.025


def test_the_room_ends_where_the_largest_change_was_seen_often_enough() -> None:
    """Among 100 items 3.6 % may be of an unseen kind: 1 - 0.025 ** (1 / 100)."""
    before = np.full(100, 0.5)
    hair = Pairs(table(before), table(before + 0.001), ratio, 1.0)
    assert unseen_room(hair) == pytest.approx(unseen_share(100) * 0.999)
    flips = np.where(np.arange(100) < FEW, 1.0, 0.0)
    assert unseen_room(Pairs(table(np.zeros(100)), table(flips), ratio, 1.0)) == 0.0


def test_a_mean_over_many_tasks_is_not_widened_by_tasks_that_nobody_drew() -> None:
    """57 tasks of 100 items that all move a little: each task's room counts by its weight, and tasks themselves have none."""
    generator = np.random.default_rng(3)
    parts = tuple(drawn(generator, 100, 0.05, 0.0) for _ in range(57))
    scores = np.array([part.scores for part in parts])
    macro = MacroPairs(table(scores[:, 0]), table(scores[:, 1]), ratio, 1.0, parts, (1 / 57,) * 57, True)
    assert unseen_room(macro) == 0.0
    _, found = contrast(macro, resamples=300, threads=1)
    assert found is not None
    assert found.high - found.low < 0.02


def test_few_changes_of_an_unbounded_score_have_no_interval() -> None:
    before = np.full(100, 3.0)
    for changed in (0, 5):
        after = before + np.where(np.arange(100) < changed, 0.5, 0.0)
        assert compare(Pairs(table(before), table(after), ratio), resamples=100, permutations=100).interval is None
    after = before + np.linspace(0.01, 0.02, 100)
    assert compare(Pairs(table(before), table(after), ratio), resamples=100, permutations=100).interval is not None


def shares(*tasks: tuple[int, int]) -> list[list[ScoreStatistics]]:
    """Tasks of so many right of so many items."""
    return [[ScoreStatistics(table((np.arange(items) < right).astype(float)), ratio, None, (0.0, 1.0))] for right, items in tasks]


def test_a_task_of_ten_right_answers_is_not_certain_in_an_average() -> None:
    found = mean_interval(shares((10, 10), (500, 1000)), [1.0, 1.0])
    assert found is not None
    assert found.low < (0.95 + 0.5) / 2 - 0.02, "the first task may well be 0.9"


@pytest.mark.parametrize("sizes", [(10, 1000), (5, 10, 20, 500)])
def test_averages_with_a_small_task_near_its_end_cover(sizes: tuple[int, ...]) -> None:
    generator = np.random.default_rng(2)
    true = [0.95] + [0.5] * (len(sizes) - 1)
    covered: int = 0
    for seed in range(SAMPLES):
        tasks = [(int(generator.binomial(items, share)), items) for items, share in zip(sizes, true, strict=True)]
        found = mean_interval(shares(*tasks), [1.0] * len(sizes), seed=seed, resamples=300, threads=1)
        assert found is not None
        covered += found.low <= float(np.mean(true)) <= found.high
    assert covered / SAMPLES >= 0.92


def test_two_headlines_of_items_that_are_all_alike_are_no_point() -> None:
    both = [ScoreStatistics(table(np.ones(10)), ratio, None, (0.0, 1.0)) for _ in range(2)]
    found = mean_interval([both], [1.0])
    assert found is not None
    assert found.low == pytest.approx(1 - unseen_share(10))
    assert found.high == 1.0
    unbounded = [[ScoreStatistics(table(np.ones(10)), ratio)], [ScoreStatistics(table(np.linspace(0, 1, 10)), ratio)]]
    assert mean_interval(unbounded, [1.0, 1.0]) is None
