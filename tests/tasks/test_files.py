from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import TaskError
from harness.tasks import files
from harness.tasks.schema import Task
from tests.tasks.cases import content, write_yaml

WHOLE = """\
task: colours
about: {title: Colours}
data:
  files: {test: rows.jsonl}
  split: test
answer: choices
choices: [red, blue]
target: label
templates:
  - name: plain
    prompt: "{{ thing }}"
metrics: [accuracy]
"""


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def to_file(text: str, name: str = "task.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def validated(path: Path) -> list[Task]:
    document = files.read(path)
    return [files.validated(Task, one, document) for one in files.expand(document)]


def refusal(path: Path) -> str:
    with pytest.raises(TaskError) as caught:
        validated(path)
    assert caught.value.remedy
    return str(caught.value)


def test_a_file_becomes_a_task(save: Callable[..., Path]) -> None:
    (task,) = validated(save(WHOLE))
    assert (task.task, task.choices) == ("colours", ("red", "blue"))


def test_included_files_lie_below_those_that_include_them(save: Callable[..., Path]) -> None:
    save(WHOLE, "_base.yaml")
    save("include: _base.yaml\ndata: {split: dev, id: thing}\nversion: 2\n", "_middle.yaml")
    (task,) = validated(save("include: _middle.yaml\ntask: shades\nchoices: [dark, light]\nversion: 3\n"))
    assert (task.task, task.version, task.choices) == ("shades", 3, ("dark", "light"))
    assert (task.data.split, task.data.id, task.data.files) == ("dev", "thing", {"test": "rows.jsonl"})


def test_an_include_is_looked_for_beside_the_file_that_names_it(tmp_path: Path) -> None:
    write_yaml(tmp_path / "shared" / "_base.yaml", content())
    write_yaml(tmp_path / "shared" / "deep" / "_middle.yaml", {"include": "../_base.yaml"})
    (task,) = validated(write_yaml(tmp_path / "mine.yaml", {"include": "shared/deep/_middle.yaml", "task": "mine"}))
    assert task.task == "mine"


def test_a_circle_of_includes_is_told(save: Callable[..., Path], in_tmp: Path) -> None:
    save("include: two.yaml\n", "one.yaml")
    save("include: one.yaml\n", "two.yaml")
    assert "includes itself through" in refusal(in_tmp / "one.yaml")
    assert "includes itself" in refusal(Path("one.yaml"))


def test_an_include_that_is_not_there_is_told(save: Callable[..., Path]) -> None:
    assert "absent.yaml: No such file" in refusal(save("include: absent.yaml\n"))


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("expand: {tone: [dark, light]}", ["colours_dark", "colours_light"]),
        ("expand:\n  - {tone: dark, other: 1}\n  - {tone: light, other: 2}", ["colours_dark", "colours_light"]),
        ("expand: {tone: [1, 2]}", ["colours_1", "colours_2"]),
    ],
)
def test_expand_makes_a_family(save: Callable[..., Path], family: str, names: list[str]) -> None:
    made = validated(save(WHOLE.replace("task: colours", "task: colours_${tone}") + family))
    assert [task.task for task in made] == names


def test_variables_are_filled_in_at_every_depth(save: Callable[..., Path]) -> None:
    text = WHOLE.replace("{{ thing }}", "A ${tone} {{ thing }}").replace("[red, blue]", "['${tone} red', blue]")
    (task,) = validated(save(text + "expand: {tone: [dark]}\n"))
    assert task.templates[0].prompt == "A dark {{ thing }}"
    assert task.choices == ("dark red", "blue")


def test_an_unknown_variable_is_told_with_its_line(save: Callable[..., Path]) -> None:
    path = save(WHOLE.replace("{{ thing }}", "${ton}") + "expand: {tone: [dark], size: [1]}\n")
    assert refusal(path).startswith(f"{path}:13: 'expand' must be one name")
    path = save(WHOLE.replace("{{ thing }}", "${ton}") + "expand: {tone: [dark]}\n")
    assert refusal(path) == f"{path}:11: ${{ton}} is not a variable of 'expand'.\nIts variables: tone."


def test_text_that_only_looks_like_a_variable_stays_without_expand(save: Callable[..., Path]) -> None:
    (task,) = validated(save(WHOLE.replace("{{ thing }}", "costs ${price}")))
    assert task.templates[0].prompt == "costs ${price}"


