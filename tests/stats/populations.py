"""Large made-up populations of items that two systems answered, whose true difference is known; tests draw items from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.metrics import load
from harness.metrics.base import FloatArray, per_item
from harness.stats.bootstrap import Score
from harness.stats.pairs import Pairs

SIZE = 40_000


@dataclass(frozen=True)
class Population:
    """All items there are."""

    before: FloatArray
    after: FloatArray
    score: Score
    span: float = 1.0

    @cached_property
    def truth(self) -> float:
        """The difference over all items."""
        return Pairs(self.before, self.after, self.score, self.span).difference

    def draw(self, items: int, generator: np.random.Generator) -> Pairs:
        """Items drawn at random."""
        places = generator.integers(0, len(self.before), size=items)
        return Pairs(self.before[places], self.after[places], self.score, self.span)


def accuracy(lost: float = 0.1, gained: float = 0.06, size: int = SIZE) -> Population:
    """Right or wrong, with these shares lost and gained of all items, exactly."""
    cells = np.repeat([0, 1, 2, 3], [round(0.4 * size), round(lost * size), round(gained * size), size])[:size]
    right, still = np.isin(cells, (0, 1)), np.isin(cells, (0, 2))
    return Population(per_item(right.astype(float)), per_item(still.astype(float)), load("accuracy").score)


def bounded_means(change: float = -0.02, seed: int = 1, size: int = SIZE) -> Population:
    """Values between 0 and 1, skewed, many items answered alike: as ROUGE of greedy summaries has them."""
    generator = np.random.default_rng(seed)
    before = generator.beta(1.5, 4.0, size=size)
    moved = np.clip(before + generator.normal(change, 0.15, size=size), 0.0, 1.0)
    after = np.where(generator.random(size) < 0.3, before, moved)
    return Population(per_item(before), per_item(after), load("rouge1").score)


def translations(drop: float = 0.03, seed: int = 2, size: int = SIZE) -> Population:
    """BLEU's counts of two systems; the quality of a sentence is shared, the second matches a little less."""
    generator = np.random.default_rng(seed)
    wanted = generator.integers(5, 40, size=size)
    quality = generator.beta(4.0, 2.0, size=size)

    def side(lower: float) -> FloatArray:
        said = np.maximum(1, wanted + generator.integers(-3, 4, size=size))
        ngrams = np.maximum(said[:, None] - np.arange(4), 0)
        matches = [generator.binomial(ngrams[:, 0], np.clip(quality - lower, 0.0, 1.0))]
        for order in range(1, 4):
            matches.append(generator.binomial(np.minimum(matches[-1], ngrams[:, order]), 0.65))
        return np.column_stack([said, wanted, *matches, ngrams]).astype(np.float64)

    return Population(side(0.0), side(drop), load("bleu").score, 100.0)


def classified(spoilt: float = 0.15, seed: int = 3, size: int = SIZE) -> Population:
    """Two unequal classes, told apart; statistics as the metric keeps them: target, prediction and hit of each class."""
    generator = np.random.default_rng(seed)
    target = (generator.random(size) < 0.3).astype(int)
    before = np.where(generator.random(size) < 0.15, 1 - target, target)
    after = np.where(generator.random(size) < spoilt, 1 - before, before)
    cells = np.eye(4)
    metric = load("mcc")
    return Population(metric.pool([cells[2 * target + before]]), metric.pool([cells[2 * target + after]]), metric.score, 2.0)


def exchangeable(population: Population) -> Population:
    """Each item twice, once with the systems exchanged: two systems without a true difference."""
    before = np.concatenate([population.before, population.after])
    after = np.concatenate([population.after, population.before])
    return Population(before, after, population.score, population.span)


def simulation_error(share: float, draws: int) -> float:
    """Standard error of a share observed in so many draws."""
    return math.sqrt(share * (1 - share) / draws)
