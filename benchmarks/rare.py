"""Simulated comparisons in which rare rows lose much: heavy clusters, rare classes, texts that run on. `benchmarks.verdicts` runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.compare.comparability import NotComparable
from harness.compare.groups import pooled
from harness.metrics import load
from harness.stats.bootstrap import FloatArray, Score, by_cluster
from harness.stats.pairs import Pairs
from tests.stats.populations import translations

Draw = Callable[[np.random.Generator], Pairs]
POPULATION = 400_000


@dataclass(frozen=True)
class Rare:
    """A way to draw a sample of both systems, and the true value of after minus `factor` times before."""

    name: str
    kind: str
    draw: Draw
    truth: float
    factor: float = 1.0


def ratio(totals: FloatArray) -> FloatArray:
    """The mean of one value a row, weighted by the second column."""
    result: FloatArray = totals[..., 0] / totals[..., 1]
    return result


def of_values(before: FloatArray, after: FloatArray, labels: NDArray[np.int64] | None = None) -> Pairs:
    """A mean of values from 0 to 1, in clusters where there are labels."""
    ones = np.ones(len(before))
    sides = [np.stack([values, ones], axis=1) for values in (before, after)]
    if labels is not None:
        sides = [by_cluster(side, labels.tolist()) for side in sides]
    return Pairs(sides[0], sides[1], ratio, 1.0)


Sizes = Callable[[np.random.Generator, int], NDArray[np.int64]]


def few_of_many(generator: np.random.Generator, clusters: int) -> NDArray[np.int64]:
    """One in twenty clusters has 40 items, the others one."""
    return np.where(generator.random(clusters) < 0.05, 40, 1)


def geometric(generator: np.random.Generator, clusters: int) -> NDArray[np.int64]:
    """Clusters of 10 items on average."""
    return generator.geometric(0.1, clusters)


def heavy_clusters(clusters: int, sized: Sizes, least: int, loss: float) -> Draw:
    """Some of the clusters of at least `least` items lose every correct answer, so that the mean loses `loss`."""
    sizes = sized(np.random.default_rng(0), POPULATION)
    share = loss / (0.7 * (sizes * (sizes >= least)).mean() / sizes.mean())

    def draw(generator: np.random.Generator) -> Pairs:
        sizes = sized(generator, clusters)
        labels = np.repeat(np.arange(clusters), sizes)
        lost = ((sizes >= least) & (generator.random(clusters) < share))[labels]
        right = (generator.random(len(labels)) < 0.7).astype(float)
        return of_values(right, np.where(lost, 0.0, right), labels)

    return draw


def graded_clusters(clusters: int, each: int, share: float) -> Draw:
    """Scores that all change slightly; this share of the clusters lose their whole score of about 0.5."""

    def draw(generator: np.random.Generator) -> Pairs:
        labels = np.repeat(np.arange(clusters), each)
        before = generator.uniform(0.4, 0.6, len(labels))
        lost = (generator.random(clusters) < share)[labels]
        return of_values(before, np.where(lost, 0.0, before + generator.normal(0.0, 0.01, len(labels))), labels)

    return draw


def whole_clusters(clusters: int, gained: float, lost: float) -> Draw:
    """Clusters of two items, which are gained or lost together."""

    def draw(generator: np.random.Generator) -> Pairs:
        labels = np.repeat(np.arange(clusters), 2)
        sign = generator.choice([1, 0, -1], clusters, p=[gained, 1 - gained - lost, lost])[labels]
        same = (generator.random(len(labels)) < 0.5).astype(float)
        return of_values(np.where(sign == 0, same, sign < 0), np.where(sign == 0, same, sign > 0), labels)

    return draw


def _group(average: str, parts: int, one: Draw) -> Draw:
    def draw(generator: np.random.Generator) -> Pairs:
        group = pooled(average, {str(place): one(generator) for place in range(parts)})
        assert not isinstance(group, NotComparable)
        return group[0]

    return draw


def _hair(rows: int, share: float) -> Draw:
    def draw(generator: np.random.Generator) -> Pairs:
        before = generator.uniform(0.4, 0.6, rows)
        return of_values(before, np.where(generator.random(rows) < share, 0.0, before + generator.normal(0.0, 0.01, rows)))

    return draw


def exponential(clusters: int, each: int) -> Draw:
    """Unbounded scores in clusters, each of which loses an exponentially distributed amount with mean 1."""

    def draw(generator: np.random.Generator) -> Pairs:
        labels = np.repeat(np.arange(clusters), each)
        lost = generator.exponential(1.0, clusters)[labels]
        return replace(of_values(np.full(len(labels), 5.0), 5.0 - lost, labels), span=np.inf)

    return draw


@dataclass(frozen=True)
class Corpus:
    """A population of rows of both systems."""

    before: FloatArray
    after: FloatArray
    score: Score
    span: float

    def truth(self, factor: float = 1.0) -> float:
        """After minus `factor` times before."""
        return float(self.score(self.after.sum(axis=0)) - factor * self.score(self.before.sum(axis=0)))

    @property
    def factor(self) -> float:
        """After over before."""
        return float(self.score(self.after.sum(axis=0)) / self.score(self.before.sum(axis=0)))

    def draw(self, rows: int) -> Draw:
        """Samples of this many rows."""

        def draw(generator: np.random.Generator) -> Pairs:
            places = generator.integers(0, len(self.before), size=rows)
            return Pairs(self.before[places], self.after[places], self.score, self.span)

        return draw


def running_away(changed: float, share: float, tokens: int) -> Corpus:
    """Translations of which some match one word more or less, and a few run on to `tokens` tokens."""
    generator = np.random.default_rng(5)
    before = translations(drop=0.0).before
    after = before.copy()
    moved = np.where(generator.random(len(before)) < changed, generator.choice([-1, 1], len(before)), 0)
    after[:, 2] = np.clip(after[:, 2] + moved, 0, after[:, 0])
    far = generator.random(len(before)) < share
    after[far, 6:10] = tokens - np.arange(4)
    after[far, 0] = tokens
    return Corpus(before, after, load("bleu").score, 100.0)


def rare_class(metric: str, share: float, lost: float, flips: float, wrong: float = 0.1) -> Corpus:
    """A class with this share of the items loses some correct answers; in the other class as many flip to incorrect as to correct."""
    generator = np.random.default_rng(6)
    target = (generator.random(POPULATION) < share).astype(int)
    before = np.where(generator.random(POPULATION) < wrong, 1 - target, target)
    after = np.where((target == 1) & (before == 1) & (generator.random(POPULATION) < lost), 0, before)
    for said in (0, 1):
        chosen = (target == 0) & (before == said)
        after[chosen & (generator.random(POPULATION) < flips / 2 / chosen.mean())] = 1 - said
    measure, cells = load(metric), np.eye(4)
    tables = measure.pool([cells[2 * target + before], cells[2 * target + after]])
    return Corpus(tables[:POPULATION], tables[POPULATION:], measure.score, measure.high - measure.low)


def rare() -> Iterator[Rare]:
    """All of them."""
    name = "accuracy in clusters"
    yield Rare(name, "500 of 1 or 40, of the large some lose all", heavy_clusters(500, few_of_many, 40, 0.01), -0.01)
    for clusters, least, loss in ((400, 30, 0.01), (400, 20, 0.01), (200, 30, 0.02)):
        kind = f"{clusters} of geometric size, of {least} and more some lose all"
        yield Rare(name, kind, heavy_clusters(clusters, geometric, least, loss), -loss)
    for clusters in (2, 3, 4, 6, 12):
        yield Rare(name, f"{clusters} of 2, gained or lost together", whole_clusters(clusters, 0.49, 0.5), -0.01)
    name = "graded in clusters, by a hair"
    for clusters, each, loss in ((100, 5, 0.01), (50, 7, 0.02), (300, 2, 0.005)):
        yield Rare(name, f"{clusters} of {each}, {2 * loss:.0%} lose all", graded_clusters(clusters, each, 2 * loss), -loss)
    yield Rare(name, "100 of 5, x >= 0.98 × baseline", graded_clusters(100, 5, 0.02), 0.0, 0.98)
    yield Rare(name, "mean of 4 tasks of 50 of 5", _group("macro", 4, graded_clusters(50, 5, 0.01)), -0.005)
    yield Rare("graded, by a hair", "over all items of 25 tasks of 4", _group("micro", 25, _hair(4, 0.02)), -0.01)
    for clusters in (20, 50):
        yield Rare("unbounded in clusters, exponential loss", f"{clusters} of 3", exponential(clusters, 3), -1.0)
    for metric in ("f1_macro", "mcc"):
        for rows, share, lost, flips in ((1_000, 0.005, 0.3, 0.03), (300, 0.02, 0.2, 0.08), (100, 0.1, 0.3, 0.25)):
            corpus = rare_class(metric, share, lost, flips)
            yield Rare(metric, f"{rows} items, a class of {share:.1%} loses {lost:.0%}", corpus.draw(rows), corpus.truth())
    corpus = rare_class("f1_macro", 0.3, 0.1, 0.1)
    yield Rare("f1_macro", f"56 items, x >= {corpus.factor:.3f} × baseline", corpus.draw(56), 0.0, corpus.factor)
    corpus = rare_class("mcc", 0.03, 0.2, 0.03, 0.05)
    yield Rare("mcc", f"1000 items, x >= {corpus.factor:.3f} × baseline", corpus.draw(1_000), 0.0, corpus.factor)
    for tokens in (60, 128, 512):
        corpus = running_away(0.3, 0.005, tokens)
        yield Rare("BLEU, 30% by a hair", f"300 texts, 0.5% run on to {tokens} tokens", corpus.draw(300), corpus.truth())
    texts = translations(drop=0.03)
    for rows in (20, 50, 300):
        every = Corpus(texts.before, texts.after, texts.score, 100.0)
        yield Rare("BLEU", f"{rows} texts, every one changes", every.draw(rows), every.truth())
