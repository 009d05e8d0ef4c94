"""`harness tune` and `harness adapters` as a user calls them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Call, forbid_model
from tests.tasks.cases import content, write_rows, write_yaml

SHORT = ("--max-steps", "2", "--batch-tokens", "128", "--validate", "4", "--device", "cpu")


@pytest.fixture
def learnable(in_tmp: Path) -> Path:
    """The working folder, with a task that has a train split."""
    write_rows(in_tmp / "train.jsonl", [{"thing": f"thing {number}", "label": number % 2} for number in range(30)])
    write_rows(in_tmp / "test.jsonl", [{"thing": f"other {number}", "label": number % 2} for number in range(5)])
    data = {"files": {"train": "train.jsonl", "test": "test.jsonl"}, "split": "test"}
    write_yaml(in_tmp / "task.yaml", content(data=data))
    return in_tmp


def test_from_training_to_scores(call: Call, tiny: Path, learnable: Path) -> None:
    done = call("tune", "-m", tiny, "-t", "task.yaml", "-n", "mine", *SHORT)
    assert done.code == 0, done.err
    assert "mine" in done.out
    assert "harness run --model" in done.out
    assert "validation loss" in done.err
    listed = call("adapters", "list")
    assert "mine" in listed.out
    assert "LoRA, rank 8, for task.yaml" in listed.out
    shown = call("adapters", "show", "mine")
    assert shown.code == 0
    assert "again" in shown.out
    assert call("adapters", "show", learnable / "adapters" / "mine" / "tiny").code == 0
    scored = call("run", "-m", tiny, "-a", "none,mine", "-t", "task.yaml", "--device", "cpu")
    assert scored.code == 0, scored.err
    assert (learnable / "results" / "tiny+mine" / "results.json").is_file()
    merged = call("run", "-m", tiny, "-a", "mine", "-t", "task.yaml", "--merge", "--device", "cpu")
    assert merged.code == 0, merged.err
    assert (learnable / "results" / "tiny+mine-merged" / "results.json").is_file()


def test_a_grid_ends_in_a_leaderboard(call: Call, tiny: Path, learnable: Path) -> None:
    done = call("tune", "-m", tiny, "-t", "task.yaml", "-n", "g", "--method", "lora,prompt", "--rank", "1,2", "--lr", "0.1", *SHORT)
    assert done.code == 0, done.err
    rows = [line.split()[0] for line in done.out.splitlines()[1:4]]
    assert sorted(rows) == ["g_lora_r1", "g_lora_r2", "g_prompt"]
    assert {path.name for path in (learnable / "adapters").glob("*.yaml")} == {f"{name}.yaml" for name in rows}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rank", "0"), "--rank must be 1 or more, not 0"),
        (("--rank", "eight"), "--rank takes numbers separated by commas, not 'eight'"),
        (("--method", "magic"), "--method 'magic' is not known"),
        (("--mix", "half"), "--mix 'half' is not known"),
        (("--method", "prompt", "--rank", "4"), "--rank belongs to low-rank methods"),
        (("--replay", "mmlu"), "--replay takes tasks and a share, not 'mmlu'"),
        (("--replay", "mmlu:2"), "share between 0 and 1"),
        (("--train-split", "test"), "is evaluated on its split 'test'"),
        (("--train-split", "nowhere"), "no split 'nowhere'"),
        (("--template", "no_such"), "no template 'no_such'"),
        (("--name", "a/b"), "cannot be an adapter's name"),
        (("--task", "no_such_task"), "Unknown task 'no_such_task'"),
        (("--replay", "no_such_task:0.1"), "Unknown task 'no_such_task'"),
        (("--model", "no_such_model"), "Unknown model 'no_such_model'"),
        (("--chat",), "no chat template"),
        (("--seed", "-1"), "--seed must be 0 or more, not -1"),
        (("--seed", "0,4294967296"), "--seed must be at most 4,294,967,295, not 4294967296"),
        (("--seed", "²"), "--seed takes numbers separated by commas"),
        (("--rank", "100000"), "--rank must be at most 65,536"),
        (("--max-steps", "99999999999"), "--max-steps must be at most 10,000,000"),
        (("--epochs", "1e9"), "--epochs must be at most 10,000"),
        (("--lr", "1e999"), "--lr must be at most 1,000"),
        (("--alpha", "nan"), "--alpha must be above 0, not nan"),
        (("--targets", "q_proj+"), "--targets takes module names joined by '+', not 'q_proj+'"),
        (("--validate", "99999999999"), "'--validate'"),
        (("--micro-tokens", "99999999999"), "'--micro-tokens'"),
        (("--device", "meta"), "device 'meta' is not supported"),
        (("--output", "test.jsonl/x"), "Cannot write test.jsonl/x/mine.yaml: Not a directory"),
        (("--output", "/proc/harness"), "Cannot write /proc/harness/mine.yaml"),
    ],
)
def test_what_is_wrong_is_one_message_before_the_model_is_loaded(
    call: Call, tiny: Path, learnable: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    forbid_model(monkeypatch)
    given = {"-m": str(tiny), "-n": "mine", "-t": "task.yaml"}
    long = {"--model": "-m", "--name": "-n", "--task": "-t"}
    for option, value in zip(arguments[::2], arguments[1::2], strict=False):
        if option in long:
            given[long[option]] = value
    rest = () if arguments[0] in long else arguments
    message = call("tune", *(part for pair in given.items() for part in pair), *rest).message
    assert words in message
    assert not (learnable / "adapters").exists()


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_an_unfinished_training_that_is_damaged(call: Call, tiny: Path, learnable: Path, content: str) -> None:
    begun = learnable / "adapters" / "mine" / ".tiny.training" / "settings.json"
    begun.parent.mkdir(parents=True)
    begun.write_text(content)
    message = call("tune", "-m", tiny, "-t", "task.yaml", "-n", "mine", *SHORT).message
    assert "settings.json" in message
    assert "--fresh" in message


def test_a_base_that_was_cut(call: Call, tiny: Path, learnable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_model(monkeypatch)
    shutil.copytree(tiny, learnable / "cut")
    (learnable / "cut" / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes()[:-1])
    assert "model.safetensors is truncated" in call("tune", "-m", "./cut", "-t", "task.yaml", "-n", "mine").message


def test_an_unknown_target_module(call: Call, tiny: Path, learnable: Path) -> None:
    message = call("tune", "-m", tiny, "-t", "task.yaml", "-n", "mine", "--targets", "no_such", *SHORT).message
    assert "tiny has no module called no_such" in message
    assert "q_proj" in message


def test_a_name_that_exists(call: Call, tiny: Path, learnable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("tune", "-m", tiny, "-t", "task.yaml", "-n", "mine", *SHORT).code == 0
    before = {path: path.read_bytes() for path in (learnable / "adapters").rglob("*") if path.is_file()}
    forbid_model(monkeypatch)
    assert "exists for tiny already" in call("tune", "-m", tiny, "-t", "task.yaml", "-n", "mine", *SHORT).message
    assert {path: path.read_bytes() for path in before} == before


def test_a_quantized_adapter_needs_its_base(call: Call, tiny: Path, learnable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("tune", "-m", tiny, "-t", "task.yaml", "-n", "q", "--method", "qlora", *SHORT).code == 0
    forbid_model(monkeypatch)
    assert "--quantize 4bit" in call("run", "-m", tiny, "-a", "q", "-t", "task.yaml").message
    assert "merged, it would be another model" in call("run", "-m", tiny, "-a", "q", "-t", "task.yaml", "--merge").message


def test_an_unknown_adapter_names_the_nearest(call: Call, tiny: Path, learnable: Path) -> None:
    assert call("tune", "-m", tiny, "-t", "task.yaml", "-n", "mine", *SHORT).code == 0
    assert "Did you mean mine?" in call("adapters", "show", "mien").message
