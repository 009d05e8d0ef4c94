"""`harness.evaluate`, `compare`, `gate` and `load_run` as a program calls them."""

from __future__ import annotations

import inspect
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

import harness
from harness.errors import AdapterError, InputError, StorageError
from tests.api.conftest import TASKS
from tests.cli.conftest import Call, call  # noqa: F401 - a fixture

CPU: Any = {"device": "cpu"}


def results(folder: Path) -> dict[str, Any]:
    """What decides and holds the scores of a run, without times."""
    whole: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return {key: whole[key] for key in ("system", "tasks", "groups")}


def samples(folder: Path) -> dict[str, list[Any]]:
    files = sorted((folder / "samples").glob("*.jsonl"))
    return {path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in files}


def load(base: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)


@pytest.fixture
def by_command(call: Call, base: Path, lora: Path, place: Path) -> Path:  # noqa: F811
    """The base and its adapter, evaluated by `harness run`."""
    done = call("run", "-m", base, "-a", f"none,{lora}", "-t", TASKS, "--device", "cpu", "--output", "command", "--any-base")
    assert done.code == 0, done.err
    return place / "command"


def test_a_folder_is_evaluated_as_the_command_line_does(by_command: Path, base: Path, lora: Path) -> None:
    one = harness.evaluate(base, TASKS, output="api", progress=False, fresh=True, **CPU)
    assert one.folder == Path("api")
    assert results(one.folder) == results(by_command / "base")
    assert samples(one.folder) == samples(by_command / "base")
    tuned = harness.evaluate(str(base), TASKS.split(","), lora, output=Path("tuned"), any_base=True, progress=False, **CPU)
    assert results(tuned.folder) == results(by_command / "base+lora")
    assert samples(tuned.folder) == samples(by_command / "base+lora")
    assert samples(tuned.folder) != samples(one.folder)
    assert set(one.scores) == {"choose.accuracy", "write.exact_match", "write.rouge1"}
    assert one.scores["choose.accuracy"] == one.record.tasks["choose"].metrics["accuracy"].value


def test_a_model_in_memory_scores_as_its_folder_does(by_command: Path, base: Path, lora: Path) -> None:
    from peft import PeftModel

    model, tokenizer = load(base)
    plain = harness.evaluate(model, TASKS, tokenizer=tokenizer, output="plain", progress=False)
    assert samples(plain.folder) == samples(by_command / "base")
    assert plain.name == "base"
    tuned = PeftModel.from_pretrained(model, str(lora))
    active = harness.evaluate(tuned, TASKS, tokenizer=tokenizer, output="active", progress=False)
    without = harness.evaluate(tuned, TASKS, None, tokenizer=tokenizer, output="without", progress=False)
    named = harness.evaluate(tuned, TASKS, adapter="default", tokenizer=tokenizer, name="mine", output="named", progress=False)
    assert samples(active.folder) == samples(named.folder) == samples(by_command / "base+lora")
    assert samples(without.folder) == samples(by_command / "base")
    assert active.scores == named.scores
    assert without.scores == plain.scores
    assert samples(active.folder) != samples(without.folder)
    assert named.name.startswith("mine")
    with pytest.raises(AdapterError, match="no adapter 'other'"):
        harness.evaluate(tuned, TASKS, adapter="other", tokenizer=tokenizer, progress=False)


def test_a_model_in_memory_needs_its_tokenizer(base: Path, place: Path) -> None:
    with pytest.raises(InputError, match="needs its tokenizer"):
        harness.evaluate(load(base)[0], TASKS, progress=False)


