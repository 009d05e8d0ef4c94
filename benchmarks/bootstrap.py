"""Seconds for a bootstrap interval of 10,000 resamples: accuracy and a continuous mean over 14,042 items, BLEU over 3,003.

Run it as `python benchmarks/bootstrap.py`.
"""

from __future__ import annotations

import os
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from harness.metrics import load
from harness.metrics.base import FloatArray, per_item
from harness.stats.bootstrap import RESAMPLES, Score
from harness.stats.intervals import interval

REPEATS = 3


def main() -> None:
    generator = np.random.default_rng(0)
    mean, bleu = load("accuracy").score, load("bleu").score
    cases: list[tuple[str, FloatArray, Score]] = [
        ("accuracy", per_item((generator.random(14_042) < 0.6).astype(float)), mean),
        ("continuous mean", per_item(generator.random(14_042)), mean),
        ("BLEU", bleu_statistics(generator, 3_003), bleu),
    ]
    table = Table("score", "items", "statistics", "seconds", title=f"{RESAMPLES:,} resamples, {os.cpu_count()} cores, best of {REPEATS}")
    for name, statistics, score in cases:
        items, width = statistics.shape
        table.add_row(name, f"{items:,}", str(width), f"{fastest(statistics, score):.3f}")
    Console().print(table)


def bleu_statistics(generator: np.random.Generator, items: int) -> FloatArray:
    """Segment counts of plausible sizes [items, 10]: some 25 words, and fewer matches the longer the n-gram."""
    said = generator.integers(5, 50, size=items)
    wanted = np.maximum(1, said + generator.integers(-4, 5, size=items))
    ngrams = np.maximum(said[:, None] - np.arange(4), 0)
    return np.column_stack([said, wanted, generator.binomial(ngrams, [0.6, 0.35, 0.22, 0.14]), ngrams]).astype(np.float64)


def fastest(statistics: FloatArray, score: Score) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        interval(statistics, score)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
