"""The backend without a model: documented answers, on every machine the same."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from harness.contract import ChoiceScores, Generate, Generation, Prompt, ScoreChoices, ScoreText, TextScore
from harness.engine.mock import ByteTokenizer, MockEngine, MockTable
from harness.errors import ModelError
from harness.evaluation.options import Options
from harness.evaluation.run import run
from tests.silent import Recorder
from tests.tasks.cases import ROWS, content, write_rows, write_yaml

WORDS = ByteTokenizer()


def ranked(table: MockTable, prompt: str, *choices: str) -> list[str]:
    """The choices by their log-probability, the highest first."""
    request = ScoreChoices("q", WORDS.encode(prompt), tuple(map(WORDS.encode, choices)))
    ((response,),) = MockEngine(table).score([request])
    assert isinstance(response, ChoiceScores)
    assert sum(map(math.exp, response.logprobs)) <= 1
    assert response.greedy.count(True) == 1
    return [choice for _, choice in sorted(zip(response.logprobs, choices, strict=True), reverse=True)]


def written(table: MockTable, request: Generate) -> Generation:
    ((response,),) = MockEngine(table).generate([request])
    assert isinstance(response, Generation)
    return response


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("longest", [" three", " two", " x"]),
        ("shortest", [" x", " two", " three"]),
        ("first", [" two", " x", " three"]),
        ("last", [" three", " x", " two"]),
    ],
)
def test_rules_rank_choices(rule: str, expected: list[str]) -> None:
    assert ranked(MockTable.read(rule), "Which?", " two", " x", " three") == expected


def test_a_table_answers_by_what_a_prompt_contains(tmp_path: Path) -> None:
    (tmp_path / "mock.json").write_text(json.dumps({"answers": {"grass": "green", "sky": "blue"}, "otherwise": "first"}))
    table = MockTable.read(str(tmp_path))
    assert table == MockTable.read(str(tmp_path / "mock.json"))
    assert ranked(table, "What colour is the sky?", " green", " blue")[0] == " blue"
    assert ranked(table, "What colour is a lamp?", " green", " blue")[0] == " green"
    assert written(table, Generate("g", WORDS.encode("The sky is"), 9)).text == "blue"


def test_a_prompt_is_answered_by_its_last_line() -> None:
    table = MockTable.read("longest")
    answer = written(table, Generate("g", (), 99, prompt=Prompt("Translate.\nGood day, all\n")))
    assert (answer.text, answer.finish) == ("Good day, all", "eos")
    assert written(table, Generate("g", WORDS.encode("a\nGood day"), 4)).finish == "length"
    stopped = written(table, Generate("g", WORDS.encode("Good day, all"), 99, stop=(",",)))
    assert (stopped.text, stopped.finish) == ("Good day", "stop")


def test_every_byte_of_a_text_takes_eight_bits() -> None:
    ((response,),) = MockEngine(MockTable.read("first")).score([ScoreText("t", ((WORDS.encode("a"), WORDS.encode("ü")),))])
    assert isinstance(response, TextScore)
    assert response.logprobs[0] / math.log(2) == pytest.approx(-16)


@pytest.mark.parametrize("text", ["", "[]", '{"otherwise": "first"}', '{"answers": {"a": 1}}', '{"answers": {}, "otherwise": "best"}'])
def test_an_invalid_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(ModelError, match=r"table\.json is not a"):
        MockTable.read(str(tmp_path / "table.json"))
    with pytest.raises(ModelError, match="neither a rule nor a table"):
        MockTable.read(str(tmp_path / "nothing.json"))


def test_a_run_needs_no_weights(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    tasks = (str(write_yaml(tmp_path / "task.yaml", content())),)
    (finished,) = run(Options(model="last", tasks=tasks, engine="mock", output=tmp_path / "out"), Recorder())
    system = finished.record.system
    assert (system.name, system.engine, system.identity, system.parameters) == ("last@mock", "mock", "none", 0)
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples" / "colours.jsonl").read_text().splitlines()]
    assert all(sample["prediction"] == len(sample["choices"]) - 1 for sample in samples)
    (again,) = run(Options(model="last", tasks=tasks, engine="mock", output=tmp_path / "again", chat=True), Recorder())
    assert again.record.system.chat_template_digest is not None
    (other,) = run(Options(model="first", tasks=tasks, engine="mock", output=tmp_path / "other"), Recorder())
    assert other.record.system.model_digest != system.model_digest
