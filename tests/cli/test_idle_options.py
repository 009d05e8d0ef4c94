"""Options that would have no effect are refused, or a note says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Call
from tests.tasks.cases import write_rows
from tests.tiny import tiny_causal

TASK = {
    "task": "short",
    "about": {"title": "Short"},
    "data": {"files": {"test": "rows.jsonl"}, "split": "test"},
    "answer": "generate",
    "target": "answer",
    "templates": [{"name": "plain", "prompt": "{{ question }}"}],
    "generation": {"max_new_tokens": 2},
    "metrics": ["exact_match"],
}


@pytest.fixture(autouse=True)
def made(in_tmp: Path) -> None:
    tiny_causal(in_tmp / "tiny")
    write_rows(in_tmp / "rows.jsonl", [{"question": "the sky", "answer": "blue"}])
    (in_tmp / "task.yaml").write_text(yaml.safe_dump(TASK))


RUN = ("run", "-m", "tiny", "-t", "task.yaml", "--output", "out")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("--toxicity", "profanity"), "--toxicity names a scorer, but toxicity is not measured"),
        (("--device", ","), "--device names no device"),
        (("--device", ""), "--device names no device"),
        (("--data", "nope"), "The data folder nope does not exist"),
    ],
)
def test_they_are_refused(call: Call, extra: tuple[str, ...], words: str) -> None:
    done = call(*RUN, *extra)
    assert done.code == 2
    assert words in done.message
    assert not Path("out").exists()


def test_they_are_noted(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PATH", "/nope")
    done = call(*RUN, "--texts", "3")
    assert done.code == 0
    assert "HARNESS_PATH names /nope, which is not a folder" in " ".join(done.err.split())
    assert "--texts 3 has no effect: none of these tasks samples texts" in " ".join(done.err.split())
