"""How often do 95 % intervals of one system hold the truth, and how wide are they, before and after?

Draws samples from populations whose true score is known. "Before" is what was computed until intervals knew of clusters and of small
samples: the percentile interval of resampled items, with Clopper and Pearson's at a share of 0 or 1, and for averages over several
scores of a task, resampling each by itself from one seed. "After" is the product's own code. Shares of right and wrong are summed over
the binomial distribution, without simulation.

Run it as `python -m benchmarks.coverage [--replications N] [--only TABLES]`. With the default number it writes the tables of
docs/design/statistics.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.documents import put, table
from benchmarks.populations import MEAN, Population, averages, clusters, corpora, means, rare
from harness.metrics.base import FloatArray, per_item
from harness.stats.bootstrap import Interval, clopper_pearson_at_bound, interval_of, is_ratio, replicates
from harness.stats.intervals import Task, interval, mean_interval

DOCUMENT = Path(__file__).parents[1] / "docs" / "design" / "statistics.md"
REPLICATIONS = 1_600
"""The standard error of a coverage of 93 % is then 0.64 points, of 95 % 0.54."""
RESAMPLES = 1_000
ITEMS = (10, 20, 30, 50, 100, 300)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""And by symmetry what they lack to 1."""

SECTIONS = ("shares", "means", "rare", "corpora", "clusters", "averages")


@dataclass(frozen=True, slots=True)
class Measured:
    """Share of intervals that hold the truth, and their mean width; an interval that there is not counts as not holding it."""

    coverage: float
    width: float


# Before


def formerly(tasks: Sequence[Task], seed: int) -> Interval | None:
    """The interval as it was computed before: no clusters, percentiles, equal seeds for the scores of one task."""
    if len(tasks) == len(tasks[0]) == 1:
        part = tasks[0][0]
        share = part.value if part.statistics.shape[1] == 2 and is_ratio(part.score) else None
        values, weights = part.statistics[:, 0], part.statistics[:, 1]
        if share is not None and (not values.any() or np.array_equal(values, weights)):
            return clopper_pearson_at_bound(share, float(weights.sum() ** 2 / (weights**2).sum()))
    drawn = [[replicates(p.statistics, p.score, seed=(seed, i), resamples=RESAMPLES, threads=1) for p in t] for i, t in enumerate(tasks)]
    return interval_of(np.mean([np.mean(own, axis=0) for own in drawn], axis=0))


def presently(tasks: Sequence[Task], seed: int, resamples: int = RESAMPLES) -> Interval | None:
    """The product's interval."""
    if len(tasks) == len(tasks[0]) == 1:
        part = tasks[0][0]
        rows = part.statistics
        return interval(rows, part.score, clusters=part.clusters, bounds=part.bounds, seed=seed, resamples=resamples, threads=1)
    return mean_interval(tasks, [1.0] * len(tasks), seed=seed, resamples=resamples, threads=1)


def measured(population: Population, items: int, replications: int) -> tuple[Measured, Measured]:
    """Before and after, on the same samples."""
    held: list[list[bool]] = [[], []]
    widths: list[list[float]] = [[], []]
    generator = np.random.default_rng(items)
    for seed in range(replications):
        tasks = population.draw(items, generator)
        for place, found in enumerate((formerly(tasks, seed), presently(tasks, seed))):
            held[place].append(found is not None and found.low - 1e-12 <= population.truth <= found.high + 1e-12)
            if found is not None:
                widths[place].append(found.high - found.low)
    before, after = (Measured(float(np.mean(one)), float(np.mean(own))) for one, own in zip(held, widths, strict=True))
    return before, after


# Shares of right and wrong, exactly


def exact_share(share: float, items: int) -> tuple[Measured, Measured]:
    """Coverage and mean width over all outcomes of a binomial distribution, before and after."""
    hits = np.arange(items + 1)
    chances = _binomial(items, share)
    before, after = [], []
    for right in hits:
        values = per_item((np.arange(items) < right).astype(float))
        after.append(interval(values, MEAN))
        bound = right in (0, items)
        before.append(clopper_pearson_at_bound(right / items, items) if bound else _percentiles(items, right / items))
    return _weighed(before, chances, share), _weighed(after, chances, share)


