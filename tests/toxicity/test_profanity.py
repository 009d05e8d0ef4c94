"""The scorer without a model of its own, on mild words."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Any

import numpy as np
import pytest

from harness.errors import MetricError
from harness.toxicity.profanity import Profanity

TEXTS = ["You are a stupid idiot.", "The train leaves at nine.", "Shut up, you fool!"]


def test_scores_are_the_packages() -> None:
    package = pytest.importorskip("profanity_check")
    scores = Profanity().score(TEXTS)
    np.testing.assert_allclose(scores, package.predict_prob(TEXTS), rtol=0, atol=1e-12)
    assert scores[0] > 0.9 > 0.1 > scores[1]


def test_the_release_is_part_of_the_signature() -> None:
    pytest.importorskip("profanity_check")
    version = importlib.metadata.version("alt-profanity-check")
    assert Profanity(threshold=0.3).signature.long == f"profanity|version:1|alt-profanity-check:{version}|threshold:0.3"


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *_: Any) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(MetricError, match="alt-profanity-check, which is not installed") as caught:
        _ = Profanity().signature
    assert "pip install 'adapter-harness[toxicity]'" in caught.value.remedy
    assert "classifier:DIR" in caught.value.remedy


def test_a_package_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "profanity_check", None)
    with pytest.raises(MetricError, match="which cannot be imported"):
        Profanity().score(TEXTS)
