"""A task, its templates and a metric from the user's own folder, with no change to the package."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.tasks.checking import check_files
from tests.tiny import tiny_causal

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tasks.md"
BLOCKS = dict(re.findall(r"```(?:yaml|python)\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
"""The examples of the page on tasks, by file name."""

TASK = {
    "task": "my_tickets",
    "about": {"title": "Tickets of an invented shop"},
    "data": {"files": {"test": "tickets.jsonl"}, "split": "test"},
    "answer": "generate",
    "target": "summary",
    "labels": {"letters": "ticket | length"},
    "template_files": ["_wordings.yaml"],
    "shots": {"split": "test"},
    "generation": {"max_new_tokens": 5},
    "metrics": [{"metric": "brevity", "words": 2}, {"metric": "brevity", "words": 0, "as": "silence"}, "rouge1"],
    "groups": ["mine"],
}
GROUP = {"group": "mine", "title": "All of mine", "aggregate": [{"metric": "brevity"}]}
WORDINGS = """
templates:
  1: !Template
    name: bottom line
    jinja: |-
      {{ ticket }}
      In short: ||| {{ summary }}
    metadata: !TemplateMetadata {languages: [en], metrics: [ROUGE], original_task: true}
    reference: ''
  2: !Template
    name: question
    jinja: 'What does "{{ ticket }}" ask for? ||| {{ summary }}'
"""
TICKETS = [
    {"ticket": "The lamp I bought is broken, please send me another.", "summary": "wants a new lamp"},
    {"ticket": "Where is my parcel? It should have come on Monday.", "summary": "asks for a parcel"},
    {"ticket": "Please close my account and delete my address.", "summary": "leaves"},
]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The user's folder."""
    folder = tmp_path / "own"
    (folder / "tasks" / "tickets").mkdir(parents=True)
    (folder / "metrics").mkdir()
    (folder / "metrics" / "my.py").write_text(BLOCKS["metrics/brevity.py"])
    (folder / "tasks" / "mine.yaml").write_text(yaml.safe_dump(GROUP))
    (folder / "tasks" / "tickets" / "tickets.yaml").write_text(yaml.safe_dump(TASK))
    (folder / "tasks" / "tickets" / "_wordings.yaml").write_text(WORDINGS)
    (folder / "tasks" / "tickets" / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TICKETS))
    return folder


def harness(place: Path, own: Path, *arguments: str) -> str:
    """What `harness ARGUMENTS` prints, run in a process of its own as a user would run it."""
    environment = os.environ | {"HARNESS_PATH": str(own), "HF_DATASETS_CACHE": str(place / "datasets"), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_users_own_task_template_and_metric_run_from_end_to_end(tmp_path: Path, own: Path) -> None:
    listed = harness(tmp_path, own, "tasks", "list", "mine")
    assert "All of mine" in listed
    assert "my_tickets" in listed
    assert "right    my_tickets: 3 items, 2 templates, 3 metrics" in harness(tmp_path, own, "tasks", "check", str(own / "tasks"))
    model = tiny_causal(tmp_path / "tiny")
    harness(tmp_path, own, "run", "--model", str(model), "--tasks", "mine", "--template", "question", "--shots", "1", "--output", "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    task = results["tasks"]["my_tickets"]
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples" / "my_tickets.jsonl").read_text().splitlines()]
    lengths = [len(sample["prediction"].split()) for sample in samples]
    expected = [float(length <= 2) for length in lengths]
    assert task["template"] == "question"
    assert [sample["metrics"]["brevity"] for sample in samples] == expected
    assert task["metrics"]["brevity"]["value"] == pytest.approx(sum(expected) / 3)
    assert task["metrics"]["silence"]["value"] == pytest.approx(sum(length == 0 for length in lengths) / 3)
    code = hashlib.sha256((own / "metrics" / "my.py").read_bytes()).hexdigest()[:16]
    assert task["metrics"]["brevity"]["signature"] == {"name": "brevity", "version": 1, "words": 2, "code": code}
    assert results["groups"]["mine"]["metrics"]["brevity_macro"]["value"] == task["metrics"]["brevity"]["value"]
    for sample, row in zip(samples, TICKETS, strict=True):
        assert sample["prompt"].endswith(f'What does "{row["ticket"]}" ask for?')
        assert sample["prompt"].count("ask for?") == 2
        assert sample["target"] == row["summary"]
        assert sample["labels"] == {"letters": len(row["ticket"])}


def test_the_examples_of_the_page_on_tasks_are_right(tmp_path: Path) -> None:
    assert set(BLOCKS) == {"support.yaml", "_wordings.yaml", "products.yaml", "group.yaml", "metrics/brevity.py"}
    for name, text in BLOCKS.items():
        if name.endswith(".yaml"):
            (tmp_path / name).write_text(text, encoding="utf-8")
    rows = [
        {"ticket": f"T-{n}", "conversation": f"Customer: The {what} {n} is lost.", "product": what, "summary": f"{what} {n} lost"}
        for n, what in enumerate(("lamp", "parcel", "lamp", "parcel"))
    ]
    for split, part in (("train", rows), ("test", rows[:3])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    found = {one.name: one for one in check_files([tmp_path / name for name in ("support.yaml", "products.yaml", "group.yaml")])}
    assert [one.told for one in found.values() if one.state != "right"] == []
    assert set(found) == {"support_summaries", "support_lamp", "support_parcel", "products"}
    assert found["support_summaries"].told == "3 items, 3 templates, 3 metrics"
    assert found["products"].told == "group of 2 tasks, score_macro, rougeL_micro"
