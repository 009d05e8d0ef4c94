"""Two results folders compared: scores, verdicts and items of each task."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.contract import LikelihoodOutcome
from harness.stats import power
from tests.compare.comparing import (
    ACCURACY,
    PLAN,
    AnyOutcome,
    Made,
    choices,
    compare,
    compared,
    flipped,
    hits,
    questions_answered,
    quiz,
)

BEFORE = hits(0.7, 400)
AFTER = flipped(BEFORE, lost=60, gained=10)


def test_correct_and_incorrect(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(BEFORE), quiz(AFTER))
    score = task.scores["accuracy"]
    assert (task.name, task.items, task.verdict) == ("quiz", 400, "forgot")
    assert (score.before, score.after) == pytest.approx((BEFORE.mean(), AFTER.mean()))
    assert score.difference == score.change == pytest.approx(-50 / 400)
    assert score.low is not None
    assert score.high is not None
    assert score.low < -50 / 400 < score.high < -0.01
    assert (score.lost, score.gained) == (60, 10)
    assert score.odds_ratio == pytest.approx(1 / 6)
    assert (score.test, score.method, score.resampled) == ("mcnemar", "bca", "items")
    assert score.p == score.p_holm == score.p_bh == pytest.approx(stats.binomtest(10, 70).pvalue)
    assert score.effect == "h"
    assert score.effect_size == pytest.approx(2 * np.arcsin(np.sqrt(AFTER.mean())) - 2 * np.arcsin(np.sqrt(BEFORE.mean())))
    assert score.margin == 0.01
    assert score.detectable is not None
    assert 0.04 < score.detectable < 0.08
    assert score.items_needed == int(np.ceil(70 / 400 * (power.detectable(1.0) / 0.01) ** 2))


def test_the_reverse_is_an_improvement(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(AFTER), quiz(BEFORE))
    assert task.verdict == "improved"
    assert task.scores["accuracy"].change == pytest.approx(50 / 400)


def test_few_items_are_inconclusive_and_many_retained(tmp_path: Path) -> None:
    few = compared(tmp_path / "few", quiz(BEFORE[:50]), quiz(flipped(BEFORE[:50], 1, 1)))
    assert few.verdict == "inconclusive"
    assert few.scores["accuracy"].method == "score"
    needed = few.scores["accuracy"].items_needed
    assert needed is not None
    assert needed > 50
    many = hits(0.7, 4_000)
    saved = compared(tmp_path / "many", quiz(many), quiz(flipped(many, 20, 22)))
    assert saved.verdict == "retained"


def test_a_margin_can_be_set_for_a_task_or_a_metric(tmp_path: Path) -> None:
    for margins in ({"quiz": 0.5}, {"accuracy": 0.5}, {"quiz.accuracy": 0.5, "quiz": 0.0, "accuracy": 0.0}):
        task = compared(tmp_path, quiz(BEFORE), quiz(AFTER), dataclasses.replace(PLAN, margins=margins))
        assert task.scores["accuracy"].margin == 0.5
        assert task.verdict == "retained"


def test_changed_items_are_shown_the_lost_ones_first(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(BEFORE), quiz(AFTER))
    assert [change.kind for change in task.changes] == ["lost"] * 60 + ["gained"] * 10
    first = task.changes[0]
    assert first.before.digest == first.after.digest == f"d{np.flatnonzero(BEFORE)[0]}"
    assert first.before.prediction == first.before.target != first.after.prediction
    assert first.change == -1.0


def test_p_values_are_adjusted_over_the_tasks_headlines(tmp_path: Path) -> None:
    both: dict[str, tuple[str, dict[str, Any]]] = {"accuracy": ("accuracy", {}), "mc2": ("mc2", {})}
    before = {"a": Made(choices(BEFORE), both), "b": Made(choices(BEFORE), both), "c": Made(choices(BEFORE), both)}
    after = {
        "a": Made(choices(flipped(BEFORE, 40, 10)), both),
        "b": Made(choices(flipped(BEFORE, 30, 14)), both),
        "c": Made(choices(flipped(BEFORE, 12, 10)), both),
    }
    found = compare(tmp_path, before, after)
    scores = [task.scores["accuracy"] for task in found.tasks]
    p = [score.p or 0.0 for score in scores]
    assert [score.p_holm for score in scores] == pytest.approx([3 * p[0], 2 * p[1], p[2]])
    assert [score.p_bh for score in scores] == pytest.approx([3 * p[0], 1.5 * p[1], p[2]])
    assert [score.headline for score in found.tasks[0].scores.values()] == [True, False]
    assert scores[1].verdict == "inconclusive"


def test_lower_is_better(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)

    def texts(nats: np.ndarray) -> list[AnyOutcome]:
        return [LikelihoodOutcome(-float(value), 20, 10, 50) for value in nats]

    nats = generator.gamma(40.0, size=200)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"bits_per_byte": ("bits_per_byte", {}), "perplexity": ("perplexity", {})}
    task = compared(tmp_path, Made(texts(nats), wanted), Made(texts(nats * 1.1), wanted))
    score = task.scores["bits_per_byte"]
    assert score.difference is not None
    assert score.difference > 0
    assert score.change == -score.difference
    assert score.margin == pytest.approx(0.01 * (score.before or 0.0))
    assert task.verdict == "forgot"
    assert task.chance == 0.0
    assert task.retention is None


def test_an_item_is_lost_when_it_became_worse_whatever_the_metrics_direction(tmp_path: Path) -> None:
    preferred = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    less = np.array([1, 0, 0, 0, 1, 0, 1, 0, 0, 0], dtype=bool)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"stereotype_preference": ("stereotype_preference", {})}
    task = compared(tmp_path, Made(choices(preferred, 2), wanted), Made(choices(less, 2), wanted))
    score = task.scores["stereotype_preference"]
    assert not score.higher_is_better
    assert score.change == pytest.approx(0.2)
    assert (score.lost, score.gained) == (1, 3)
    assert score.odds_ratio == pytest.approx(3.0)
    assert [change.kind for change in task.changes] == ["lost", "gained", "gained", "gained"]


def test_slices_by_label(tmp_path: Path) -> None:
    task = compared(tmp_path, Made(questions_answered(60, 3, 1, 0.2), ACCURACY), Made(questions_answered(60, 3, 2, 0.4), ACCURACY))
    assert [(part.label, part.value, part.score.items) for part in task.slices if part.label == "topic"] == [
        ("topic", value, 60) for value in ("0", "1", "2")
    ]
    assert {part.label for part in task.slices} == {"question", "topic"}, "labels of one value, and of fractions, name no kinds"
    found = [part.score for part in task.slices if part.label == "topic"]
    assert sum(score.lost or 0 for score in found) == task.scores["accuracy"].lost
    assert sum((score.before or 0.0) * score.items for score in found) == pytest.approx((task.scores["accuracy"].before or 0.0) * 180)
    assert all((score.p_holm or 0.0) >= (score.p or 0.0) for score in found)


def test_a_comparison_is_the_same_twice_and_fits_json(tmp_path: Path) -> None:
    labels = [{"topic": number % 2} for number in range(400)]
    before, after = ({"quiz": Made(choices(right, labels=labels), ACCURACY)} for right in (BEFORE, AFTER))
    one, two = (compare(tmp_path, before, after) for _ in range(2))
    assert one == two
    text = json.dumps([dataclasses.asdict(task) for task in one.tasks] + [dataclasses.asdict(one.overall)], allow_nan=False)
    assert "forgot" in text
