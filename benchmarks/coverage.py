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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.documents import put, table
from harness.metrics import load
from harness.metrics.base import FloatArray, per_item
from harness.stats.bootstrap import Interval, Score, clopper_pearson_at_bound, interval_of, is_ratio, replicates
from harness.stats.intervals import Part, Task, interval, mean_interval
from tests.stats.populations import classified, translations

DOCUMENT = Path(__file__).parents[1] / "docs" / "design" / "statistics.md"
REPLICATIONS = 1_600
"""The standard error of a coverage of 93 % is then 0.64 points, of 95 % 0.54."""
RESAMPLES = 1_000
ITEMS = (10, 20, 30, 50, 100, 300)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""And by symmetry what they lack to 1."""

SECTIONS = ("shares", "means", "rare", "corpora", "clusters", "averages")
MEAN: Score = load("accuracy").score
UNBOUNDED = (-math.inf, math.inf)

Draw = Callable[[int, np.random.Generator], Sequence[Task]]
"""Tasks of so many items (clusters, where there are any), drawn at random."""


@dataclass(frozen=True)
class Population:
    """What samples are drawn from, and the mean of its tasks' true scores."""

    draw: Draw
    truth: float


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


# Populations of single items


def mean_of(values: Callable[[int, np.random.Generator], FloatArray], truth: float, bounds: tuple[float, float] = (0.0, 1.0)) -> Population:
    """A plain mean of independent values."""
    return Population(lambda items, generator: [[Part(per_item(values(items, generator)), MEAN, None, bounds)]], truth)


def of_rows(rows: FloatArray, *scores: Score, bounds: tuple[float, float] = (0.0, 1.0)) -> Population:
    """Scores of rows drawn from a large table; of several, their mean."""
    totals = rows.sum(axis=0)

    def draw(items: int, generator: np.random.Generator) -> Sequence[Task]:
        drawn = rows[generator.integers(0, len(rows), size=items)]
        return [[Part(drawn, score, None, bounds) for score in scores]]

    return Population(draw, float(np.mean([score(totals) for score in scores])))


def _mixed(zeros: float, ones: float, low: float, high: float) -> Callable[[int, np.random.Generator], FloatArray]:
    def values(items: int, generator: np.random.Generator) -> FloatArray:
        chance = generator.random(items)
        return np.where(chance < zeros, 0.0, np.where(chance < zeros + ones, 1.0, generator.beta(low, high, items)))

    return values


def means() -> dict[str, Population]:
    """Means of values."""
    return {
        "beta(0.3, 3)": mean_of(lambda n, g: g.beta(0.3, 3.0, n), 0.3 / 3.3),
        "beta(8, 0.5)": mean_of(lambda n, g: g.beta(8.0, 0.5, n), 8 / 8.5),
        "ROUGE, 40 % zeros": mean_of(_mixed(0.4, 0.0, 2.0, 3.0), 0.6 * 0.4),
        "ROUGE, 85 % zeros": mean_of(_mixed(0.85, 0.0, 2.0, 2.0), 0.15 * 0.5),
        "token F1, half zeros": mean_of(_mixed(0.5, 0.2, 2.0, 2.0), 0.2 + 0.3 * 0.5),
        "exponential": mean_of(lambda n, g: g.exponential(1.0, n), 1.0, UNBOUNDED),
        "lognormal": mean_of(lambda n, g: g.lognormal(0.0, 1.0, n), math.exp(0.5), UNBOUNDED),
    }


def rare() -> dict[str, tuple[Population, tuple[int, ...]]]:
    """Bounded means of which a few items, or a few clusters as a whole, are far from all others, and how many there are."""
    populations: dict[str, tuple[Population, tuple[int, ...]]] = {}
    for share, sizes in ((0.06, (50,)), (0.02, (50,)), (0.01, (100, 300)), (0.005, (300,))):
        populations[f"beta(90, 10), {share:.1%} zeros"] = mean_of(_mixed(share, 0.0, 90.0, 10.0), (1 - share) * 0.9), sizes
    for share, items in ((0.01, 100), (0.005, 300)):
        populations[f"toxicity, {share:.1%} toxic"] = mean_of(_toxic(share), share * 0.9 + (1 - share) / 61), (items,)
    populations["9 of 10 items whole, else uniform"] = mean_of(_mixed(0.0, 0.9, 1.0, 1.0), 0.95), (5, 10)
    for share, each, count in ((0.05, 5, 20), (0.01, 7, 100)):
        name = f"beta(9, 1) in clusters of {each}, {share:.0%} of them zero"
        populations[name] = _failing(share, each), (count,)
    populations["beta(90, 10), 2% zeros, n = 50, and a share of 1000"] = _beside_a_share(), (50,)
    for mean, each, strength, counts in ((0.98, 10, 0.5, (60, 100, 200)), (0.97, 20, 0.5, (50,)), (0.98, 10, 1.0, (83,))):
        name = f"share {mean:g} in clusters of {each}, strength {strength:g}"
        populations[name] = clustered_share(Clustered(mean, strength, (each, each))), counts
    populations["share 0.95, clusters of 1, 5 % of 40"] = _unequal(0.95, 4.0, lambda n, g: np.where(g.random(n) < 0.05, 40, 1)), (20, 60)
    populations["share 0.7, clusters of geometric size"] = _unequal(0.7, 2.0, lambda n, g: g.geometric(0.1, n)), (8, 20, 60)
    return populations


