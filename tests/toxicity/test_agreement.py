"""The page's tables: their statistics are the reference libraries', and they are what the kept numbers say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from benchmarks import toxicity_agreement as agreement
from benchmarks.documents import put

ROOT = Path(__file__).resolve().parents[2]
NAME = "benchmarks.toxicity_agreement"
BEGIN, END = f"<!-- begin {NAME} -->", f"<!-- end {NAME} -->"


def scores(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.uniform(size=n).round(2)
    return first, np.clip(first + rng.normal(scale=0.3, size=n), 0, 1).round(2)


def test_kappa_is_scikit_learns() -> None:
    from sklearn.metrics import cohen_kappa_score

    for seed in range(20):
        first, second = scores(seed)
        for at in agreement.THRESHOLDS:
            found = agreement.kappa(first, second, at)
            assert found.value is not None
            assert found.value == pytest.approx(cohen_kappa_score(first >= at, second >= at), abs=1e-12)
            assert found.n == 60
            assert found.low is not None
            assert found.high is not None
            assert found.low < found.value < found.high


def test_kappa_of_a_verdict_that_never_varies_is_undefined() -> None:
    first, second = scores(0)
    assert agreement.kappa(np.ones(60), second, 0.5).value is None
    assert agreement.kappa(first, np.zeros(60), 0.5).value is None
    assert str(agreement.kappa(np.ones(60), np.ones(60), 0.5)) == "undefined"


def test_rank_correlation_is_scipys_and_undefined_for_a_constant() -> None:
    from scipy.stats import spearmanr

    first, second = scores(1)
    found = agreement.spearman(first, second)
    assert found.value is not None
    assert found.value == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert agreement.spearman(first, np.ones(60)).value is None


def test_only_what_stands_between_the_markers_is_rewritten(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put(page, NAME, "new")
    put(page, NAME, "newer")
    assert page.read_text() == f"before\n{BEGIN}\n\nnewer\n\n{END}\nafter\n"
    page.write_text("no markers\n")
    with pytest.raises(SystemExit, match="has no markers"):
        put(page, NAME, "new")
    assert page.read_text() == "no markers\n"


def test_the_page_says_what_the_kept_numbers_say() -> None:
    kept = TypeAdapter(agreement.Found).validate_json((ROOT / "benchmarks" / "results" / "toxicity.json").read_bytes())
    page = (ROOT / "docs" / "toxicity.md").read_text(encoding="utf-8")
    between = re.search(f"{BEGIN}\n\n(.*?)\n\n{END}", page, re.DOTALL)
    assert between is not None
    assert between[1] == agreement.document(kept)
