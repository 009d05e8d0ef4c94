from __future__ import annotations

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from harness.stats.share import wilson


def test_ends_are_those_of_statsmodels() -> None:
    items = np.repeat([1.0, 7.0, 300.0], 8)
    hits = np.floor(items * np.tile(np.linspace(0, 1, 8), 3))
    low, high = wilson(hits, items)
    wanted = proportion_confint(hits, items, method="wilson")
    np.testing.assert_allclose(low, wanted[0], atol=1e-12)
    np.testing.assert_allclose(high, wanted[1], atol=1e-12)
    assert (low >= 0).all()
    assert (high <= 1).all()
    assert (low < high).all()
