"""Paired permutation tests: under the hypothesis of no difference, the two systems' answers are exchangeable.

The answers to each item are exchanged with probability 1/2, and the scores are compared again. For means it is
Fisher's sign-flip test of the paired differences; for BLEU and the like, approximate randomization (Riezler and Maxwell, 2005).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.stats.bootstrap import RESAMPLES, FloatArray, Score, Seed

_BLOCK = 1 << 22  # swaps held at once
_DRAWS_PER_COUNT = 16  # a binomial draw costs about as much as this many single swaps
_ROUNDING = 1e-9  # differences that are equal but for rounding count as equal


@dataclass(frozen=True, slots=True)
class Permuted:
    """Differences after exchanges [exchanges], and whether these are all possible exchanges."""

    differences: FloatArray
    exact: bool


def permuted(before: FloatArray, after: FloatArray, score: Score, *, seed: Seed = 0, permutations: int = RESAMPLES) -> Permuted:
    """Differences of the scores, after minus before, with the systems exchanged on random rows.

    All exchanges are enumerated where there are at most `permutations` of them.

    Args:
        before: statistics of one system, array [rows, statistics].
        after: statistics of the other on the same rows.
        score: from totals [..., statistics] to scores [...].
        seed: of the exchanges.
        permutations: number of exchanges to draw.
    """
    changes = after - before
    changes = changes[(changes != 0).any(axis=1)]
    exact = len(changes) < 63 and 2 ** len(changes) <= permutations
    blocks = _every_swap(changes) if exact else _drawn_swaps(changes, permutations, np.random.default_rng(seed))
    totals = before.sum(axis=0), after.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [score(totals[1] - swapped) - score(totals[0] + swapped) for swapped in blocks]
    return Permuted(np.concatenate(parts), exact)


def p_value(null: Permuted, observed: float) -> float:
    """Two-sided p: the share of exchanges whose difference is as far from 0 as the observed one.

    Where exchanges were drawn, the observed one is counted among them, (b + 1) / (m + 1), which keeps the test's level exact
    (Phipson and Smyth, 2010). An exchange without a score counts against significance.
    """
    far = abs(observed) * (1.0 - _ROUNDING)
    reached = int((~(np.abs(null.differences) < far)).sum())
    return reached / len(null.differences) if null.exact else (reached + 1) / (len(null.differences) + 1)


def _every_swap(changes: FloatArray) -> Iterator[FloatArray]:
    """Summed changes of the exchanged rows [2 ** rows, statistics], for every set of rows."""
    rows = len(changes)
    patterns = (np.arange(2**rows)[:, None] >> np.arange(rows)) & 1
    yield patterns.astype(np.float64) @ changes


def _drawn_swaps(changes: FloatArray, permutations: int, generator: np.random.Generator) -> Iterator[FloatArray]:
    """Summed changes of randomly exchanged rows, in blocks [exchanges, statistics]; rows that change alike are drawn together."""
    rows, counts = np.unique(changes, axis=0, return_counts=True)
    few = len(rows) * _DRAWS_PER_COUNT <= len(changes)
    size = max(1, _BLOCK // (len(rows) if few else len(changes)))
    for start in range(0, permutations, size):
        exchanges = min(size, permutations - start)
        if few:
            yield generator.binomial(counts, 0.5, size=(exchanges, len(rows))).astype(np.float64) @ rows
        else:
            packed = generator.integers(0, 256, size=(exchanges, (len(changes) + 7) // 8), dtype=np.uint8)
            yield np.unpackbits(packed, axis=1, count=len(changes)).astype(np.float64) @ changes
