"""Results that were changed after they were written are refused by every command that reads them; unverified ones are marked."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.compare.pairing import Results
from tests.cli.conftest import Call
from tests.compare.comparing import Made, choices, folder
from tests.store.written import as_version_1, with_statistics

METRICS: dict[str, tuple[str, dict[str, Any]]] = {"accuracy": ("accuracy", {}), "ece_10_bin": ("ece_10_bin", {})}
GATE = ("gate", "tuned", "--baseline", "base")
FORGETTING = ("forgetting", "--before", "base", "--after", "tuned")
LEADERBOARD = ("leaderboard", "base", "tuned", "--format", "json")
PAGE = ("leaderboard", "base", "tuned", "--html", "board.html")
PLOT = ("plot", "base", "tuned", "--out", "figures")
SHOW = ("results", "show", "tuned")


@pytest.fixture(autouse=True)
def made(in_tmp: Path) -> None:
    """A base and a tuned system on two tasks."""
    for name, right in (("base", 24), ("tuned", 18)):
        one = Made(choices([number < right for number in range(40)]), METRICS)
        other = Made(choices([number % 2 == 0 for number in range(40)]), METRICS)
        folder(in_tmp / name, {"quiz": one, "other": other}, system=name)


def results(change: Callable[[dict[str, Any]], object]) -> None:
    path = Path("tuned/results.json")
    content = json.loads(path.read_text())
    change(content["tasks"]["quiz"]["metrics"]["accuracy"])
    path.write_text(json.dumps(content, indent=2))


def samples(old: str, new: str, file: str = "quiz.jsonl") -> None:
    path = Path("tuned/samples") / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def swap() -> None:
    for ending in (".jsonl", ".statistics.json"):
        one, other = (Path("tuned/samples") / f"{name}{ending}" for name in ("quiz", "other"))
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)


def beside_other_samples() -> None:
    shutil.copyfile("base/results.json", "tuned/results.json")


EDITS: dict[str, tuple[Callable[[], None], list[tuple[str, ...]]]] = {
    "value": (lambda: results(lambda one: one.update(value=0.99)), [GATE, FORGETTING, LEADERBOARD, PAGE, PLOT, SHOW]),
    "interval": (lambda: results(lambda one: one.update(ci=[0.59, 0.61])), [GATE, FORGETTING, LEADERBOARD]),
    "sample": (lambda: samples('"metrics": {"accuracy": 0.0', '"metrics": {"accuracy": 1.0'), [GATE, FORGETTING, LEADERBOARD, PLOT, SHOW]),
    "statistic": (
        lambda: samples('"places": [', '"places": [0, ', "quiz.statistics.json"),
        [FORGETTING, LEADERBOARD, PAGE, PLOT],
    ),
    "swapped": (swap, [GATE, FORGETTING, LEADERBOARD]),
    "another run's": (beside_other_samples, [GATE, FORGETTING, LEADERBOARD, SHOW]),
}


@pytest.mark.parametrize(("edit", "command"), [(edit, command) for edit, (_, commands) in EDITS.items() for command in commands])
def test_what_was_changed_is_refused(call: Call, edit: str, command: tuple[str, ...]) -> None:
    assert call(*command).code in (0, 3)
    EDITS[edit][0]()
    message = call(*command).message
    assert "was changed after it was written" in message or "is not the file that the results.json next to it records" in message
    done = call("results", "verify", "base", "tuned")
    assert done.code == 2
    assert [line.split()[0] for line in done.out.splitlines() if line[0] != " "] == ["verified", "changed"]


@pytest.mark.parametrize("file", ["quiz.jsonl", "quiz.statistics.json", "other.statistics.json"])
@pytest.mark.parametrize("command", [GATE, ("gate", "tuned", "--policy", "policy.yaml"), FORGETTING, LEADERBOARD, PAGE, PLOT, SHOW])
def test_a_recorded_file_that_is_missing_is_refused(call: Call, command: tuple[str, ...], file: str) -> None:
    Path("policy.yaml").write_text("rules:\n  - quiz >= 0.1\n")
    Path("tuned/samples", file).unlink()
    done = call(*command)
    assert done.code == 2
    assert f"samples/{file} ({file.partition('.')[0]}) is missing" in done.message
    assert f"samples/{file} ({file.partition('.')[0]}) is missing" in call("results", "verify", "tuned").out


def test_another_systems_scores_do_not_pass_for_noise(call: Call) -> None:
    shutil.copytree("base", "base/noise")
    assert call(*FORGETTING, "--noise").code == 0
    shutil.rmtree("base/noise")
    shutil.copytree("tuned", "base/noise")
    done = call(*FORGETTING, "--noise")
    assert done.code == 2
    assert "The second scoring in base/noise is of another system (tuned) than base (base)" in done.message


def test_what_cannot_be_verified_is_read_and_marked_everywhere(call: Call) -> None:
    reports: dict[str, list[tuple[str, ...]]] = {
        "out": [GATE, FORGETTING, LEADERBOARD, ("leaderboard", "base", "tuned"), ("leaderboard", "base", "tuned", "--format", "md"), SHOW],
        "err": [PLOT],
    }
    files: dict[str, tuple[str, ...]] = {
        "board.html": PAGE,
        "x.md": (*FORGETTING, "--md", "x.md"),
        "x.html": (*FORGETTING, "--html", "x.html"),
        "x.json": (*FORGETTING, "--json", "x.json"),
        "gate.md": (*GATE, "--summary", "gate.md"),
        "gate.xml": (*GATE, "--junit", "gate.xml"),
    }
    for marked in (False, True):
        if marked:
            as_version_1(Path("tuned"))
            as_version_1(Path("base"))
        for stream, commands in reports.items():
            for command in commands:
                done = call(*command)
                assert done.code in (0, 3)
                said = " ".join(getattr(done, stream).split())
                assert (re.search(r"Not verified: (base, )?tuned", said) is not None) == marked, command
                assert ("An earlier version wrote these results without digests" in said) == marked, command
        for file, command in files.items():
            assert call(*command).code in (0, 3)
            assert (re.search(r"Not verified: (base, )?tuned", Path(file).read_text()) is not None) == marked, file


def test_only_the_tasks_that_cannot_be_verified_are_marked(call: Call) -> None:
    as_version_1(Path("tuned"))
    with_statistics(Path("tuned"), "quiz", Results.read(Path("base")).task_samples("quiz", None).statistics)
    assert "Not verified: tuned (other)." in call("leaderboard", "base", "tuned").out
    assert "Not verified" not in call("forgetting", "--before", "base", "--after", "base").out


def test_a_later_file_does_not_pass_for_one_without_digests(call: Call) -> None:
    path = Path("tuned/results.json")
    content = json.loads(path.read_text())
    content["schema_version"] = 1
    del content["digest"]
    for task in content["tasks"].values():
        del task["files"]
        task["metrics"]["accuracy"]["value"] = 0.99
    path.write_text(json.dumps(content))
    for command in (GATE, FORGETTING, LEADERBOARD, SHOW):
        assert "has schema_version 1, but also fields that only later versions wrote" in call(*command).message


def test_a_gate_does_not_pass_what_cannot_be_verified(call: Call) -> None:
    Path("policy.yaml").write_text("rules:\n  - quiz >= 0.1\n")
    command = ("gate", "tuned", "--policy", "policy.yaml")
    assert call(*command).code == 0
    as_version_1(Path("tuned"))
    done = call(*command)
    assert done.code == 3
    assert "results of an earlier version cannot be verified" in " ".join(done.out.split())
