from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.stats.multiplicity import Method, adjusted

P_VALUES = [0.001, 0.04, 0.03, 0.2, 0.9, 0.011, 0.04]


@pytest.mark.parametrize("method", ["holm", "fdr_bh"])
def test_equals_statsmodels_in_the_order_given(method: Method) -> None:
    np.testing.assert_allclose(np.array(adjusted(P_VALUES, method), dtype=float), multipletests(P_VALUES, method=method)[1])


def test_benjamini_and_hochberg_equals_scipy() -> None:
    np.testing.assert_allclose(np.array(adjusted(P_VALUES, "fdr_bh"), dtype=float), stats.false_discovery_control(P_VALUES))


def test_the_example_of_benjamini_and_hochberg() -> None:
    """Their 15 tests (1995, section 3.2): at 0.05, four are found; Bonferroni's bound, and Holm's, give three."""
    published = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert sum(p is not None and p <= 0.05 for p in adjusted(published, "fdr_bh")) == 4
    assert sum(p is not None and p <= 0.05 for p in adjusted(published, "holm")) == 3


def test_a_place_without_a_test_stays_empty_and_does_not_count() -> None:
    assert adjusted([0.02, None, 0.5], "holm") == pytest.approx([0.04, None, 0.5])
    assert adjusted([None], "holm") == [None]
    assert adjusted([], "fdr_bh") == []
