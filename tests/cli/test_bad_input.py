"""Bad input: one clear message on standard error, exit code 2, before a model is loaded, and nothing that was there is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Call
from tests.tasks.cases import content, write_yaml

pytestmark = pytest.mark.usefixtures("place", "no_model")


def test_unknown_task(call: Call, tiny: Path) -> None:
    assert "Unknown task 'glue_rta'.\nDid you mean glue_rte" in call("run", "-m", tiny, "-t", "glue_rta").message
    assert "Unknown task 'glue_rta'" in call("tasks", "show", "glue_rta").message
    assert "Unknown task 'glue_rta'" in call("tasks", "render", "glue_rta").message


def test_one_unknown_task_among_known_ones(call: Call, tiny: Path) -> None:
    assert "Unknown task 'glue_rta'" in call("run", "-m", tiny, "-t", "task.yaml,glue_rta").message
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("flan-t5-bse", "Did you mean flan-t5-base"),
        ("zzzz", "`harness models list` shows the cards"),
        ("./nowhere", "neither a folder nor a Hub id"),
        (".", "has no config.json"),
    ],
)
def test_unknown_model(call: Call, model: str, told: str) -> None:
    assert told in call("run", "-m", model, "-t", "task.yaml").message


def test_unknown_model_card(call: Call) -> None:
    assert "Did you mean flan-t5-base" in call("models", "show", "flan-t5-bse").message


@pytest.mark.parametrize(
    ("adapter", "told"),
    [("lora_r8x", "Unknown adapter 'lora_r8x'"), ("./nowhere", "Unknown adapter './nowhere'"), (".", "has no adapter_config.json")],
)
def test_unknown_adapter(call: Call, tiny: Path, adapter: str, told: str) -> None:
    assert told in call("run", "-m", tiny, "-t", "task.yaml", "-a", adapter).message


def test_the_nearest_adapter_card_is_named(call: Call, tiny: Path) -> None:
    write_yaml(Path("adapters") / "mine.yaml", {"name": "dialogue_lora", "weights": {"tiny": "nowhere"}})
    assert "Did you mean dialogue_lora?" in call("run", "-m", tiny, "-t", "task.yaml", "-a", "dialog_lora").message
    assert "Did you mean dialogue_lora?" in call("adapters", "show", "dialog_lora").message


def test_unknown_metric(call: Call, tiny: Path) -> None:
    write_yaml(Path("own.yaml"), content(metrics=["acuracy"]))
    assert "Unknown metric 'acuracy'.\nDid you mean accuracy" in call("run", "-m", tiny, "-t", "own.yaml").message


def test_a_metric_of_another_answer_form(call: Call, tiny: Path) -> None:
    write_yaml(Path("own.yaml"), content(metrics=["rouge1"]))
    assert "not 'choices'" in call("run", "-m", tiny, "-t", "own.yaml").message


def test_broken_yaml(call: Call, tiny: Path) -> None:
    Path("own.yaml").write_text("task: own\nabout: {title: [\n")
    message = call("run", "-m", tiny, "-t", "own.yaml").message
    assert message.startswith("Error: own.yaml:3: not valid YAML")


def test_unknown_yaml_key(call: Call, tiny: Path) -> None:
    Path("own.yaml").write_text(Path("task.yaml").read_text() + "tmplates: []\n")
    line = len(Path("own.yaml").read_text().splitlines())
    message = call("run", "-m", tiny, "-t", "own.yaml").message
    assert f"Error: own.yaml:{line}: unknown key 'tmplates'.\nDid you mean 'templates'?" in message


def test_a_broken_file_in_a_users_folder(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_yaml(place / "mine" / "tasks" / "own.yaml", content(answer="guess"))
    monkeypatch.setenv("HARNESS_PATH", str(place / "mine"))
    assert f"{place / 'mine' / 'tasks' / 'own.yaml'}:8: 'answer'" in call("tasks", "list").message


BAD_TASKS: list[tuple[dict[str, Any], list[str]]] = [
    ({"templates": [{"name": "plain", "prompt": "{{ thng }}"}]}, ["Task colours, template plain, item 0: 'thng' is undefined", "thing"]),
    ({"target": "lable"}, ["Task colours, template plain, item 0: 'lable' is undefined", "label"]),
    ({"data": {"files": {"test": "rows.jsonl"}, "split": "test", "filter": "lable"}}, ["data.filter, item 0: 'lable' is undefined"]),
    ({"data": {"files": {"test": "rows.jsonl"}, "split": "test", "rename": {"a": "b"}}}, ["no column 'b'", "Its columns: thing, label"]),
    ({"data": {"files": {"test": "absent.csv"}, "split": "test"}}, ["absent.csv does not exist"]),
    ({"data": {"files": {"test": "rows.jsonl"}, "split": "dev"}}, ["no split 'dev'"]),
    ({"templates": [{"name": "plain", "prompt": "{{ ''.__class__.__mro__ }}"}]}, ["tries to leave the sandbox"]),
    ({"templates": [{"name": "plain", "prompt": "{{ thing.__init__.__globals__ }}"}]}, ["tries to leave the sandbox"]),
    ({"templates": [{"name": "plain", "prompt": "{% for x in range(10**9) %}{% endfor %}"}]}, ["Range too big"]),
    ({"templates": [{"name": "plain", "prompt": "{{ thing"}]}, ["templates.0.prompt", "own.yaml:"]),
    ({"choices": "[thing]"}, ["at least two choices"]),
    ({"target": "label + 7"}, ["the target 8 is neither an index"]),
]


@pytest.mark.parametrize(("change", "told"), BAD_TASKS, ids=[told[-1][:30] for _, told in BAD_TASKS])
@pytest.mark.parametrize("command", ["run", "render"])
def test_a_task_that_does_not_work(call: Call, tiny: Path, command: str, change: dict[str, Any], told: list[str]) -> None:
    write_yaml(Path("own.yaml"), content(**change))
    arguments = ("run", "-m", tiny, "-t") if command == "run" else ("tasks", "render")
    message = call(*arguments, "own.yaml").message
    assert all(part in message for part in told), message
    assert not Path("results").exists()


def test_check_tells_what_is_wrong_with_every_file(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    here: dict[str, Any] = {"files": {"test": "../rows.jsonl"}, "split": "test"}
    changes: dict[str, dict[str, Any]] = {
        "right": {"data": here},
        "elsewhere": {"data": {"path": "palette/colours", "split": "test"}},
        "form": {"answer": "guess"},
        "column": {"data": {**here, "rename": {"a": "b"}}},
        "field": {"data": here, "target": "lable"},
        "metric": {"data": here, "metrics": ["acuracy"]},
        "file": {"data": {"files": {"test": "absent.csv"}, "split": "test"}},
    }
    for name, change in changes.items():
        write_yaml(Path("some") / f"{name}.yaml", content(**{"task": name, **change}))
    done = call("tasks", "check", "some")
    assert done.code == 2
    assert "Traceback" not in done.out + done.err
    kinds = [re.match(r"OK|error|no data", line) for line in done.out.splitlines()]
    assert Counter(kind[0] for kind in kinds if kind) == {"OK": 1, "no data": 1, "error": 5}
    assert all(told in done.out for told in ("form.yaml:8: 'answer'", "no column 'b'", "'lable' is undefined", "'acuracy'", "absent.csv"))
    assert "right: 3 items" in done.out


def test_check_passes_what_is_right_and_what_it_cannot_see(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    write_yaml(Path("elsewhere.yaml"), content(task="elsewhere", data={"path": "palette/colours", "split": "test"}))
    done = call("tasks", "check", "task.yaml", "elsewhere.yaml")
    assert done.code == 0
    assert "no data" in done.out
    assert "can't load the dataset palette/colours" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--limit", "0"], "'--limit'"),
        (["--limit", "-3"], "'--limit'"),
        (["--limit", "many"], "'--limit'"),
        (["--shots", "-1"], "'--shots'"),
        (["--shots", "2"], "no split to draw few-shot examples from"),
        (["--template", "long"], "has no template 'long'.\nIts templates: plain"),
        (["--batch-tokens", "x"], "--batch-tokens takes numbers from 1 to 2,147,483,647, or auto, not 'x'"),
        (["--batch-tokens", "0"], "or auto, not '0'"),
        (["--batch-tokens", "-5"], "or auto, not '-5'"),
        (["--dtype", "int8"], "'--dtype'"),
        (["--quantize", "2bit"], "'--quantize'"),
        (["--device", "abacus"], "Unknown device 'abacus'"),
        (["--device", "cuda:99"], "no device 'cuda:99'"),
        (["--chat"], "no chat template"),
        (["--data", "nowhere"], "nowhere"),
        (["--colour", "red"], "--colour"),
        (["--adapter", "none,none", "--seed", "x"], "'--seed'"),
        (["--seed", "-1"], "'--seed'"),
        (["--seed", "4294967296"], "'--seed'"),
        (["--shot-seeds", "0,-1"], "--shot-seeds takes numbers from 0 to 4,294,967,295, separated by commas, not '-1'"),
        (["--shot-seeds", "4294967296"], "not '4294967296'"),
        (["--shot-seeds", "²"], "not '²'"),
        (["--batch-tokens", "²"], "not '²'"),
        (["--batch-tokens", "9" * 5000], "or auto, not '9999"),
        (["--texts", "99999999999"], "'--texts'"),
        (["--shots", "99999999999"], "'--shots'"),
        (["--limit", "99999999999999999999"], "'--limit'"),
        (["--device", "meta"], "device 'meta' is not supported"),
        (["--device", "cpu:9"], "no device 'cpu:9'"),
        (["--device", "cpu,abacus"], "Unknown device 'abacus'"),
        (["--output", "r\udcff"], "The argument 'r\\xff' is not valid UTF-8"),
        (["--output", "x" * 300], "File name too long"),
        (["--output", "rows.jsonl/x/y"], "Cannot write rows.jsonl/x/y/results.json: Not a directory"),
        (["--output", "/proc/harness"], "Cannot write /proc/harness/results.json"),
        (["--output", "taken"], "Cannot write taken/results.json: Is a directory"),
    ],
)
def test_wrong_options(call: Call, tiny: Path, arguments: list[str], told: str) -> None:
    Path("taken/results.json").mkdir(parents=True)
    before = sorted(Path.cwd().rglob("*"))
    task = "glue_rte" if "--data" in arguments else "task.yaml"
    message = call("run", "-m", tiny, "-t", task, *arguments).message
    assert told in message, message
    assert sorted(Path.cwd().rglob("*")) == before


@pytest.mark.parametrize("option", ["--model", "--tasks", "--adapter", "--data", "--revision", "--template-file", "--toxicity"])
def test_a_name_that_is_no_text(call: Call, tiny: Path, option: str) -> None:
    assert f"The argument '{option}=r\\xff' is not valid UTF-8" in call("run", "-m", tiny, "-t", "task.yaml", f"{option}=r\udcff").message


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("tiny/model.safetensors", b""),
        ("tiny/model.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}"),
        ("tiny/model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        ("tiny/config.json", b'{"model_type": "lla'),
        ("tiny/generation_config.json", b'{"eos'),
        ("tiny/tokenizer.json", b"\xff\xfe\x00"),
        ("tiny/tokenizer_config.json", b"[1]"),
        ("lora/adapter_model.safetensors", b"\x08\x00"),
        ("lora/adapter_config.json", b"{"),
        ("judge/model.safetensors", b"\x08\x00"),
        ("judge/config.json", b"[1]"),
    ],
)
def test_files_of_models_that_are_damaged(call: Call, tiny: Path, place: Path, path: str, content: bytes) -> None:
    """Of the model, an adapter, and a classifier of toxic texts."""
    shutil.copytree(tiny, place / "tiny")
    shutil.copytree(tiny, place / "judge")
    config = json.loads((tiny / "config.json").read_text())
    (place / "judge" / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"]}))
    (place / "lora").mkdir()
    (place / "lora" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "tiny"}))
    shutil.copy(tiny / "model.safetensors", place / "lora" / "adapter_model.safetensors")
    (place / path).write_bytes(content)
    extra = ["--measures", "toxicity", "--toxicity", "classifier:judge"] if path.startswith("judge") else []
    write_yaml(Path("own.yaml"), content_of_texts())
    message = call("run", "-m", "./tiny", "-t", "own.yaml", "-a", "./lora", *extra).message
    assert Path(path).name in message, message
    assert len(message.splitlines()) == 2, message
    assert not Path("results").exists()


def content_of_texts() -> dict[str, Any]:
    """A task whose answers are texts, which toxicity is measured of."""
    return content(answer="generate", choices=None, target="thing", metrics=["exact_match"], generation={"max_new_tokens": 4})


@pytest.mark.parametrize("name", ["-m", "-a"])
@pytest.mark.parametrize(("value", "told"), [("~nobody-of-this-name/x", "There is no home folder"), ("x" * 5000, "File name too long")])
def test_names_that_are_no_paths(call: Call, tiny: Path, name: str, value: str, told: str) -> None:
    assert told in call("run", "-m", tiny, "-t", "task.yaml", name, value).message


@pytest.mark.parametrize("variable", ["HARNESS_CACHE", "HARNESS_DATA", "HARNESS_PATH"])
@pytest.mark.parametrize(("value", "told"), [("~nobody-of-this-name/x", "no home folder"), ("/tmp/\udcff", "is not valid UTF-8")])
def test_folders_of_the_environment(call: Call, tiny: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str) -> None:
    monkeypatch.setenv(variable, value)
    assert told in call("run", "-m", tiny, "-t", "task.yaml").message


@pytest.mark.parametrize("command", ["models", "adapters"])
def test_what_is_shown_is_whole(call: Call, tiny: Path, place: Path, command: str) -> None:
    name = "model.safetensors" if command == "models" else "adapter_model.safetensors"
    shutil.copytree(tiny, place / "own")
    if command == "adapters":
        (place / "own" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (place / "own" / name).write_bytes((tiny / "model.safetensors").read_bytes()[:-5])
    assert f"{name} is truncated" in call(command, "show", "./own").message
    (place / "own" / ("config.json" if command == "models" else "adapter_config.json")).write_text('{"a"')
    assert "config.json" in call(command, "show", "./own").message


def test_a_file_of_samples_in_the_way(call: Call, tiny: Path) -> None:
    Path("out/samples/colours.jsonl").mkdir(parents=True)
    assert "Cannot write out/samples/colours.jsonl: Is a directory" in call("run", "-m", tiny, "-t", "task.yaml", "--output", "out").message


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
@pytest.mark.parametrize("command", [["tasks", "render", "task.yaml"], ["forgetting", "--before", "one", "--after", "two"]])
def test_seeds_of_other_commands(call: Call, command: list[str], seed: str) -> None:
    assert "'--seed'" in call(*command, "--seed", seed).message


@pytest.mark.parametrize("arguments", [["run", "-t", "task.yaml"], ["run", "-m", "x"], ["run", "-m", "x", "-t", ","], ["sing"]])
def test_incomplete_commands(call: Call, arguments: list[str]) -> None:
    assert call(*arguments).message


@pytest.mark.parametrize("arguments", [["-n", "0"], ["--shots", "-1"], ["--template", "long"]])
def test_wrong_options_of_render(call: Call, arguments: list[str]) -> None:
    assert call("tasks", "render", "task.yaml", *arguments).message


def test_missing_data_and_models_offline(call: Call, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    write_yaml(Path("own.yaml"), content(data={"path": "palette/colours", "split": "test"}))
    message = call("run", "-m", tiny, "-t", "own.yaml").message
    assert "can't load the dataset palette/colours: you are offline" in message
    assert "--data DIR" in message
    message = call("run", "-m", "nobody/nothing", "-t", "task.yaml").message
    assert "Can't load the model nobody/nothing: you are offline" in message
    message = call("run", "-m", tiny, "-t", "task.yaml", "-a", "nobody/nothing").message
    assert "Can't load the adapter nobody/nothing: you are offline" in message


@pytest.mark.parametrize(
    ("model", "told"),
    [("tiny", "can't load the dataset palette/colours"), ("nobody/nothing", "Can't load the model nobody/nothing")],
    ids=["data", "model"],
)
def test_missing_data_and_models_in_a_process_without_network(place: Path, tiny: Path, model: str, told: str) -> None:
    """The hub's address leads nowhere; the whole process must say so, once, instead of trying on and on."""
    write_yaml(place / "own.yaml", content(data={"path": "palette/colours", "split": "test"}))
    surroundings = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(place / "hf"), "COLUMNS": "200"}
    command = [sys.executable, "-m", "harness", "run", "-m", str(tiny) if model == "tiny" else model, "-t", "own.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings, timeout=120)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("Error: "), done.stderr
    assert f"{told}: the Hub does not answer" in done.stderr
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert not (place / "results").exists()


def test_nothing_to_lead(call: Call) -> None:
    Path("empty").mkdir()
    assert "empty has no results.json" in call("leaderboard", "empty").message
    assert "results does not exist" in call("leaderboard").message
    assert "absent does not exist" in call("leaderboard", "absent").message


@pytest.mark.parametrize("arguments", [["--format", "xml"], ["--columns", "rows"]])
def test_wrong_options_of_leaderboard(call: Call, arguments: list[str]) -> None:
    assert arguments[0] in call("leaderboard", *arguments).message


def test_no_run_to_show(call: Call) -> None:
    assert "There is no run at" in call("results", "show", ".").message


@pytest.mark.parametrize("option", ["--junit", "--summary"])
@pytest.mark.parametrize("path", [".", "rows.jsonl/x", "/proc/harness/x"])
def test_a_gate_knows_beforehand_what_it_cannot_write(call: Call, option: str, path: str) -> None:
    message = call("gate", "results", option, path).message
    assert "Cannot write" in message, "told before the run is read, which is not there"
    assert option in message


def test_results_that_make_no_sense(call: Call) -> None:
    Path("results.json").write_text("[" * 100_000)
    assert "nested too deeply" in call("results", "show", ".").message


def test_cards_that_are_no_text(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "models").mkdir()
    (place / "models" / "own.yaml").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("HARNESS_PATH", str(place))
    assert "own.yaml: not a file of model cards" in call("models", "list").message


def test_a_file_that_is_no_result(call: Call) -> None:
    Path("results.json").write_text(json.dumps({"scores": 1}))
    assert "no schema_version" in call("leaderboard", ".").message
    Path("results.json").write_text(yaml.safe_dump({"scores": 1}))
    assert "not valid JSON" in call("results", "show", ".").message


def test_names_that_a_shell_left_empty(call: Call, tiny: Path, place: Path, no_model: None) -> None:
    assert "--adapter names no adapter" in call("run", "-m", tiny, "-t", "task.yaml", "-a", "").message
    assert "--adapter names no adapter" in call("run", "-m", tiny, "-t", "task.yaml", "-a", ",").message
    assert "--model is empty" in call("run", "-m", "", "-t", "task.yaml").message


def test_files_that_are_nested_too_deeply(call: Call, tiny: Path, place: Path) -> None:
    shutil.copytree(tiny, place / "deep")
    (place / "deep" / "config.json").write_text("[" * 200_000)
    assert "nested too deeply" in call("run", "-m", "./deep", "-t", "task.yaml").message
