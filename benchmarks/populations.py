"""Populations whose true score is known, for `benchmarks.coverage`: of single items, of clusters, and averages of several scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.metrics import load
from harness.metrics.base import FloatArray, per_item
from harness.stats.bootstrap import Score
from harness.stats.intervals import ScoreStatistics, Task
from tests.stats.populations import classified, translations

MEAN: Score = load("accuracy").score
UNBOUNDED = (-math.inf, math.inf)

Draw = Callable[[int, np.random.Generator], Sequence[Task]]
"""Tasks of so many items (clusters, where there are any), drawn at random."""


@dataclass(frozen=True)
class Population:
    """What samples are drawn from, and the mean of its tasks' true scores."""

    draw: Draw
    truth: float


# Populations of single items


def mean_of(values: Callable[[int, np.random.Generator], FloatArray], truth: float, bounds: tuple[float, float] = (0.0, 1.0)) -> Population:
    """A plain mean of independent values."""
    return Population(lambda items, generator: [[ScoreStatistics(per_item(values(items, generator)), MEAN, None, bounds)]], truth)


def of_rows(rows: FloatArray, *scores: Score, bounds: tuple[float, float] = (0.0, 1.0)) -> Population:
    """Scores of rows drawn from a large table; of several, their mean."""
    totals = rows.sum(axis=0)

    def draw(items: int, generator: np.random.Generator) -> Sequence[Task]:
        drawn = rows[generator.integers(0, len(rows), size=items)]
        return [[ScoreStatistics(drawn, score, None, bounds) for score in scores]]

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
        return [[ScoreStatistics(per_item(values), MEAN, codes, (0.0, 1.0))]]

    return Population(draw, (1 - share) * 0.9)


def _beside_a_share() -> Population:
    values = _mixed(0.02, 0.0, 90.0, 10.0)

    def draw(items: int, generator: np.random.Generator) -> Sequence[Task]:
        both = values(items, generator), (generator.random(1_000) < 0.6).astype(float)
        return [[ScoreStatistics(per_item(one), MEAN, None, (0.0, 1.0))] for one in both]

    return Population(draw, (0.98 * 0.9 + 0.6) / 2)


def _unequal(mean: float, strength: float, sized: Callable[[int, np.random.Generator], NDArray[np.int64]]) -> Population:
    def draw(clusters: int, generator: np.random.Generator) -> Sequence[Task]:
        own = generator.beta(mean * strength, (1 - mean) * strength, size=clusters)
        codes = np.repeat(np.arange(clusters), sized(clusters, generator))
        return [[ScoreStatistics(per_item((generator.random(len(codes)) < own[codes]).astype(float)), MEAN, codes, (0.0, 1.0))]]

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
        return [[ScoreStatistics(per_item(right), MEAN, codes, (0.0, 1.0))]]

    return Population(draw, kind.mean)


def clustered_mean(kind: Clustered) -> Population:
    """Token F1 of items in clusters: 0, 1 or between where the answer is partly right."""

    def draw(clusters: int, generator: np.random.Generator) -> Sequence[Task]:
        right, codes = kind.draw(clusters, generator)
        partly = generator.random(len(codes)) < 0.4
        values = np.where(partly, 0.5 * right + 0.5 * generator.beta(2.0, 2.0, len(codes)), right)
        return [[ScoreStatistics(per_item(values), MEAN, codes, (0.0, 1.0))]]

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
        parts = [ScoreStatistics(cells, _f1, questions[answers], (0.0, 1.0))]
        return [[*parts, ScoreStatistics(per_item(whole), MEAN, questions, (0.0, 1.0))] if both else parts]

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
        return [[ScoreStatistics(rows[places], score, None, (0.0, 1.0)) for rows, score in parts]]

    return Population(draw, float(np.mean([score(rows.sum(axis=0)) for rows, score in parts])))


def _shares(shares: FloatArray) -> Population:
    def draw(items: int, generator: np.random.Generator) -> Sequence[Task]:
        return [[ScoreStatistics(per_item((generator.random(items) < share).astype(float)), MEAN)] for share in shares]

    return Population(draw, float(shares.mean()))


def _betas(tasks: int) -> Population:
    def draw(items: int, generator: np.random.Generator) -> Sequence[Task]:
        return [[ScoreStatistics(per_item(generator.beta(0.3, 3.0, items)), MEAN, None, (0.0, 1.0))] for _ in range(tasks)]

    return Population(draw, 0.3 / 3.3)
