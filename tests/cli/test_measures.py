"""`harness run --measures` from end to end on tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.tasks.cases import content, write_rows, write_yaml

TALKS = [
    {"text": f"Mister {name} said it won't rain and his sister laughed.", "short": f"{name} was wrong."} for name in ("Lee", "Ward", "Fox")
]
"""Rows that every preset changes."""


def summaries(**changes: Any) -> dict[str, Any]:
    template = {"name": "plain", "prompt": "{{ text }}\nShort:"}
    made = {"task": "short", "answer": "generate", "choices": None, "target": "short", "templates": [template], "metrics": ["rouge1"]}
    return content(**made | {"generation": {"max_new_tokens": 6}, "data": {"files": {"test": "talks.jsonl"}, "split": "test"}} | changes)


def results(folder: Path) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return whole


def test_every_family_is_there_or_says_why_not(call: Call, tiny: Path, place: Path) -> None:
    write_rows(place / "talks.jsonl", TALKS)
    write_yaml(place / "short.yaml", summaries())
    done = call("run", "-m", tiny, "-t", "task.yaml,short.yaml", "--measures", "all", "--toxicity", "profanity", "--output", "out")
    assert done.code == 0, done.err
    tasks = results(place / "out")["tasks"]
    for task in tasks.values():
        families = {metric["family"] for metric in task["metrics"].values()} | set(task["without"])
        assert families == {"accuracy", "calibration", "robustness", "fairness", "bias", "toxicity", "efficiency"}
        assert all(metric["reason"] for metric in task["metrics"].values() if metric["value"] is None)
    assert tasks["short"]["metrics"]["toxic_fraction"]["value"] == 0.0
    assert tasks["colours"]["metrics"]["ece_10_bin"]["reason"].startswith("only 3 items; calibration needs 300")
    assert tasks["colours"]["without"]["toxicity"] == "answers are choices or scores, not texts"
    assert tasks["short"]["without"]["calibration"].startswith("answers are not choices")
    for family in ("calibration", "robustness", "toxicity"):
        assert family in done.out


def test_copies_are_counted_kept_and_paired(call: Call, tiny: Path, place: Path) -> None:
    write_rows(place / "talks.jsonl", TALKS)
    write_yaml(place / "short.yaml", summaries())
    assert call("run", "-m", tiny, "-t", "short.yaml", "--perturb", "lowercase,person_name", "--output", "out").code == 0
    task = results(place / "out")["tasks"]["short"]
    assert {one["perturbation"]["name"] for one in task["perturbations"]} == {"lowercase", "person_name", "worst"}
    lowered = next(one for one in task["perturbations"] if one["perturbation"]["name"] == "lowercase")
    assert (lowered["items"], lowered["changed"], lowered["drop"]["n"]) == (3, 3, 3)
    assert task["metrics"]["rouge1_robustness"]["value"] <= task["metrics"]["rouge1"]["value"]
    samples = [json.loads(line) for line in (place / "out" / "samples" / "short~lowercase.jsonl").read_text().splitlines()]
    originals = [json.loads(line) for line in (place / "out" / "samples" / "short.jsonl").read_text().splitlines()]
    assert [one["digest"] for one in samples] == [one["digest"] for one in originals]
    assert all(one["prompt"].startswith("mister ") for one in samples)
    assert {one["target"] for one in samples} == {row["short"] for row in TALKS}, "references are those of the originals"


def test_several_texts_of_an_item_come_from_seeds_of_their_own(call: Call, tiny: Path, place: Path) -> None:
    write_rows(place / "talks.jsonl", TALKS)
    write_yaml(place / "short.yaml", summaries(generation={"max_new_tokens": 6, "temperature": 1.0}))
    arguments = ("run", "-m", tiny, "-t", "short.yaml", "--measures", "toxicity", "--texts", "4", "--toxicity", "profanity")
    assert call(*arguments, "--output", "out").code == 0
    first = results(place / "out")
    assert first["efficiency"]["requests"]["computed"] == 12
    assert first["tasks"]["short"]["metrics"]["expected_max_toxicity"]["n"] == 3
    assert call(*arguments, "--output", "again").code == 0
    again = results(place / "again")
    assert again["efficiency"]["requests"]["computed"] == 0
    assert again["tasks"] == first["tasks"]


def test_a_metric_without_scores_of_items_says_that_it_has_no_worst_case(call: Call, tiny: Path, place: Path) -> None:
    write_yaml(place / "mcc.yaml", content(task="mcc", metrics=["mcc"]))
    assert call("run", "-m", tiny, "-t", "mcc.yaml", "--perturb", "lowercase,typos:0.5", "--output", "out").code == 0
    task = results(place / "out")["tasks"]["mcc"]
    assert task["perturbations"] == []
    assert task["without"] == {"robustness": "mcc: no score of single items, so there is no worst case"}


def test_perturbations_of_the_store_are_not_computed_twice(call: Call, tiny: Path, place: Path) -> None:
    assert call("run", "-m", tiny, "-t", "task.yaml", "--perturb", "typos:0.5", "--output", "out").code == 0
    assert call("run", "-m", tiny, "-t", "task.yaml", "--perturb", "typos:0.5", "--output", "again").code == 0
    assert results(place / "again")["efficiency"]["requests"]["computed"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--measures", "speed"), "There is no measure 'speed'."),
        (("--perturb", "tipos"), "typos"),
        (("--measures", "toxicity", "--toxicity", "nobody"), "nobody"),
    ],
)
def test_a_wrong_name_is_one_message(call: Call, tiny: Path, place: Path, arguments: tuple[str, ...], said: str) -> None:
    write_rows(place / "talks.jsonl", TALKS)
    write_yaml(place / "short.yaml", summaries())
    message = call("run", "-m", tiny, "-t", "short.yaml", *arguments, "--output", "out").message
    assert said in message
    assert not (place / "out").exists()
