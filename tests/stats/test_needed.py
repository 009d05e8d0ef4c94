"""Numbers of items that a verdict needs: with the stated number, it is reached as often as promised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.rare import of_values
from benchmarks.verdicts import answers
from harness.compare.comparability import NotComparable
from harness.compare.groups import pooled
from harness.stats.contrast import contrast
from harness.stats.paired import compare
from harness.stats.pairs import Pairs
from harness.stats.power import POWER, QUANTILE, IntervalReach

MARGIN = 0.01
DRAWS = 200
Draw = Callable[[int, np.random.Generator], Pairs]


def slight(items: int, generator: np.random.Generator) -> Pairs:
    """Graded; 40 % change by 0.1."""
    before = generator.integers(4, 7, items) / 10
    return of_values(before, before + np.where(generator.random(items) < 0.4, generator.choice([-0.1, 0.1], items), 0.0))


def spread(items: int, generator: np.random.Generator) -> Pairs:
    before = generator.uniform(0.3, 0.7, items)
    return of_values(before, before + generator.normal(0.0, 0.1, items))


def flipping(items: int, generator: np.random.Generator) -> Pairs:
    return answers(items, 0.03, 0.03, generator)


def clustered(items: int, generator: np.random.Generator) -> Pairs:
    """Clusters of five items that change slightly, and together."""
    labels = np.repeat(np.arange(items // 5), 5)
    before = np.full(len(labels), 0.5)
    return of_values(before, before + generator.normal(0.0, 0.05, items // 5)[labels], labels)


def macro(items: int, generator: np.random.Generator) -> Pairs:
    """Three tasks with 1/8, 2/8 and 5/8 of the items."""
    found = pooled("macro", {str(parts): spread(items * parts // 8, generator) for parts in (1, 2, 5)})
    assert not isinstance(found, NotComparable)
    return found[0]


def needed(pairs: Pairs, items: int, margin: float = MARGIN) -> int:
    found = compare(pairs, resamples=500, permutations=100)
    assert found.interval is not None
    reach = IntervalReach.of(found.value - found.interval.low, found.observed_error, items, found.rows)
    wanted = reach.items_needed(margin, POWER)
    assert wanted is not None
    return wanted


@pytest.mark.parametrize(("draw", "now"), [(slight, 300), (spread, 400), (flipping, 1_000), (clustered, 1_000), (macro, 800)])
def test_retained_is_reached_as_often_as_the_stated_items_promise(draw: Draw, now: int) -> None:
    generator = np.random.default_rng(now)
    items = int(np.median([needed(draw(now, generator), now) for _ in range(15)]))
    retained = 0
    for seed in range(DRAWS):
        found = contrast(draw(items, generator), seed=seed, resamples=200, threads=1)[1]
        assert found is not None
        retained += found.low > -MARGIN
    assert 0.70 <= retained / DRAWS <= 0.92, (items, retained / DRAWS)


def unchanged(*sizes: int) -> Pairs:
    parts = {str(place): of_values(values, values) for place, size in enumerate(sizes) for values in [np.full(size, 0.5)]}
    if len(parts) == 1:
        return next(iter(parts.values()))
    found = pooled("macro", parts)
    assert not isinstance(found, NotComparable)
    return found[0]


@pytest.mark.parametrize(("sizes", "margin"), [((200,), 0.01), ((200,), 0.001), ((50, 1_000), 0.01), ((8, 20, 50, 100, 200, 400), 0.01)])
def test_unchanged_items_suffice_at_the_stated_number_and_not_before(sizes: tuple[int, ...], margin: float) -> None:
    """Formerly 8,242 were stated for 50 + 1000, where 4,022 suffice, and 26,504 for 8 to 400, where 6,175 do."""
    total = sum(sizes)
    items = needed(unchanged(*sizes), total, margin)
    for share, retained in ((1.03, True), (0.97, False)):
        larger = unchanged(*(round(size * items / total * share) for size in sizes))
        found = contrast(larger, resamples=50)[1]
        assert found is not None
        assert (found.low > -margin) is retained


def test_200_unchanged_items_need_3838_for_a_thousandth() -> None:
    """z² / (n + z²) below 0.001 and 0.01."""
    assert needed(unchanged(200), 200, 0.001) == 3_838
    assert needed(unchanged(200), 200, 0.01) == 381


def test_the_error_shrinks_with_the_root_and_the_room_with_the_items() -> None:
    assert IntervalReach.of(QUANTILE * 0.01, 0.01, 100, 100).items_needed(QUANTILE * 0.005) == 400
    assert IntervalReach.of(QUANTILE * 0.01, 0.01, 100, 100).items_needed(0.0) is None
    assert IntervalReach.of(0.05, 0.0, 500, 100).items_needed(0.01) == pytest.approx(5 * 500, rel=0.05)
