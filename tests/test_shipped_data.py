"""The data and definitions that are shipped: the demonstration items, the task families and the model cards."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.models.cards import cards
from harness.tasks.registry import TaskEntry, TaskRegistry

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "tasks" / "demo"
DEMO_TASKS = ["demo_knowledge", "demo_sentiment", "demo_dialogue", "demo_translation"]
MMLU_CATEGORIES = {"mmlu_stem": 19, "mmlu_humanities": 13, "mmlu_social_sciences": 12, "mmlu_other": 13}


def rows_of(file: str) -> list[dict[str, Any]]:
    text = (DEMO / "data" / file).read_text(encoding="utf-8")
    assert text.endswith("\n")
    rows = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(row, dict) for row in rows)
    return rows


def texts_in(value: Any) -> list[str]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [text for part in parts for text in texts_in(part)]


@pytest.fixture(scope="module")
def registry() -> TaskRegistry:
    shipped = TaskRegistry()
    shipped.add_folder(ROOT / "tasks")
    return shipped


def demo_entries(registry: TaskRegistry) -> list[TaskEntry]:
    return [registry.tasks[name] for name in DEMO_TASKS]


@pytest.mark.parametrize("file", sorted(path.name for path in (DEMO / "data").iterdir()))
def test_rows_are_whole(file: str) -> None:
    rows = rows_of(file)
    assert len({frozenset(row) for row in rows}) == 1, "every row has the same fields"
    for row in rows:
        texts = texts_in(row)
        assert texts
        assert all(text and text == text.strip() for text in texts), row
        assert all(value for value in row.values() if isinstance(value, list)), row


def test_row_counts_and_files_are_those_of_the_task_files(registry: TaskRegistry) -> None:
    used = set()
    for entry in demo_entries(registry):
        data = entry.task.data
        assert data.files is not None
        for split, file in data.files.items():
            assert len(rows_of(Path(file).name)) == entry.task.about.rows[split], (entry.task.task, split)
            used.add(Path(file).name)
        assert set(entry.task.about.rows) == set(data.files)
    assert used == {path.name for path in (DEMO / "data").iterdir()}, "no data file is left over"


@pytest.mark.parametrize(
    ("files", "field"),
    [
        (["knowledge.jsonl", "knowledge_shots.jsonl"], "question"),
        (["sentiment.jsonl"], "review"),
        (["dialogue.jsonl"], "dialogue"),
        (["translation.jsonl", "translation_shots.jsonl"], "de"),
        (["translation.jsonl", "translation_shots.jsonl"], "en"),
    ],
)
def test_no_text_stands_twice(files: list[str], field: str) -> None:
    texts = Counter(row[field].casefold() for file in files for row in rows_of(file))
    assert [text for text, count in texts.items() if count > 1] == []


def test_knowledge_keys_are_valid_and_balanced() -> None:
    rows = rows_of("knowledge.jsonl")
    keys = Counter(row["answer"] for row in rows)
    assert set(keys) == {0, 1, 2, 3}
    assert min(keys.values()) >= 8
    assert set(Counter(row["subject"] for row in rows).values()) == {5}
    for row in [*rows, *rows_of("knowledge_shots.jsonl")]:
        assert len(row["options"]) == len(set(row["options"])) == 4, row
        assert row["answer"] in range(4)


def test_longest_option_is_not_a_giveaway() -> None:
    rows = rows_of("knowledge.jsonl")
    alone_longest = 0
    for row in rows:
        lengths = [len(option) for option in row["options"]]
        alone_longest += lengths.count(max(lengths)) == 1 and lengths.index(max(lengths)) == row["answer"]
    assert alone_longest <= len(rows) * 0.45


def test_sentiment_labels_are_balanced() -> None:
    labels = [row["label"] for row in rows_of("sentiment.jsonl")]
    assert Counter(labels) == {0: 18, 1: 18}
    assert labels != sorted(labels)
    assert labels != sorted(labels, reverse=True)


def test_dialogues_are_dialogues_with_two_summaries() -> None:
    for row in rows_of("dialogue.jsonl"):
        lines = row["dialogue"].split("\n")
        speakers = {line.split(": ", 1)[0] for line in lines}
        assert 5 <= len(lines) <= 8
        assert all(re.match(r"[A-Z][A-Za-z ]*: \S", line) for line in lines), row["dialogue"]
        assert len(speakers) == 2
        assert len(row["summaries"]) == len(set(row["summaries"])) == 2
        assert all("\n" not in summary for summary in row["summaries"])


def test_demo_fits_two_cores(registry: TaskRegistry) -> None:
    items = sum(entry.task.about.rows["test"] for entry in demo_entries(registry))
    longest = max(len(row["dialogue"]) for row in rows_of("dialogue.jsonl"))
    assert items <= 130
    assert longest <= 500


def test_groups_hold_what_they_say(registry: TaskRegistry) -> None:
    assert registry.members("demo") == DEMO_TASKS
    assert sorted(registry.members("multi30k")) == ["multi30k_de_en", "multi30k_en_de"]
    assert {name: len(registry.members(name)) for name in MMLU_CATEGORIES} == MMLU_CATEGORIES
    assert len(registry.members("mmlu")) == sum(MMLU_CATEGORIES.values()) == 57


def test_mmlu_rows_add_up_to_the_official_release(registry: TaskRegistry) -> None:
    rows = [registry.tasks[name].task.about.rows for name in registry.members("mmlu")]
    assert sum(row["test"] for row in rows) == 14042
    assert sum(row["validation"] for row in rows) == 1531
    assert sum(row["dev"] for row in rows) == 285


def test_every_task_has_a_header_and_several_wordings(registry: TaskRegistry) -> None:
    for entry in registry.tasks.values():
        about = entry.task.about
        assert about.source, entry.task.task
        assert about.license, entry.task.task
        assert about.languages, entry.task.task
        assert entry.task.data.split in about.rows, entry.task.task
        assert len(entry.task.templates) >= 2, entry.task.task
        assert not entry.task.shots.split or entry.task.shots.split in about.rows, entry.task.task


def test_model_cards_are_unique_and_sized_as_named() -> None:
    listed = yaml.safe_load((ROOT / "harness" / "models" / "cards.yaml").read_text(encoding="utf-8"))["models"]
    known = cards()
    names = [entry["name"] for entry in listed]
    assert len(names) == len(set(names)) == len({entry["hub"] for entry in listed})
    for name in names:
        card = known[name]
        assert name == name.lower()
        assert card.hub.split("/")[-1].lower().removeprefix("meta-") == name
        size = re.search(r"-(\d+(?:\.\d+)?)([mb])(?:-|$)", name)
        if size is not None:
            claimed = float(size[1]) * (1e6 if size[2] == "m" else 1e9)
            assert 0.85 < card.parameters / claimed < 1.25, name
        assert (card.kind == "instruct") == (
            "instruct" in name or name.startswith("flan") or bool(re.fullmatch(r"qwen3(\.5)?-[\d.]+b", name))
        )


def test_packaged_model_is_pinned() -> None:
    package = cards()["smollm2-135m-instruct"].package
    assert package is not None
    assert package.file.split("/")[0] == package.module
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in (package.sha256, package.file_sha256))
    assert package.sha256 != package.file_sha256
