"""`harness run --explain` prints the plan, loads no model, and writes no results."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call, forbid_model


def test_the_plan_is_printed_and_nothing_else_happens(call: Call, tiny: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_model(monkeypatch)
    done = call("run", "-m", tiny, "-t", "task.yaml", "--output", "out", "--explain")
    assert (done.code, done.err) == (0, "")
    (line,) = [line for line in done.out.splitlines() if line.split()[:1] == ["score"]]
    requests, asked, distinct, computed = (int(cell) for cell in line.split()[1:5])
    assert requests == 3
    assert 0 < distinct <= computed <= asked
    assert "0 of 3 responses are already cached" in done.out
    assert not (place / "out").exists()


def test_cached_responses_are_reported(call: Call, tiny: Path, place: Path) -> None:
    call("run", "-m", tiny, "-t", "task.yaml", "--output", "out")
    assert "3 of 3 responses are already cached" in call("run", "-m", tiny, "-t", "task.yaml", "--explain").out
    assert "0 of 3 responses are already cached" in call("run", "-m", tiny, "-t", "task.yaml", "--explain", "--fresh").out


def test_bad_input_is_told_as_a_run_tells_it(call: Call, tiny: Path, place: Path) -> None:
    assert "unknown_task" in call("run", "-m", tiny, "-t", "unknown_task", "--explain").message
