"""lm-eval's names are found in a cached index that is read without lm-eval."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.lm_eval import task_names


def test_names_are_told_apart() -> None:
    own, other = task_names.split(["mmlu", "lm_eval:cola", "lm_eval:a/b.yaml"])
    assert own == ("mmlu",)
    assert other == ("cola", "a/b.yaml")


def test_the_index_holds_tasks_groups_and_tags(with_index: Path) -> None:
    known = task_names.index()
    assert (known["cola"].kind, known["cola"].output) == ("task", "multiple_choice")
    assert known["mmlu"].kind == "group"
    assert "mmlu_stem" in known["mmlu"].members
    assert known["glue"].kind == "tag"
    assert {"cola", "rte"} <= set(known["glue"].members)
    assert len(known) > 10_000


def test_reading_the_index_needs_no_lm_eval(with_index: Path) -> None:
    code = (
        "import sys; from harness.lm_eval import task_names; assert task_names.matching('arc_e', task_names.index()); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"lm_eval", "torch", "datasets", "numpy"} & set(done.stdout.split())


def test_patterns_are_texts_or_globs(with_index: Path) -> None:
    known = task_names.index()
    assert task_names.matching("HellaSwag", {"hellaswag": known["hellaswag"]}) == ["hellaswag"]
    assert all(name.startswith("bbh_zeroshot_") for name in task_names.matching("bbh_zeroshot_*", known))
    assert len(task_names.matching("bbh_zeroshot_*", known)) == 27
    assert task_names.matching("no such name", known) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cola": {"kind": "task"}}', '{"cola": 3}'])
def test_a_damaged_index_is_made_again(content: str, with_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = with_index.read_text()
    with_index.write_text(content)
    made = {name: task_names.Listed(**one | {"members": tuple(one["members"])}) for name, one in json.loads(whole).items()}
    monkeypatch.setattr(task_names, "_build", lambda _: made)
    assert task_names.index()["cola"].kind == "task"
    assert with_index.read_text() == whole


def test_without_lm_eval_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(InputError, match="not installed") as caught:
        task_names.index()
    assert "pip install 'adapter-harness[lm-eval]'" in caught.value.remedy


def test_the_launcher_without_lm_eval_says_so_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from harness.lm_eval.command import main

    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "pip install 'adapter-harness[lm-eval]'" in capsys.readouterr().err


def test_the_command_line_lists_what_fits(with_index: Path) -> None:
    listed = _harness("tasks", "list", "--lm-eval", "glue")
    lines = [line.split() for line in listed.stdout.splitlines()]
    assert ["lm_eval:glue", "tag", "9", "members"] in lines
    assert ["lm_eval:bbh_zeroshot", "group", "27", "members", "bbh/zeroshot/_bbh_zeroshot.yaml"] in [
        line.split() for line in _harness("tasks", "list", "--lm-eval", "bbh_zero*").stdout.splitlines()
    ]
    wrong = _harness("tasks", "list", "--lm-eval", "hellaswaq")
    assert wrong.returncode == 2
    assert "Did you mean lm_eval:hellaswag" in wrong.stderr


def _harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", *arguments], capture_output=True, text=True, check=False)