def _toxic(share: float) -> Callable[[int, np.random.Generator], FloatArray]:
    return lambda n, g: np.where(g.random(n) < share, g.uniform(0.8, 1.0, n), g.beta(1.0, 60.0, n))


def _failing(share: float, each: int) -> Population:
    def draw(clusters: int, generator: np.random.Generator) -> Sequence[Task]:
        codes = np.repeat(np.arange(clusters), each)
        failed = (generator.random(clusters) < share)[codes]
        values = np.where(failed, 0.0, generator.beta(9.0, 1.0, len(codes)))
        return [[Part(per_item(values), MEAN, codes, (0.0, 1.0))]]

    return Population(draw, (1 - share) * 0.9)


def _beside_a_share() -> Population:
    values = _mixed(0.02, 0.0, 90.0, 10.0)

    def draw(items: int, generator: np.random.Generator) -> Sequence[Task]:
        both = values(items, generator), (generator.random(1_000) < 0.6).astype(float)
        return [[Part(per_item(one), MEAN, None, (0.0, 1.0))] for one in both]

    return Population(draw, (0.98 * 0.9 + 0.6) / 2)


def _unequal(mean: float, strength: float, sized: Callable[[int, np.random.Generator], NDArray[np.int64]]) -> Population:
    def draw(clusters: int, generator: np.random.Generator) -> Sequence[Task]:
        own = generator.beta(mean * strength, (1 - mean) * strength, size=clusters)
        codes = np.repeat(np.arange(clusters), sized(clusters, generator))
        return [[Part(per_item((generator.random(len(codes)) < own[codes]).astype(float)), MEAN, codes, (0.0, 1.0))]]

    return Population(draw, mean)


def corpora() -> dict[str, Population]:
    """Scores of totals."""
    generator = np.random.default_rng(9)
    size = 200_000
    first = generator.standard_normal(size)
    second = 0.8 * first + 0.6 * generator.standard_normal(size)
    tokens = generator.poisson(20, size) + 1.0
    nats = tokens * generator.gamma(4.0, 0.75, size)
    cells = classified().before
    return {
        "BLEU": of_rows(translations().before, load("bleu").score, bounds=(0.0, 100.0)),
        "Matthews correlation": of_rows(cells, load("mcc").score, bounds=(-1.0, 1.0)),
        "macro F1": of_rows(cells, load("f1_macro").score),
        "Pearson correlation 0.8": of_rows(
            np.stack([np.ones(size), first, second, first**2, second**2, first * second], axis=1), _pearson, bounds=(-1.0, 1.0)
        ),
        "perplexity": of_rows(np.stack([nats, tokens], axis=1), lambda totals: np.exp(totals[..., 0] / totals[..., 1]), bounds=UNBOUNDED),
    }


def _pearson(totals: FloatArray) -> FloatArray:
    count, x, y, xx, yy, xy = np.moveaxis(totals, -1, 0)
    result: FloatArray = (count * xy - x * y) / np.sqrt((count * xx - x**2) * (count * yy - y**2))
    return result


# Populations of clusters


@dataclass(frozen=True)
class Clustered:
    """Items of one cluster share how hard they are.

    Attributes:
        mean: share of right answers.
        strength: of the beta distribution of a cluster's own share, about `mean`; the less, the more alike are its items.
        sizes: least and most items of a cluster.
    """

    mean: float
    strength: float
    sizes: tuple[int, int]

    def draw(self, clusters: int, generator: np.random.Generator) -> tuple[FloatArray, NDArray[np.intp]]:
        """Whether each item is right, and its cluster."""
        sizes = generator.integers(self.sizes[0], self.sizes[1] + 1, size=clusters)
        own = generator.beta(self.mean * self.strength, (1 - self.mean) * self.strength, size=clusters)
        codes = np.repeat(np.arange(clusters), sizes)
        return (generator.random(len(codes)) < own[codes]).astype(float), codes


def clustered_share(kind: Clustered) -> Population:
    """Accuracy of items in clusters."""

    def draw(clusters: int, generator: np.random.Generator) -> Sequence[Task]:
        right, codes = kind.draw(clusters, generator)
        return [[Part(per_item(right), MEAN, codes, (0.0, 1.0))]]

    return Population(draw, kind.mean)


def clustered_mean(kind: Clustered) -> Population:
    """Token F1 of items in clusters: 0, 1 or between where the answer is partly right."""

    def draw(clusters: int, generator: np.random.Generator) -> Sequence[Task]:
        right, codes = kind.draw(clusters, generator)
        partly = generator.random(len(codes)) < 0.4
        return [
            [Part(per_item(np.where(partly, 0.5 * right + 0.5 * generator.beta(2.0, 2.0, len(codes)), right)), MEAN, codes, (0.0, 1.0))]
        ]

    return Population(draw, 0.6 * kind.mean + 0.4 * (0.5 * kind.mean + 0.25))