def _percentiles(items: int, share: float) -> Interval:
    below = np.cumsum(_binomial(items, share))
    low, high = (float(np.searchsorted(below, tail)) / items for tail in (0.025, 0.975))
    return Interval(low, high, "percentile")


def _binomial(items: int, share: float) -> FloatArray:
    """Probabilities [items + 1] of each number of hits."""
    hits = np.arange(items + 1)
    ways = np.array([math.lgamma(items + 1) - math.lgamma(k + 1) - math.lgamma(items - k + 1) for k in hits])
    result: FloatArray = np.exp(ways + hits * math.log(share) + (items - hits) * math.log1p(-share))
    return result


def _weighed(found: Sequence[Interval | None], chances: FloatArray, truth: float) -> Measured:
    known = [one for one in found if one is not None]
    held = np.array([one.low <= truth <= one.high for one in known])
    widths = np.array([one.high - one.low for one in known])
    return Measured(float((chances * held).sum()), float((chances * widths).sum()))


# Tables


def _cell(before: Measured, after: Measured) -> str:
    return f"{100 * before.coverage:.1f} → {100 * after.coverage:.1f} ({_short(before.width)} → {_short(after.width)})"


def _short(width: float) -> str:
    return f"{width:.3g}"


def share_table() -> Iterator[str]:
    """Exact figures of shares."""
    found = [[exact_share(share, items) for items in ITEMS] for share in SHARES]
    rows = [[f"{share:g}", *(_cell(*one) for one in line)] for share, line in zip(SHARES, found, strict=True)]
    yield from table(["true share", *(f"n = {items}" for items in ITEMS)], rows)


def item_table(populations: dict[str, Population], replications: int) -> Iterator[str]:
    """Simulated figures of scores of single items."""
    rows = [[name, *(_cell(*measured(one, items, replications)) for items in ITEMS)] for name, one in populations.items()]
    yield from table(["score", *(f"n = {items}" for items in ITEMS)], rows)


def sized_table(populations: dict[str, tuple[Population, tuple[int, ...]]], what: str, replications: int) -> Iterator[str]:
    """Simulated figures of populations that each have sizes of their own."""
    rows = []
    for name, (population, sizes) in populations.items():
        for size in sizes:
            before, after = measured(population, size, replications)
            cells = [f"{100 * one.coverage:.1f}" for one in (before, after)] + [_short(one.width) for one in (before, after)]
            rows.append([name, str(size), *cells])
    yield from table(["score", what, "coverage before", "after", "width before", "after"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=REPLICATIONS, help="samples of each setting")
    parser.add_argument("--only", default=",".join(SECTIONS), help="tables to make, of these")
    parser.add_argument("--write", action="store_true", help="put the tables into the document with another number of samples too")
    given = parser.parse_args()
    replications: int = given.replications
    wanted = given.only.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        raise SystemExit(f"There is no table {', '.join(unknown)}; there are {', '.join(SECTIONS)}.")
    size = f"{replications:,} samples of each setting, {RESAMPLES:,} resamples"
    sections = {
        "shares": ("Coverage in % (mean width), before → after, exact over the binomial distribution.", share_table()),
        "means": (f"Coverage in % (mean width), before → after; {size}.", item_table(means(), replications)),
        "rare": (f"Coverage in % and mean width; {size}.", sized_table(rare(), "items (clusters)", replications)),
        "corpora": (f"Coverage in % (mean width), before → after; {size}.", item_table(corpora(), replications)),
        "clusters": (f"Coverage in % and mean width; {size}.", sized_table(clusters(), "clusters", replications)),
        "averages": (f"Coverage in % and mean width; {size}.", sized_table(averages(), "items (clusters) a task", replications)),
    }
    for name in wanted:
        legend, lines = sections[name]
        text = f"{legend}\n\n" + "\n".join(lines)
        print(f"{name}\n\n{text}\n", flush=True)
        if replications == REPLICATIONS or given.write:
            put(DOCUMENT, f"coverage of {name}", text)


if __name__ == "__main__":
    main()
