from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import metrics
from harness.compare.comparison import ComparisonOptions, RunComparison, compare_runs
from harness.contract import TextOutcome
from harness.errors import InputError
from harness.report.html import flips as module
from harness.report.html.flips import EmbeddedFlips, flips
from harness.report.html.forgetting import forgetting_page
from harness.tasks.schema import Aggregate, Group
from tests.compare.comparing import Made, choices, folder

PLAN = ComparisonOptions(resamples=100)
ACCURACY: dict[str, tuple[str, dict[str, Any]]] = {"accuracy": ("accuracy", {})}


def compared(place: Path, before: dict[str, Made], *after: dict[str, Made], groups: dict[str, Group] | None = None) -> list[RunComparison]:
    base = folder(place / "base", before, groups, system="base")
    sides = [folder(place / f"c{number}", tasks, groups, system=f"c{number}") for number, tasks in enumerate(after)]
    return [compare_runs(base, side, metrics.load, PLAN) for side in sides]


def hits(*wrong: int, items: int = 20) -> Made:
    right = np.ones(items, dtype=bool)
    right[list(wrong)] = False
    return Made(choices(right), ACCURACY)


def said(*texts: str) -> Made:
    return Made([TextOutcome(text, ("a b c d",)) for text in texts], {"rougeL": ("rougeL", {})})


def kinds(found: EmbeddedFlips) -> list[tuple[str, str, str]]:
    return [(found.samples[one["sample"]]["task"], found.samples[one["sample"]]["id"], one["kind"]) for one in found.changes]


def test_all_changes_are_embedded_where_there_is_room(tmp_path: Path) -> None:
    found = flips(compared(tmp_path, {"quiz": hits(1, 2)}, {"quiz": hits(2, 5)}))
    assert sorted(kinds(found)) == [("quiz", "i1", "gained"), ("quiz", "i5", "lost")]
    assert found.total == 2
    assert {name: type(value) for name, value in found.changes[0].items()} == {
        "candidate": int, "sample": int, "kind": str, "change": float, "response": int, "logprobs": list, "scores": dict,
    }  # fmt: skip


def test_the_base_is_embedded_once_for_all_candidates(tmp_path: Path) -> None:
    found = flips(compared(tmp_path, {"quiz": hits()}, {"quiz": hits(3)}, {"quiz": hits(3, 4)}))
    assert [(one["candidate"], found.samples[one["sample"]]["id"]) for one in found.changes] == [(0, "i3"), (1, "i3"), (1, "i4")]
    assert len(found.samples) == 2


def test_items_of_a_groups_tasks_are_named_by_their_task(tmp_path: Path) -> None:
    average = Aggregate.model_validate({"metric": "accuracy", "average": "macro"})
    group = {"exam": Group(group="exam", title="Exam", tasks=("x", "y"), aggregate=(average,))}
    found = flips(compared(tmp_path, {"x": hits(), "y": hits()}, {"x": hits(1), "y": hits(2)}, groups=group))
    assert kinds(found) == [("x", "i1", "lost"), ("y", "i2", "lost")]


def test_a_small_budget_keeps_the_largest_changes_of_each_task_and_both_directions(tmp_path: Path) -> None:
    before = {"quiz": hits(*range(10)), "texts": said("a b c d", "a b c d", "a x x x", "a b c d")}
    after = {"quiz": hits(*range(10, 20)), "texts": said("a b c x", "x x x d", "a b c d", "a b c d")}
    comparisons = compared(tmp_path, before, after)
    whole = flips(comparisons)
    assert whole.total == len(whole.changes) == 23
    size = sum(len(json.dumps(one)) for one in whole.changes + whole.samples)
    few = flips(comparisons, budget=size * 4 // 23)
    assert few.total == 23
    assert {(task, kind) for task, _, kind in kinds(few)} == {
        ("quiz", "lost"), ("quiz", "gained"), ("texts", "worse"), ("texts", "better"),
    }  # fmt: skip
    assert ("texts", "i1", "worse") in kinds(few)
    assert ("texts", "i0", "worse") not in kinds(few)
    assert flips(comparisons, budget=0).changes == []


def test_the_budget_holds(tmp_path: Path) -> None:
    comparisons = compared(tmp_path, {"quiz": hits(items=400)}, {"quiz": hits(*range(300), items=400)})
    found = flips(comparisons, budget=20_000)
    size = sum(len(json.dumps(one, ensure_ascii=False)) for one in found.changes + found.samples)
    assert 15_000 < size <= 20_000
    assert 0 < len(found.changes) < found.total == 300


def test_long_texts_lose_their_middle_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 300)
    found = flips(compared(tmp_path, {"texts": said("a b c d")}, {"texts": said("x " * 400 + "end")}))
    text = found.changes[0]["response"]
    assert text.startswith("x x ")
    assert text.endswith("x end")
    assert "503 characters left out" in text
    assert found.shortened == 1
    assert len(text) < 380


def test_the_candidates_prompt_is_embedded_where_it_differs(tmp_path: Path) -> None:
    other = Made(hits(3).answers, ACCURACY, prompts="other words")
    found = flips(compared(tmp_path, {"quiz": hits()}, {"quiz": other}))
    assert (found.samples[0]["prompt"], found.changes[0]["prompt"]) == ("prompt 3", "other words 3")
    same = flips(compared(tmp_path / "same", {"quiz": hits()}, {"quiz": hits(3)}))
    assert "prompt" not in same.changes[0]


def test_a_page_has_one_base(tmp_path: Path) -> None:
    first = compared(tmp_path / "a", {"quiz": hits()}, {"quiz": hits(3)})
    other = folder(tmp_path / "other", {"quiz": hits()}, system="another")
    second = compare_runs(other, tmp_path / "a" / "c0", metrics.load, PLAN)
    with pytest.raises(InputError, match="have different bases"):
        forgetting_page([*first, second])
    with pytest.raises(InputError, match="There are no comparisons"):
        forgetting_page([])
