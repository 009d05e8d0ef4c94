"""Runs from end to end on a tiny model: what is written, what is kept, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.store import runs
from tests.cli.conftest import Call, forbid_model
from tests.tasks.cases import content, write_rows, write_yaml
from tests.tiny import tiny_seq2seq


@pytest.fixture
def run(call: Call, tiny: Path, place: Path) -> Path:
    """A finished run of the task, in `out`."""
    done = call("run", "-m", tiny, "-t", "task.yaml", "--output", "out")
    assert (done.code, done.err) == (0, "")
    assert "accuracy" in done.out
    assert "Results: out/results.json" in done.out
    return place / "out"


def results(folder: Path) -> dict[str, Any]:
    runs.read(folder)
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_writes_results_and_samples(run: Path) -> None:
    written = results(run)
    assert written["system"]["name"] == "tiny"
    task = written["tasks"]["colours"]
    assert (task["items"], task["shots"], task["template"], task["limit"]) == (3, 0, "plain", None)
    assert task["metrics"]["accuracy"]["value"] in (0.0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0)
    assert written["efficiency"]["requests"] == {"unique": 3, "cached": 0, "computed": 3}
    assert written["command"][:2] == ["harness", "run"]
    samples = [json.loads(line) for line in (run / "samples" / "colours.jsonl").read_text().splitlines()]
    assert [sample["prompt"] for sample in samples] == [f"What colour is {thing}?" for thing in ("the sky", "blood", "the sea")]
    assert sum(sample["metrics"]["accuracy"] for sample in samples) / 3 == pytest.approx(task["metrics"]["accuracy"]["value"])


def test_results_follow_the_published_schema(call: Call, run: Path) -> None:
    schema = json.loads(call("results", "schema").out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    written = results(run)
    assert set(schema["required"]) <= set(written) <= set(schema["properties"])
    metric = written["tasks"]["colours"]["metrics"]["accuracy"]
    described = schema["$defs"]["MetricRecord"]
    assert set(described["required"]) <= set(metric) <= set(described["properties"])


def test_a_second_run_comes_from_the_store(call: Call, tiny: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, samples = results(run), (run / "samples" / "colours.jsonl").read_bytes()
    forbid_model(monkeypatch)
    assert call("run", "-m", tiny, "-t", "task.yaml", "--output", "out").code == 0
    after = results(run)
    assert after["efficiency"]["requests"] == {"unique": 3, "cached": 3, "computed": 0}
    assert after["tasks"] == before["tasks"]
    assert (run / "samples" / "colours.jsonl").read_bytes() == samples


def test_fresh_computes_every_answer_anew(call: Call, tiny: Path, run: Path) -> None:
    before = results(run)
    assert call("run", "-m", tiny, "-t", "task.yaml", "--output", "out", "--fresh").code == 0
    after = results(run)
    assert after["efficiency"]["requests"] == {"unique": 3, "cached": 0, "computed": 3}
    assert after["tasks"] == before["tasks"]


def test_limit_asks_the_first_items_with_the_same_answers(call: Call, tiny: Path, run: Path) -> None:
    assert call("run", "-m", tiny, "-t", "task.yaml", "--output", "less", "--limit", 2).code == 0
    assert results(Path("less"))["efficiency"]["requests"] == {"unique": 2, "cached": 2, "computed": 0}
    whole = (run / "samples" / "colours.jsonl").read_text().splitlines()
    assert Path("less/samples/colours.jsonl").read_text().splitlines() == whole[:2]


def test_another_task_joins_the_folder_of_the_same_system(call: Call, tiny: Path, run: Path) -> None:
    write_yaml(Path("more.yaml"), content(task="more"))
    assert call("run", "-m", tiny, "-t", "more.yaml", "--output", "out").code == 0
    assert list(results(run)["tasks"]) == ["colours", "more"]


def test_generation_and_scored_texts_with_an_encoder_decoder_model(
    call: Call, place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tiny_seq2seq(tmp_path_factory.mktemp("models") / "tiny-t5")
    write_rows(place / "texts.jsonl", [{"thing": "the sky", "text": "it is blue"}, {"thing": "blood", "text": "it is red"}])
    form: dict[str, Any] = {"data": {"files": {"test": "texts.jsonl"}, "split": "test"}, "choices": None, "target": "text"}
    short = {"max_new_tokens": 4}
    write_yaml(place / "say.yaml", content(task="say", answer="generate", generation=short, metrics=["rouge1", "chrf"], **form))
    write_yaml(place / "like.yaml", content(task="like", answer="score_text", metrics=["perplexity"], **form))
    done = call("run", "-m", folder, "-t", "say.yaml,like.yaml,task.yaml")
    assert (done.code, done.err) == (0, "")
    written = results(place / "results" / "tiny-t5")
    assert written["system"]["architecture"] == "seq2seq"
    assert list(written["tasks"]) == ["say", "like", "colours"]
    assert written["tasks"]["like"]["metrics"]["perplexity"]["value"] > 1
    kept = {f"{task}{ending}" for task in ("say", "like", "colours") for ending in (".jsonl", ".statistics.json")}
    assert {path.name for path in (place / "results" / "tiny-t5" / "samples").iterdir()} == kept


def test_a_group_is_scored_with_its_tasks(call: Call, tiny: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("one", 1), ("two", 2)):
        write_rows(place / "mine" / "tasks" / f"{name}.jsonl", [{"thing": str(number), "label": 0} for number in range(rows)])
        data = {"files": {"test": f"{name}.jsonl"}, "split": "test"}
        write_yaml(place / "mine" / "tasks" / f"{name}.yaml", content(task=name, data=data, groups=["pair"]))
    both = [{"metric": "accuracy"}, {"metric": "accuracy", "average": "micro"}]
    write_yaml(place / "mine" / "tasks" / "pair.yaml", {"group": "pair", "title": "A pair", "aggregate": both})
    monkeypatch.setenv("HARNESS_PATH", str(place / "mine"))
    assert call("run", "-m", tiny, "-t", "pair").code == 0
    written = results(place / "results" / "tiny")
    values = {name: written["tasks"][name]["metrics"]["accuracy"]["value"] for name in ("one", "two")}
    group = written["groups"]["pair"]["metrics"]
    assert group["accuracy_macro"]["value"] == pytest.approx((values["one"] + values["two"]) / 2)
    assert group["accuracy_micro"]["value"] == pytest.approx((values["one"] + 2 * values["two"]) / 3)


def test_a_folder_of_another_systems_run_is_left_alone(call: Call, other_tiny: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(run)
    forbid_model(monkeypatch)
    message = call("run", "-m", other_tiny, "-t", "task.yaml", "--output", "out").message
    assert "The output folder out holds the run of another system: tiny (other weights)" in message
    assert "--output" in message
    assert tree(run) == before


def test_a_results_file_cut_in_half_is_told_and_can_be_made_again(
    call: Call, tiny: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, before = (run / "results.json").read_text(), results(run)
    (run / "results.json").write_text(whole[: len(whole) // 2])
    damaged = tree(run)
    forbid_model(monkeypatch)
    for arguments in (("run", "-m", tiny, "-t", "task.yaml", "--output", "out"), ("leaderboard", "out"), ("results", "show", "out")):
        message = call(*arguments).message
        assert "out/results.json, line" in message
        assert "not valid JSON" in message
        assert "remove it and run again" in message
        assert tree(run) == damaged
    (run / "results.json").unlink()
    assert call("run", "-m", tiny, "-t", "task.yaml", "--output", "out").code == 0
    assert results(run)["tasks"] == before["tasks"]


def test_an_error_in_one_task_loses_no_earlier_results(call: Call, tiny: Path, run: Path) -> None:
    before = tree(run)
    write_yaml(Path("wrong.yaml"), content(task="wrong", target="lable"))
    assert "'lable' is undefined" in call("run", "-m", tiny, "-t", "task.yaml,wrong.yaml", "--output", "out").message
    assert tree(run) == before


def test_a_finished_run_is_shown_again(call: Call, run: Path) -> None:
    done = call("results", "show", "out")
    assert done.code == 0
    assert "colours" in done.out
    assert "accuracy" in done.out


@pytest.fixture
def two_runs(call: Call, other_tiny: Path, run: Path) -> Path:
    assert call("run", "-m", other_tiny, "-t", "task.yaml", "--output", "second").code == 0
    return run.parent


def test_leaderboard_in_every_format(call: Call, two_runs: Path) -> None:
    outs = {}
    for name in ("table", "md", "csv", "json"):
        done = call("leaderboard", "out", "second", "--format", name)
        assert (done.code, done.err) == (0, "")
        outs[name] = done.out
    assert "colours" in outs["table"]
    assert "win rate" in outs["table"]
    assert outs["md"].splitlines()[1].startswith("| --- | ---:")
    assert len(outs["md"].splitlines()) == 4
    table = list(csv.DictReader(io.StringIO(outs["csv"])))
    assert [(row["name"], row["metric"], row["n"]) for row in table] == [("colours", "accuracy", "3")] * 2
    board = json.loads(outs["json"])
    assert {row["folder"] for row in board["rows"]} == {"out", "second"}
    values = {row["folder"]: row["cells"][0]["value"] for row in board["rows"]}
    assert values == {name: results(two_runs / name)["tasks"]["colours"]["metrics"]["accuracy"]["value"] for name in values}


def test_leaderboard_finds_runs_below_a_folder(call: Call, two_runs: Path) -> None:
    assert len(json.loads(call("leaderboard", ".", "--format", "json", "--columns", "tasks").out)["rows"]) == 2


def test_the_whole_in_a_process_of_its_own(place: Path, tiny: Path) -> None:
    """What a user sees: the table on standard output, nothing on standard error, exit code 0."""
    surroundings = {**os.environ, "HF_HOME": str(place / "hf"), "HARNESS_OFFLINE": "1"}
    command = [sys.executable, "-m", "harness", "run", "--model", str(tiny), "--tasks", "task.yaml", "--limit", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Results: results/tiny/results.json" in done.stdout
    assert results(place / "results" / "tiny")["tasks"]["colours"]["items"] == 2
