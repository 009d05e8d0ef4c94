from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import DataError, InputError, TaskError
from harness.tasks.checking import check_files
from harness.tasks.data import DataReader
from harness.tasks.prompts import rendered
from harness.tasks.registry import TaskEntry, TaskRegistry
from harness.tasks.scaffold import write

Rows = Sequence[Mapping[str, Any]]

TICKETS: Rows = [
    {
        "Ticket ID": f"T-{number}",
        "Conversation": f"Customer: Parcel {number} never came.\nAgent: I shall send it once more, and you pay nothing for that.",
        "team": ("delivery", "billing")[number % 2],
        "Summary": f"Parcel {number} did not arrive, so the agent sends it again without asking for money.",
    }
    for number in range(8)
]
MOODS: Rows = [{"text": f"I feel like number {n}.", "label": ("good", "bad", "so so")[n % 3]} for n in range(12)]
SUMS: Rows = [{"question": f"What is {n} + 1?", "A": n, "B": n + 1, "C": n + 2, "D": 0.5, "answer": "B"} for n in range(5)]
LISTS: Rows = [{"id": n, "question": f"Which is {n}?", "options": [f"it is {n}", "none"], "correct": 1 + n % 2} for n in range(5)]
TRIVIA: Rows = [{"question": f"Who is number {n}?", "answers": [f"Ann {n}", "Ann"]} for n in range(40)]


