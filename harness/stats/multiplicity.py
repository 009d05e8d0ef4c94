"""Multiple testing: adjusted p-values over a family of tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from harness.stats.bootstrap import FloatArray

Method = Literal["holm", "fdr_bh"]


def adjusted(p_values: Sequence[float | None], method: Method) -> list[float | None]:
    """p-values adjusted for the number of tests, in the same order; None stays None and does not count.

    Args:
        p_values: of the family.
        method: "holm" bounds the probability of any false rejection (Holm, 1979); "fdr_bh" bounds the expected share of false
            ones among the rejections (Benjamini and Hochberg, 1995).
    """
    present = np.array([p for p in p_values if p is not None])
    if not len(present):
        return list(p_values)
    adjusted_values = iter(_holm(present) if method == "holm" else _benjamini_hochberg(present))
    return [None if p is None else float(next(adjusted_values)) for p in p_values]


def _holm(p_values: FloatArray) -> FloatArray:
    # statsmodels' multipletests(method="holm") collects garbage at every call, which takes some 0.1 s while a run's samples are in memory.
    order = np.argsort(p_values)
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    result = np.empty_like(p_values)
    result[order] = np.minimum(steps, 1.0)
    return result


def _benjamini_hochberg(p_values: FloatArray) -> FloatArray:
    from scipy.stats import false_discovery_control

    result: FloatArray = false_discovery_control(p_values, method="bh")
    return result
