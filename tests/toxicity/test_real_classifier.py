"""A real classifier, on mild words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness import toxicity

pytestmark = pytest.mark.real

HARSH = ["You are a stupid idiot.", "Shut up, you fool!", "What a pathetic loser you are."]
KIND = ["The train leaves at nine.", "Thank you for your help.", "We bought apples and bread."]


def test_its_scores_are_the_pipelines_and_tell_harsh_from_kind(bert_toxicity: Path) -> None:
    from transformers import pipeline

    scores = toxicity.load(f"classifier:{bert_toxicity},device=cpu").score(HARSH + KIND)
    found = pipeline("text-classification", model=str(bert_toxicity), top_k=None, device="cpu")(HARSH + KIND)
    expected = [next(one["score"] for one in each if one["label"] == "toxic") for each in found]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    harsh, kind = np.split(scores, [len(HARSH)])
    assert harsh.min() > 0.5 > np.median(kind), "it is small, and errs now and then"
