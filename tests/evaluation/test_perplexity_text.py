"""A text of one's own becomes a task: passages of whole paragraphs that fit the model."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.errors import DataError
from harness.evaluation import perplexity_text
from harness.models.encoding import Encoder
from harness.tasks.registry import TaskRegistry
from tests.tiny import tokenizer

PARAGRAPHS = [f"Paragraph {number}. " + "The dog sleeps in the garden. " * (number % 4) for number in range(12)]
TEXT = "\n\n".join(PARAGRAPHS)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(tokenizer(), "causal", 64, chat=False)


def tokens(passage: str, encoder: Encoder) -> int:
    return sum(len(scored) for _, scored in encoder.windows("", passage))


def test_passages_end_with_paragraphs_and_are_as_long_as_fits(encoder: Encoder) -> None:
    found = perplexity_text.split_text(TEXT, encoder)
    assert "\n\n".join(found) == "\n\n".join(paragraph.strip() for paragraph in PARAGRAPHS)
    assert all(tokens(passage, encoder) <= 64 for passage in found)
    joined = [f"{one}\n\n{other.partition(chr(10))[0]}" for one, other in pairwise(found)]
    assert len(joined) >= 3
    assert all(tokens(text, encoder) > 60 for text in joined), "the next paragraph would not have fitted"


def test_a_paragraph_that_is_too_long_is_cut_at_white_space(encoder: Encoder) -> None:
    words = [f"word{number}" for number in range(120)]
    found = perplexity_text.split_text(" ".join(words), encoder)
    assert len(found) > 3
    assert " ".join(found).replace("\n\n", " ").split() == words
    assert all(tokens(passage, encoder) <= 64 for passage in found)
    assert perplexity_text.split_text("x" * 500, encoder) == ["x" * 500], "without white space it stays whole, and is scored in windows"


def test_models_without_a_limit_get_passages_of_the_longest_size(encoder: Encoder) -> None:
    found = perplexity_text.split_text(TEXT * 20, replace(encoder, max_length=None))
    assert perplexity_text.LONGEST - 40 < max(tokens(passage, encoder) for passage in found) <= perplexity_text.LONGEST


def test_the_task_is_one_that_a_run_takes(encoder: Encoder, tmp_path: Path) -> None:
    source = tmp_path / "wiki.txt"
    source.write_text(TEXT)
    path = perplexity_text.write_task(source, encoder, tmp_path / "texts")
    (entry,) = TaskRegistry().select([str(path)]).entries
    assert (entry.task.task, entry.task.about.title) == (perplexity_text.TASK, "Likelihood of wiki.txt")
    assert [spec.key for spec in entry.task.metrics] == ["bits_per_byte"]
    rows = [json.loads(line)["text"] for line in (path.parent / "passages.jsonl").read_text().splitlines()]
    assert rows == perplexity_text.split_text(TEXT, encoder)
    assert perplexity_text.write_task(source, encoder, tmp_path / "texts") == path
    source.write_text(TEXT + "\n\nMore.")
    assert perplexity_text.write_task(source, encoder, tmp_path / "texts") != path


def test_json_lines_hold_a_text_each(encoder: Encoder, tmp_path: Path) -> None:
    source = tmp_path / "wiki.jsonl"
    source.write_text("".join(json.dumps({"text": text, "id": text[:2]}) + "\n" for text in ("One.", "Two.")) + "\n")
    path = perplexity_text.write_task(source, encoder, tmp_path)
    assert [json.loads(line)["text"] for line in (path.parent / "passages.jsonl").read_text().splitlines()] == ["One.", "Two."]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"", "contains no text"),
        ("a.txt", b" \n\n \n", "contains no text"),
        ("a.txt", b"\xff", "not valid UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"txt": "b"}\n', "line 2: no field `text`"),
        ("a.jsonl", b'{"text": 3}\n', "line 1: no field `text`"),
        ("a.jsonl", b"[1]\n", "line 1: no field `text`"),
        ("a.jsonl", b"{\n", "line 1: not valid JSON"),
    ],
)
def test_files_that_are_no_text_are_refused(encoder: Encoder, tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        perplexity_text.write_task(tmp_path / name, encoder, tmp_path / "texts")
    assert not (tmp_path / "texts").exists()


def test_a_file_that_is_not_there_is_told(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the text"):
        perplexity_text.write_task(tmp_path / "nowhere.txt", encoder, tmp_path)
