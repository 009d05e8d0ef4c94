"""Backends of the user's own: what they cannot do is refused, and their faults are reported as theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.engine import base
from harness.engine.base import Capabilities
from harness.errors import InputError
from harness.models.opening import ModelOptions
from tests.outside import harness_outside

BACKEND = """
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.contract import ChoiceScores, Usage
from harness.engine.base import Backend, Capabilities, backend
from harness.engine.mock import ByteTokenizer
from harness.models.digests import text_digest
from harness.models.encoding import Encoder
from harness.models.identity import ModelIdentity
from harness.models.opening import Opening


@backend("own")
class Own(Backend):
    capabilities = Capabilities(choices=True, reads="text")

    def prepare(self, options, note):
        return Opening(options, "own", Encoder(ByteTokenizer(), "causal", None, False))

    def identify(self, opening):
        return ModelIdentity("none", text_digest("own"), text_digest("bytes"), "none")

    def open(self, opening):
        return Session()


class Session:
    @contextmanager
    def engine(self, adapter):
        yield Engine()

    def close(self):
        pass


@dataclass
class Engine:
    usage: Usage = field(default_factory=Usage)
    notes: list = field(default_factory=list)

    def generate(self, requests, done=()):
        return iter(())

    def score(self, requests, done=()):
        for request in requests:
            if request.id not in done:
                yield [BODY]
"""
FINE = "ChoiceScores(request.id, tuple(-1.0 - (place + SHIFT) % 2 for place in range(len(request.choices))))"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "my" / "engines").mkdir(parents=True)
    (tmp_path / "task").mkdir()
    rows = [{"id": f"{number}", "text": f"text {number}", "label": number % 2} for number in range(6)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "walk.yaml").write_text(
        "task: walk\nabout: {title: A walk}\ndata: {files: {test: rows.jsonl}, split: test, id: id}\nanswer: choices\n"
        "choices: ['no', 'yes']\ntarget: label\ntemplates: [{name: plain, prompt: '{{ text }}: '}]\nmetrics: [accuracy]\n"
    )
    return tmp_path


def write(place: Path, body: str, shift: int = 0) -> None:
    (place / "my" / "engines" / "own.py").write_text(BACKEND.replace("BODY", body).replace("SHIFT", f"{shift}"))


def run(place: Path, output: str, *arguments: str) -> tuple[int, str]:
    command = ("run", "--engine", "own", "--model", "any", "--tasks", "walk.yaml", "--output", output, *arguments)
    done = harness_outside(place, place / "my", *command)
    return done.returncode, done.stdout + done.stderr


def test_a_changed_backend_is_another_system(place: Path) -> None:
    for output, shift in (("first", 0), ("second", 1)):
        write(place, FINE, shift)
        assert run(place, output)[0] == 0
    first, second = (json.loads((place / name / "results.json").read_text()) for name in ("first", "second"))
    assert first["system"]["engine_code"] != second["system"]["engine_code"]
    assert first["system"]["digest"] != second["system"]["digest"]
    assert second["efficiency"]["requests"]["cached"] == 0
    compared = harness_outside(place, place / "my", "compare", "first", "second")
    assert compared.returncode == 0
    assert "system is the same" not in compared.stdout
    assert "same system" not in compared.stdout


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("ChoiceScores('another', (-1.0, -2.0))", "answered 'another', which was not requested"),
        ("'text'", "answered 'text', which was not requested"),
    ],
)
def test_its_faults_are_one_message_that_names_it(place: Path, body: str, words: str) -> None:
    write(place, body)
    code, text = run(place, "out")
    assert code in (1, 2)
    assert words in " ".join(text.split())
    assert "Internal error" not in text
    assert "Traceback" not in text


def test_a_fault_names_file_and_line(place: Path) -> None:
    write(place, "1 / 0")
    code, text = run(place, "out")
    line = next(number for number, line in enumerate((place / "my/engines/own.py").read_text().splitlines(), 1) if "1 / 0" in line)
    assert code == 2
    assert f"own.py, line {line}, in score" in " ".join(text.split())


def test_responses_that_are_missing_are_counted(place: Path) -> None:
    write(place, FINE)
    file = place / "my" / "engines" / "own.py"
    file.write_text(file.read_text().replace("if request.id not in done:", "if request.id not in done and '3' not in request.id:"))
    code, text = run(place, "out")
    assert code != 0
    assert "gave no response to 1 of 6 requests" in " ".join(text.split())


@pytest.mark.parametrize(
    "option", [("--dtype", "bfloat16"), ("--revision", "main"), ("--batch-tokens", "100"), ("--chat",), ("--no-chat",)]
)
def test_options_that_it_does_not_use_are_refused(place: Path, option: tuple[str, ...]) -> None:
    write(place, FINE)
    code, text = run(place, "out", *option)
    assert code == 2
    assert f"--engine own does not support {option[0]}" in " ".join(text.split())


def test_help_works_beside_a_broken_file(place: Path) -> None:
    (place / "my" / "engines" / "own.py").write_text("this is not Python")
    shown = harness_outside(place, place / "my", "run", "--help")
    assert shown.returncode == 0
    assert "--engine" in shown.stdout
    code, text = run(place, "out")
    assert code == 2
    assert "own.py cannot be imported" in " ".join(text.split())


def test_a_backend_without_open_is_refused() -> None:
    with pytest.raises(InputError, match=r"The backend 'closed' does not define open\(\)"):
        base.backend("closed")(type("Closed", (base.Backend,), {}))


@pytest.mark.parametrize("values", [{"reads": "txt"}, {"settings": frozenset({"colour"})}])
def test_capabilities_are_checked(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"txt|colour"):
        Capabilities(**values)  # type: ignore[arg-type]


def test_the_mock_backend_is_not_offered_in_the_place_of_a_model() -> None:
    with pytest.raises(InputError) as caught:
        base.check_options(base.load("vllm"), ModelOptions("x", batch_tokens=7))
    assert "--batch-tokens" in caught.value.what
    assert "mock" not in caught.value.remedy
