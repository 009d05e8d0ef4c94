"""One definition of options: the command line's and the API's are the same."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import harness
from harness.api.comparing import CompareOptions
from harness.api.tuning import TuneKeywords
from harness.cli import add_commands, app
from harness.errors import InputError
from harness.evaluation.options import Options, option_fields, split

ONLY_COMMAND_LINE = {"run": {"explain", "shard"}, "forgetting": {"folders", "before", "after", "text", "schema"}}
"""Options that print something else than a run's results."""


def options_of(command: str) -> dict[str, Any]:
    """The defaults of a command's options and arguments by name."""
    add_commands()
    whole: Any = get_command(app)
    return {parameter.name: parameter.default for parameter in whole.commands[command].params if parameter.name != "help"}


def default(value: Any) -> Any:
    """A default, so that "not given" is the same for options of one and of several values."""
    return None if value in ((), [], None, dataclasses.MISSING, inspect.Parameter.empty) else value


def test_every_option_of_run_is_a_keyword_with_the_same_default() -> None:
    keywords = inspect.signature(harness.evaluate).parameters
    options = options_of("run")
    assert set(options) - ONLY_COMMAND_LINE["run"] == {field.name for field in option_fields()}
    for name in set(options) - ONLY_COMMAND_LINE["run"]:
        assert default(options[name]) == default(keywords[name].default), name
    assert set(keywords) - set(options) == {"tokenizer", "name", "progress"}


def test_forgetting_has_every_option_of_run() -> None:
    run, forgetting = options_of("run"), options_of("forgetting")
    assert set(run) - ONLY_COMMAND_LINE["run"] <= set(forgetting)
    for name in set(run) - {*ONLY_COMMAND_LINE["run"], "model", "tasks"}:
        assert default(run[name]) == default(forgetting[name]), name


def test_compare_and_forgetting_share_their_options() -> None:
    compare, forgetting = options_of("compare"), options_of("forgetting")
    assert set(compare) <= set(forgetting)
    assert set(forgetting) - set(compare) == set(options_of("run")) - {*ONLY_COMMAND_LINE["run"], "tasks", "seed"} | {
        "folders",
        "text",
        "schema",
    }
    keywords = inspect.signature(harness.compare).parameters
    fields = {field.name: field.default for field in option_fields(CompareOptions)}
    assert set(keywords) == {"before", "after", *fields}
    assert {name: keywords[name].default for name in fields} == fields


def test_every_option_of_tune_is_a_keyword_with_the_same_default() -> None:
    options, keywords = options_of("tune"), inspect.signature(harness.tune).parameters
    assert set(options) == set(keywords) == {field.name for field in option_fields(TuneKeywords)}
    for name in options:
        assert default(options[name]) == default(keywords[name].default), name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"limit": 0}, "--limit takes numbers from 1"),
        ({"shots": -1}, "--shots takes numbers from 0"),
        ({"seed": 2**32}, "--seed takes numbers"),
        ({"dtype": "float8"}, "--dtype 'float8' is not known"),
        ({"quantize": "2bit"}, "--quantize '2bit' is not known"),
        ({"engine": "abacus"}, "--engine 'abacus' is not known"),
        ({"measures": "speed"}, "There is no measure 'speed'"),
        ({"shot_seeds": (1, -1)}, "--shot-seeds takes numbers"),
        ({"batch_tokens": "many"}, "or auto, not 'many'"),
        ({"adapter": ""}, "--adapter names no adapter"),
        ({"adapter": ","}, "--adapter names no adapter"),
    ],
)
def test_values_are_checked(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Options("model", "task", **values)


def test_one_value_several_and_text_are_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Options("m", "a, b").task_names == Options("m", ["a", "b"]).task_names == Options("m", ("a,b", "a")).task_names == ("a", "b")
    assert Options("m", "a", None).adapters == Options("m", "a").adapters == Options("m", "a", "none").adapters == (None,)
    assert Options("m", "a", [None, "x"]).adapters == Options("m", "a", "none,x").adapters == (None, "x")
    assert Options("m", "a", Path("x")).adapters == ("x",)
    assert Options("m", "a", shot_seeds=3).seeds == Options("m", "a", shot_seeds="3").seeds == (3,)
    assert Options("m", "a", shot_seeds="0,1").seeds == Options("m", "a", shot_seeds=(0, 1)).seeds == (0, 1)
    assert Options("m", "a", template=("x", "y")).templates == "x,y"
    assert Options("m", "a").templates is None
    assert Options("m", "a", device="cpu,cuda:1").devices == ("cpu", "cuda:1")
    assert Options("m", "a", measures="bias,calibration").families == ("calibration", "bias")
    assert Options("m", "a", limit=5).limit == 5
    assert Options("m", "a", batch_tokens="auto").batch_tokens is None  # type: ignore[arg-type]  # as the command line gives it
    assert Options("m", "a", output="out").output == Path("out")  # type: ignore[arg-type]
    assert Options("m", "a").data is None
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    assert Options("m", "a").data == tmp_path
    (tmp_path / "x").mkdir()
    assert dataclasses.replace(Options("m", "a", data=tmp_path / "x"), limit=1).data == tmp_path / "x"
    assert split("a,,b , a") == ("a", "b")