def test_a_run_is_loaded_and_shown(by_command: Path) -> None:
    run = harness.load_run(by_command / "base")
    assert run.scores == harness.load_run(by_command / "base" / "results.json").scores
    assert run.tasks == ("choose", "write")
    table = run.to_pandas()
    assert list(table["task"]) == ["choose", "write", "write"]
    assert dict(zip(table["task"] + "." + table["metric"], table["value"], strict=True)) == run.scores
    page = run._repr_html_()
    assert page.count("<table") == 1
    assert "choose" in page
    assert "Run('base': choose, write;" in repr(run)
    with pytest.raises(StorageError):
        harness.load_run(by_command / "nothing")
    with (by_command / "base" / "samples" / "choose.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(StorageError):
        harness.load_run(by_command / "base")


def test_names_in_a_table_are_escaped(by_command: Path) -> None:
    from dataclasses import replace

    run = harness.load_run(by_command / "base")
    record = run.record.model_copy(update={"tasks": {"<script>": run.record.tasks["choose"]}})
    page = replace(run, record=record)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_runs_are_compared_as_by_the_command_line(call: Call, by_command: Path) -> None:  # noqa: F811
    before, after = harness.load_run(by_command / "base"), harness.load_run(by_command / "base+lora")
    comparison = harness.compare(before, after, target="write", margin={"choose": 0.1})
    assert set(comparison.verdicts) == {"choose", "write"}
    arguments = (by_command / "base", by_command / "base+lora", "--target", "write", "--margin", "choose=0.1")
    done = call("compare", *arguments, "--json", "compare.json", "--md", "compare.md")
    assert done.code == 0, done.err
    assert json.loads(comparison.to_json()) == json.loads(Path("compare.json").read_text())
    assert comparison.to_markdown() == Path("compare.md").read_text()
    table = comparison.to_pandas().set_index(["task", "metric"])
    assert table.loc[("choose", "accuracy"), "before"] == before.scores["choose.accuracy"]
    assert table.loc[("choose", "accuracy"), "verdict"] == comparison.verdicts["choose"]
    assert "<table" in comparison._repr_html_()
    assert "base+lora" in repr(comparison)
    old = call("forgetting", "--before", arguments[0], "--after", *arguments[1:])
    new = call("compare", *arguments)
    assert old.out == new.out
    with pytest.raises(InputError, match="--margin takes a name"):
        harness.compare(before, after, margin={"choose": -1.0})
    with pytest.raises(InputError, match="no second scoring"):
        harness.compare(before, after, noise=True)


def test_a_gate_decides(by_command: Path) -> None:
    before, after = by_command / "base", harness.load_run(by_command / "base+lora")
    Path("policy.yaml").write_text(yaml.safe_dump({"rules": ["choose >= 0"]}))
    passed = harness.gate(after, policy="policy.yaml")
    assert (passed.passed, passed.exit_code, passed.outcome) == (True, 0, "pass")
    Path("strict.yaml").write_text(yaml.safe_dump({"rules": ["choose >= 1.5"]}))
    failed = harness.gate(after, policy="strict.yaml")
    assert (failed.passed, failed.exit_code) == (False, 1)
    assert list(failed.to_pandas()["outcome"]) == ["fail"]
    assert "<table" in failed._repr_html_()
    assert "testsuite" in failed.to_junit()
    assert "choose" in failed.to_markdown()
    undecided = harness.gate(after, before, on_undecided="pass")
    assert undecided.exit_code in (0, 1)


def test_unknown_keywords_are_type_errors_that_name_similar_ones(place: Path, base: Path) -> None:
    unknown: Any = {"limt": 3}
    with pytest.raises(TypeError, match=r"evaluate\(\) got an unexpected keyword 'limt'. Did you mean limit"):
        harness.evaluate(base, TASKS, **unknown)
    with pytest.raises(TypeError, match=r"evaluate\(\).*tasks"):
        harness.evaluate(*(str(base),))  # type: ignore[call-arg]
    with pytest.raises(InputError, match="--limit takes numbers from 1"):
        harness.evaluate(base, TASKS, limit=0)
    with pytest.raises(InputError, match="takes one adapter"):
        harness.evaluate(base, TASKS, adapter=[None, "x"])


def test_help_shows_the_options() -> None:
    parameters = inspect.signature(harness.evaluate).parameters
    assert list(parameters)[:3] == ["model", "tasks", "adapter"]
    assert {"limit", "batch_tokens", "tokenizer", "progress"} <= set(parameters)
    assert "device" in inspect.signature(harness.tune).parameters


def test_remarks_of_a_silent_run_are_logged(place: Path, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    from harness.api.progress import progress_for

    with caplog.at_level(logging.WARNING, logger="harness"), progress_for(False) as progress:
        progress.note("a remark")
    assert "a remark" in caplog.text


def test_pandas_that_is_missing_is_one_message(by_command: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    run = harness.load_run(by_command / "base")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="needs pandas"):
        run.to_pandas()


def test_an_adapter_is_trained(place: Path, base: Path) -> None:
    from tests.tasks.cases import content, write_rows, write_yaml

    write_rows(place / "train.jsonl", [{"thing": f"thing {number}", "label": number % 2} for number in range(30)])
    data = {"files": {"train": "train.jsonl", "test": "rows.jsonl"}, "split": "test"}
    write_yaml(place / "learn.yaml", content(task="learn", data=data))
    trained = harness.tune(base, "learn.yaml", "mine", rank=[1, 2], max_steps=2, batch_tokens=128, validate=2, device="cpu")
    assert sorted(candidate.name for candidate in trained) == ["mine_r1", "mine_r2"]
    assert (place / "adapters" / "mine_r1.yaml").is_file()
    with pytest.raises(InputError, match="--rank takes numbers"):
        harness.tune(base, "learn.yaml", "mine", rank="eight")