def multirc(both: bool) -> Population:
    """Answers to questions on passages; F1 of the right answers, and with `both` its mean with the share of questions answered whole."""

    def made(passages: int, generator: np.random.Generator) -> Sequence[Task]:
        questions = np.repeat(np.arange(passages), generator.integers(8, 16, size=passages))
        answers = np.repeat(np.arange(len(questions)), generator.integers(4, 7, size=len(questions)))
        target = generator.random(len(answers)) < 0.44
        easy = generator.normal(size=passages)[questions] * 0.5 + generator.normal(size=len(questions)) * 0.7
        right = generator.random(len(answers)) < 1 / (1 + np.exp(-1.3 - easy[answers]))
        said = np.where(right, target, ~target)
        whole = np.ones(len(questions))
        np.minimum.at(whole, answers, right.astype(float))
        cells = np.stack([target & said, said, target], axis=1).astype(float)
        parts = [Part(cells, _f1, questions[answers], (0.0, 1.0))]
        return [[*parts, Part(per_item(whole), MEAN, questions, (0.0, 1.0))] if both else parts]

    large = made(60_000, np.random.default_rng(4))[0]
    return Population(made, float(np.mean([part.value for part in large])))


def clusters() -> dict[str, tuple[Population, tuple[int, ...]]]:
    """Scores of items in clusters, and how many clusters there are."""
    return {
        "accuracy, 5 items a cluster": (clustered_share(Clustered(0.7, 2.0, (3, 7))), (5, 10, 20, 50, 100)),
        "accuracy 0.95, 5 items a cluster": (clustered_share(Clustered(0.95, 4.0, (3, 7))), (5, 10, 20, 50, 100)),
        "accuracy, 1 to 40 items a cluster": (clustered_share(Clustered(0.6, 4.0, (1, 40))), (5, 10, 20, 50, 100)),
        "token F1, 7 items a dialogue": (clustered_mean(Clustered(0.5, 4.0, (4, 10))), (5, 10, 20, 50, 100)),
        "MultiRC F1a, by passage": (multirc(both=False), (5, 10, 20, 50, 83)),
    }


# Averages


def averages() -> dict[str, tuple[Population, tuple[int, ...]]]:
    """Means of a task's two headline scores, and of several tasks' scores, and how many items each task has."""
    generator = np.random.default_rng(5)
    size = 200_000
    quality = generator.beta(1.5, 1.0, size)
    exact = (generator.random(size) < quality).astype(float)
    overlap = np.where(exact == 1.0, 1.0, generator.beta(1.2, 2.0, size))
    cells = classified().before
    right = cells[:, 4:].sum(axis=1)
    return {
        "accuracy and F1 (MRPC)": (_paired((per_item(right), MEAN), (_matches(cells), _f1)), (50, 100, 300)),
        "token F1 and exact match (ReCoRD)": (_paired((per_item(overlap), MEAN), (per_item(exact), MEAN)), (50, 100, 300)),
        "F1a and exact match (MultiRC), clusters": (multirc(both=True), (20, 50, 83)),
        "5 tasks, shares 0.3 to 0.9": (_shares(np.linspace(0.3, 0.9, 5)), (10, 30, 100)),
        "2 tasks, shares 0.95": (_shares(np.full(2, 0.95)), (10, 30, 100)),
        "20 tasks, shares 0.95": (_shares(np.full(20, 0.95)), (10, 30, 100)),
        "57 tasks, shares 0.25 to 0.9": (_shares(np.linspace(0.25, 0.9, 57)), (10, 30, 100)),
        "5 tasks, beta(0.3, 3)": (_betas(5), (10, 30, 100)),
    }


def _matches(cells: FloatArray) -> FloatArray:
    """What F1 of the second class is made of: rightly said, said, and wanted [rows, 3]."""
    return cells[:, [5, 3, 1]]


def _f1(totals: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        result: FloatArray = 2 * totals[..., 0] / (totals[..., 1] + totals[..., 2])
    return result


def _paired(*parts: tuple[FloatArray, Score]) -> Population:
    """Scores of the same items, each with statistics of its own, which are drawn in different ways when they are resampled apart."""

    def draw(items: int, generator: np.random.Generator) -> Sequence[Task]:
        places = generator.integers(0, len(parts[0][0]), size=items)
        return [[Part(rows[places], score, None, (0.0, 1.0)) for rows, score in parts]]

    return Population(draw, float(np.mean([score(rows.sum(axis=0)) for rows, score in parts])))


def _shares(shares: FloatArray) -> Population:
    def draw(items: int, generator: np.random.Generator) -> Sequence[Task]:
        return [[Part(per_item((generator.random(items) < share).astype(float)), MEAN)] for share in shares]

    return Population(draw, float(shares.mean()))


def _betas(tasks: int) -> Population:
    def draw(items: int, generator: np.random.Generator) -> Sequence[Task]:
        return [[Part(per_item(generator.beta(0.3, 3.0, items)), MEAN, None, (0.0, 1.0))] for _ in range(tasks)]

    return Population(draw, 0.3 / 3.3)


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
