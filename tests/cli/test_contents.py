"""No answer is kept or served of files that are not those that the system's digests name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.models import loading
from harness.util import contents
from tests.cli.conftest import Call


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that may be changed."""
    return Path(shutil.copytree(tiny, tmp_path / "copy" / "tiny"))


def run(call: Call, model: Path, output: str, *more: str) -> dict[str, Any]:
    done = call("run", "-m", model, "-t", "task.yaml", "--output", output, *more)
    assert done.code == 0, done.err
    record: dict[str, Any] = json.loads((Path(output) / "results.json").read_text())
    return record


def spoil(path: Path) -> None:
    """Change weights in place; size and time of modification stay."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        file.write(bytes(64))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_other_weights_of_equal_size_and_time_are_asked_anew(call: Call, model: Path, place: Path) -> None:
    before = run(call, model, "one")
    spoil(model / "model.safetensors")
    after = run(call, model, "two")
    assert before["system"]["model_digest"] != after["system"]["model_digest"]
    assert after["efficiency"]["requests"] == {"unique": 3, "cached": 0, "computed": 3}


@pytest.mark.parametrize("when", ["before", "after"])
def test_weights_that_change_after_they_were_hashed_are_found(
    call: Call, model: Path, place: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Before loading other weights would answer; after loading they may still be mapped into memory."""
    load = loading.load_model

    def busy(*args: Any, **options: Any) -> loading.Loaded:
        if when == "before":
            options["contents"].confirm()
            spoil(model / "model.safetensors")
        loaded = load(*args, **options)
        if when == "after":
            options["contents"].confirm()
            spoil(model / "model.safetensors")
        return loaded

    monkeypatch.setattr(loading, "load_model", busy)
    message = call("run", "-m", model, "-t", "task.yaml", "--output", "out").message
    assert "model.safetensors was changed while it was in use" in message
    assert not (place / "out" / "results.json").exists()
    assert kept() == 0


def kept() -> int:
    """How many responses the store holds."""
    from harness.util import paths

    path = paths.cache() / "responses.sqlite"
    if not path.exists():
        return 0
    import sqlite3

    with sqlite3.connect(path) as store:
        return int(store.execute("select count(*) from responses").fetchone()[0])


def test_answers_of_the_store_are_not_served_for_files_that_are_not_read(
    call: Call, model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every state fits, as on a drive without change times, but the bytes are others: found out although nothing is computed."""
    monkeypatch.setattr(contents, "_LARGE", 0)
    run(call, model, "one")
    spoil(model / "model.safetensors")
    hints = _hints_made_to_fit()
    assert any(path.endswith("model.safetensors") for path in hints)
    message = call("run", "-m", model, "-t", "task.yaml", "--output", "two").message
    assert "changed since it was last read" in message
    assert not (place / "two" / "results.json").exists()
    assert run(call, model, "three")["efficiency"]["requests"]["computed"] == 3


def _hints_made_to_fit() -> dict[str, list[Any]]:
    from harness.util import paths

    path = paths.cache() / "digests.json"
    hints = {
        name: [entry[0], *(getattr(contents.State.of(Path(name)), one) for one in contents.State.__slots__)]
        for name, entry in json.loads(path.read_text()).items()
    }
    path.write_text(json.dumps(hints))
    return hints


def test_another_end_token_is_another_model(call: Call, model: Path, place: Path) -> None:
    before = run(call, model, "one")
    path = model / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": 9}))
    after = run(call, model, "two")
    assert before["system"]["model_digest"] != after["system"]["model_digest"]
    assert after["efficiency"]["requests"]["computed"] == 3


def test_a_file_beside_the_model_changes_nothing(call: Call, model: Path, place: Path) -> None:
    before = run(call, model, "one")
    for name in ("README.md", "optimizer.pt", "trainer_state.json"):
        (model / name).write_text("{}")
    after = run(call, model, "two")
    assert before["system"] == after["system"]
    assert after["efficiency"]["requests"]["computed"] == 0


@pytest.fixture
def adapter(model: Path, tmp_path: Path) -> Path:
    """A small LoRA adapter of the model."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    made.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_that_changes_is_another_one_or_is_found(
    call: Call, model: Path, adapter: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run(call, model, "one", "--adapter", str(adapter))
    spoil(adapter / "adapter_model.safetensors")
    after = run(call, model, "two", "--adapter", str(adapter))
    assert before["system"]["adapter_digest"] != after["system"]["adapter_digest"]
    assert after["efficiency"]["requests"]["computed"] == 3
    load: Callable[..., loading.Loaded] = loading.load_model

    def busy(*args: Any, **options: Any) -> loading.Loaded:
        with (adapter / "adapter_model.safetensors").open("r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(b"\1" * 8)
        return load(*args, **options)

    monkeypatch.setattr(loading, "load_model", busy)
    message = call("run", "-m", model, "-t", "task.yaml", "--adapter", adapter, "--output", "three", "--fresh").message
    assert "adapter_model.safetensors was changed while it was in use" in message