def as_csv(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_jsonl(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_parquet(path: Path, rows: Rows) -> Path:
    import datasets

    datasets.Dataset.from_list([dict(row) for row in rows]).to_parquet(str(path))
    return path


def made(tmp_path: Path, rows: Rows, source: str = "rows.jsonl") -> TaskEntry:
    """The task that is written for these rows; it passes the check as it is."""
    writers = {".csv": as_csv, ".jsonl": as_jsonl, ".parquet": as_parquet}
    path = writers[Path(source).suffix](tmp_path / source, rows)
    output = tmp_path / "new" / "task.yaml"
    write("mine", path, output)
    (checked,) = check_files([output])
    assert (checked.state, checked.name, checked.warnings) == ("OK", "mine", ())
    (entry,) = TaskRegistry().select([str(output)]).entries
    return entry


def first_prompt(entry: TaskEntry) -> str:
    (one,) = rendered(entry.task, entry.template(None), DataReader(), entry.path.parent, 1)
    return one.prompt + one.delimiter + one.answer


@pytest.mark.parametrize("source", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_long_answers_are_generated_and_judged_by_overlap(tmp_path: Path, source: str) -> None:
    entry = made(tmp_path, TICKETS, source)
    task = entry.task
    assert (task.answer, task.target) == ("generate", "Summary")
    assert [spec.metric for spec in task.metrics] == ["rouge1", "rouge2", "rougeL"]
    assert (task.data.rename, task.data.id) == ({"ticket_id": "Ticket ID"}, "ticket_id")
    assert task.generation.stop == ("\n",)
    assert task.generation.max_new_tokens == 32
    assert (task.shots.split, task.shots.number) == ("test", 0)
    assert first_prompt(entry) == (f"Conversation:\n{TICKETS[0]['Conversation']}\n\nSummary: {TICKETS[0]['Summary']}"), (
        "few values that come again are no part of the question"
    )


GUESSES: list[tuple[str, Rows, dict[str, Any], str]] = [
    (
        "classes",
        MOODS,
        {"answer": "choices", "choices": ("bad", "good", "so so"), "target": "label"},
        "Text: I feel like number 0.\nLabel (bad, good or so so): good",
    ),
    (
        "classes by number",
        [{"text": f"Text {n}.", "label": n % 3} for n in range(9)],
        {"answer": "choices", "choices": ("0", "1", "2"), "target": "label | int"},
        "Text: Text 0.\nLabel (0, 1 or 2): 0",
    ),
    (
        "classes by other numbers",
        [{"text": f"Text {n}.", "label": (-1, 1)[n % 2]} for n in range(9)],
        {"answer": "choices", "choices": ("-1", "1"), "target": "label | int | string"},
        "Text: Text 0.\nLabel (-1 or 1): -1",
    ),
    (
        "true and false",
        [{"claim": f"Claim {n}.", "answer": n % 2 == 1} for n in range(6)],
        {"answer": "choices", "choices": ("no", "yes"), "target": "answer"},
        "Claim: Claim 0.\nAnswer (no or yes): no",
    ),
    (
        "a class that no name tells",
        [{"message": f"Message {n}.", "queue": ("a", "b")[n % 2]} for n in range(6)],
        {"answer": "choices", "choices": ("a", "b"), "target": "queue"},
        "Message: Message 0.\nQueue (a or b): a",
    ),
    (
        "options in columns",
        SUMS,
        {"answer": "choices", "choices": ("{{ A }}", "{{ B }}", "{{ C }}", "{{ D }}"), "target": '"ABCD".index(answer)'},
        "Question: What is 0 + 1?\nAnswer: 1",
    ),
    (
        "options in a list, counted from one",
        LISTS,
        {"answer": "choices", "choices": "options", "target": "correct | int - 1"},
        "Question: Which is 0?\nAnswer: it is 0",
    ),
    (
        "the right option's text",
        [{"question": f"Which? {n}", "options": ["up", "down"], "answer": ("up", "down")[n % 2]} for n in range(4)],
        {"answer": "choices", "choices": "options", "target": "answer"},
        "Question: Which? 0\nAnswer: up",
    ),
    (
        "several references",
        TRIVIA,
        {"answer": "generate", "target": "answers"},
        "Question: Who is number 0?\nAnswers: Ann 0",
    ),
    (
        "numbers to be written",
        [{"question": f"What is {n} times 7?", "answer": n * 7} for n in range(30)],
        {"answer": "generate", "target": "answer | string"},
        "Question: What is 0 times 7?\nAnswer: 0",
    ),
    (
        "a corpus",
        [{"text": f"Words and words, {n}."} for n in range(4)],
        {"answer": "score_text", "target": "text"},
        " Words and words, 0.",
    ),
    (
        "the last text",
        [{"from": f"Guten Tag {n}", "to": f"Good day {n}"} for n in range(30)],
        {"answer": "generate", "target": "to"},
        "From: Guten Tag 0\nTo: Good day 0",
    ),
    (
        "names that Jinja does not read",
        [{"is": f"Text {n}", "2nd text": f"More {n}", "größe": f"big {n}", "label": f"Answer {n}"} for n in range(30)],
        {"answer": "generate", "data.rename": {"is_": "is", "column_2nd_text": "2nd text", "gr_e": "größe"}},
        "Is: Text 0\nColumn 2nd text: More 0\nGr e: big 0\nLabel: Answer 0",
    ),
]


@pytest.mark.parametrize(("rows", "told", "prompt"), [case[1:] for case in GUESSES], ids=[case[0] for case in GUESSES])
def test_the_form_of_the_answer_is_guessed(tmp_path: Path, rows: Rows, told: dict[str, Any], prompt: str) -> None:
    entry = made(tmp_path, rows)
    found = entry.task.model_dump() | {"data.rename": entry.task.data.rename}
    assert {key: found[key] for key in told} == told
    assert first_prompt(entry) == prompt


def test_items_without_an_answer_are_left_out_and_gaps_in_a_question_are_blank(tmp_path: Path) -> None:
    rows = [*TRIVIA[:3], {"question": None, "answers": ["x"]}, {"question": "?", "answers": None}]
    entry = made(tmp_path, rows)
    items = DataReader().split(entry.task, "test", entry.path.parent).items
    assert [item.id for item in items] == ["0", "1", "2", "3"]
    prompts = [one.prompt for one in rendered(entry.task, entry.template(None), DataReader(), entry.path.parent, 4)]
    assert prompts[3] == "Question: \nAnswers:"


def test_answers_of_several_lines_do_not_end_at_the_first(tmp_path: Path) -> None:
    entry = made(tmp_path, [{"text": f"Text {n}", "summary": f"Line {n}\nLine"} for n in range(20)])
    assert entry.task.generation.stop == ()


def test_every_key_has_a_comment(tmp_path: Path) -> None:
    made(tmp_path, TICKETS, "rows.csv")
    text = (tmp_path / "new" / "task.yaml").read_text()
    keys = [line for line in text.splitlines() if line and line.partition(":")[0].isidentifier()]
    assert len(keys) == len(yaml.safe_load(text))
    assert [line for line in keys if "  # " not in line and line not in ("task: mine", "about:", "data:")] == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source, output = as_jsonl(tmp_path / "rows.jsonl", MOODS), tmp_path / "task.yaml"
    output.write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        write("moods", source, output)
    assert output.read_text() == "mine"


@pytest.mark.parametrize("name", ["two words", "../up", "", "-x", "a/b"])
def test_a_name_must_be_a_tasks(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is not a valid task name"):
        write(name, as_jsonl(tmp_path / "rows.jsonl", MOODS), tmp_path / "task.yaml")
    assert not (tmp_path / "task.yaml").exists()


def test_a_file_that_cannot_be_asked_about_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="No column of the file holds text"):
        write("numbers", as_jsonl(tmp_path / "rows.jsonl", [{"a": 1, "b": 2.5}]), tmp_path / "task.yaml")
    with pytest.raises(DataError, match="does not exist"):
        write("nothing", tmp_path / "no.csv", tmp_path / "task.yaml")
    with pytest.raises(DataError, match="unknown format"):
        write("nothing", tmp_path / "no.xlsx", tmp_path / "task.yaml")
    assert not (tmp_path / "task.yaml").exists()
