"""`harness tasks new`, `check` and `render --template-file`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.tasks.cases import ROWS, content, write_rows, write_yaml

WORDINGS = """
templates:
  a: !Template {name: first, jinja: 'Is {{ thing }} red or blue? ||| {{ answer_choices[label] }}', answer_choices: red ||| blue}
  b: !Template {name: second, jinja: 'Of what colour is {{ thing }}? ||| {{ ["red", "blue"][label] }}'}
"""


def test_a_new_task_is_written_and_passes_the_check(call: Call, in_tmp: Path) -> None:
    write_rows(
        in_tmp / "rows.jsonl", [{"thing": f"thing {number}", "label": colour} for number, colour in enumerate(("red", "blue", "red"))]
    )
    done = call("tasks", "new", "mine", "--from", "rows.jsonl")
    assert done.code == 0
    assert "wrote mine.yaml: 3 items, answer form choices, target from the column 'label'" in done.out
    checked = call("tasks", "check", "mine.yaml")
    assert checked.code == 0
    assert checked.out.splitlines()[0] == "OK       mine: 3 items, 1 template, 2 metrics"
    again = call("tasks", "new", "mine", "--from", "rows.jsonl")
    assert "mine.yaml already exists" in again.message


def test_check_tells_each_file_and_fails_where_one_is_wrong(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    write_yaml(place / "more" / "wrong.yaml", content(task="wrong", metrics=["accurracy"]))
    write_yaml(place / "more" / "_part.yaml", {"nothing": "of its own"})
    write_yaml(place / "more" / "away.yaml", content(task="away", data={"path": "nobody/nothing", "split": "test"}))
    write_rows(place / "doubled.jsonl", [*ROWS, ROWS[0]])
    write_yaml(place / "doubled.yaml", content(task="doubled", data={"files": {"test": "doubled.jsonl"}, "split": "test"}))
    done = call("tasks", "check", "task.yaml", "doubled.yaml", "more")
    assert done.code == 2
    lines = done.out.splitlines()
    assert lines[:3] == [
        "OK       colours: 3 items, 1 template, 1 metric",
        "OK       doubled: 4 items, 1 template, 1 metric",
        "         warning: items that repeat an earlier one: 1 of 4 items (3).",
    ]
    assert lines[3].startswith("no data  away: can't load the dataset nobody/nothing")
    assert lines[4].startswith("error    wrong: Unknown metric 'accurracy'")
    assert lines[-1].startswith("2 passed, 1 skipped, 1 failed; warnings: 1.")
    assert call("tasks", "check", "task.yaml", "doubled.yaml").code == 0


def test_check_with_a_model_looks_at_its_tokens(call: Call, place: Path, tiny: Path, no_model: None) -> None:
    write_rows(place / "rows.jsonl", [*ROWS, {"thing": "the long " * 100, "label": 0}])
    assert "warnings: 0" in call("tasks", "check", "task.yaml").out
    checked = call("tasks", "check", "task.yaml", "--model", tiny)
    assert checked.code == 0
    assert "warning: 1 of the 4 longest items exceed the model's 256 tokens" in checked.out


def test_a_folder_without_tasks_is_told(call: Call, in_tmp: Path) -> None:
    (in_tmp / "empty").mkdir()
    assert "contains no task file" in call("tasks", "check", "empty").message


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [((), ["first", "second"]), (("--template", "second"), ["second"]), (("--template", "all"), ["first", "second", "plain"])],
)
def test_wordings_of_a_file_are_rendered(call: Call, place: Path, arguments: tuple[str, ...], shown: list[str]) -> None:
    (place / "words.yaml").write_text(WORDINGS)
    done = call("tasks", "render", "task.yaml", "--template-file", "words.yaml", *arguments)
    assert done.code == 0
    assert [name for name in ("first", "second", "plain") if f"colours, {name}, item 0" in done.out] == shown
    assert ("Is the sky red or blue? blue" in done.out) == ("first" in shown)
    assert ("Of what colour is the sky? blue" in done.out) == ("second" in shown)