WRONG: list[tuple[str, str, int, list[str]]] = [
    ("split: test", "split: [test", 6, ["not valid YAML"]),
    ("about: {title: Colours}", "about: {title: Colours}\n\tanswer: x", 3, ["not valid YAML"]),
    ("answer: choices", "answer: !!python/object/apply:os.system [ls]", 6, ["not valid YAML"]),
    ("  split: test", "  split: test\n  split: dev", 6, ["'split' is given twice"]),
    ("answer: choices", "answer: choices\nanswer: generate", 7, ["'answer' is given twice"]),
    ("metrics:", "metric:", 12, ["unknown key 'metric'", "Did you mean 'metrics'?"]),
    ("  split: test", "  split: test\n  confg: x", 6, ["unknown key 'data.confg'", "Did you mean 'config'?"]),
    ("    prompt:", "    promt: x\n    prompt:", 11, ["unknown key 'templates.0.promt'", "Did you mean 'prompt'?"]),
    ("answer: choices", "answer: choices\nxyzzy: 1", 7, ["unknown key 'xyzzy'", "harness tasks schema"]),
    ("  split: test", "  split: 7", 5, ["'data.split'", "string"]),
    ("choices: [red, blue]", "choices: 7", 7, ["'choices'"]),
    ("choices: [red, blue]", "choices: [red, 7]", 7, ["'choices.1'", "string"]),
    ("answer: choices", "answer: chioces", 6, ["'answer'", "'choices'"]),
    ("  split: test", "  split: test\n  path: a/b", 3, ["'data'", "not both"]),
    ("metrics: [accuracy]", "metrics: [accuracy, accuracy]", 12, ["'metrics'", "'accuracy' is given twice"]),
    ("metrics: [accuracy]", "metrics: [{metric: 5}]", 12, ["'metrics.0.metric'"]),
]


@pytest.mark.parametrize(("right", "wrong", "line", "told"), WRONG)
def test_a_slip_is_told_with_file_and_line(save: Callable[..., Path], right: str, wrong: str, line: int, told: list[str]) -> None:
    assert right in WHOLE
    path = save(WHOLE.replace(right, wrong, 1))
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: "), message
    assert all(part in message for part in told), message
    assert "python" not in message or "object" in message


def test_a_missing_key_is_told(save: Callable[..., Path]) -> None:
    path = save(WHOLE.replace("metrics: [accuracy]\n", ""))
    assert refusal(path).startswith(f"{path}:1: 'metrics': field required.")


@pytest.mark.parametrize(
    ("text", "line", "told"), [("data: {split: test, confg: x}\n", 1, "Did you mean 'config'"), ("# note\nanswer: x\n", 2, "'answer'")]
)
@pytest.mark.parametrize("between", [False, True])
def test_an_error_in_an_included_file_names_that_file(save: Callable[..., Path], text: str, line: int, told: str, between: bool) -> None:
    base = save(text, "_base.yaml")
    if between:
        save("include: _base.yaml\nversion: 2\n", "_middle.yaml")
    own = "".join(part for part in WHOLE.splitlines(keepends=True) if not part.startswith("answer" if "answer" in text else "none"))
    message = refusal(save(f"include: {'_middle' if between else '_base'}.yaml\n" + own))
    assert message.startswith(f"{base.resolve()}:{line}: "), message
    assert told in message


def test_a_broken_or_doubled_included_file_is_named(save: Callable[..., Path]) -> None:
    base = save("answer: [\n", "_base.yaml")
    assert refusal(save("include: _base.yaml\n")).startswith(f"{base.resolve()}:2: not valid YAML")
    base = save("a: 1\na: 2\n", "_base.yaml")
    assert refusal(save("include: _base.yaml\n")).startswith(f"{base.resolve()}:2: the key 'a' is given twice")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text\n"])
def test_a_file_that_is_no_mapping_is_told(save: Callable[..., Path], text: str) -> None:
    assert "a task file must be a mapping" in refusal(save(text))


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.yaml")
    assert "Is a directory" in refusal(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"task: gr\xfcn\n")
    assert "not UTF-8" in refusal(tmp_path / "latin.yaml")


def test_a_mapping_that_contains_itself_is_told(save: Callable[..., Path]) -> None:
    path = save(WHOLE + "groups: &loop [*loop]\n")
    assert refusal(path).startswith(f"{path}:13: ")
