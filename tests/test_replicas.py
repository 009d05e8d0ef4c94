"""A run on several devices: two processes of this machine stand for them."""

from __future__ import annotations

import os
import signal
import traceback
from pathlib import Path
from typing import Any

import pytest

from harness.compare.pairing import Results
from harness.contract import ScoreChoices
from harness.engine.cluster import Replicas
from harness.errors import ModelError
from harness.evaluation.options import Options
from harness.evaluation.run import FinishedRun, run
from harness.evaluation.systems import open_quietly
from tests.silent import Recorder
from tests.tasks.cases import content, write_rows, write_yaml
from tests.tiny import tiny_causal

TWO = ("cpu", "cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an adapter for it, and a task of each kind."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("replicas")
    tiny_causal(folder / "model")
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "model"), config)
    adapted.peft_config["default"].base_model_name_or_path = "model"
    adapted.save_pretrained(str(folder / "tuned"))
    write_rows(folder / "rows.jsonl", [{"thing": f"thing {number}", "label": number % 2} for number in range(17)])
    write_yaml(folder / "pick.yaml", content(task="pick"))
    told = {"answer": "generate", "choices": None, "target": "thing", "metrics": ["exact_match"], "generation": {"max_new_tokens": 5}}
    write_yaml(folder / "write.yaml", content(task="write", **told))
    return folder


def scored(root: Path, output: Path, **options: Any) -> list[FinishedRun]:
    tasks = (str(root / "pick.yaml"), str(root / "write.yaml"))
    item_requests: dict[str, Any] = {"model": str(root / "model"), "adapters": (None, str(root / "tuned")), "device": "cpu"} | options
    return run(Options(tasks=tasks, output=output, fresh=True, any_base=True, **item_requests), Recorder())


def test_two_devices_say_what_one_says(root: Path, tmp_path: Path) -> None:
    alone, together = scored(root, tmp_path / "one"), scored(root, tmp_path / "two", devices=TWO)
    assert [one.record.system.name for one in together] == ["model", "model+tuned"]
    for one, other in zip(alone, together, strict=True):
        assert one.record.system == other.record.system
        assert other.record.efficiency.requests.computed == 34
        assert other.record.efficiency.tokens.requested == one.record.efficiency.tokens.requested
        for task in ("pick", "write"):
            for mine, theirs in zip(
                Results.read(one.folder).kept(task, None).samples, Results.read(other.folder).kept(task, None).samples, strict=True
            ):
                assert (mine.id, mine.prediction, mine.text) == (theirs.id, theirs.prediction, theirs.text)
                assert theirs.logprobs == (None if mine.logprobs is None else pytest.approx(mine.logprobs, abs=1e-5))
    assert Results.read(alone[0].folder).kept("pick", None).samples != Results.read(alone[1].folder).kept("pick", None).samples


def test_what_fails_in_a_process_is_told_as_it_is(root: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    for path in (root / "model").iterdir():
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("nan"))
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.safetensors: the tensor model\.norm\.weight holds NaN"):
        scored(root, tmp_path / "out", model=str(tmp_path / "model"), adapters=(None,), devices=TWO)
    assert not (tmp_path / "out" / "results.json").exists()


def unforeseen(_: Options) -> Any:
    """A function that processes call to open systems, and that fails as nobody foresaw."""
    raise KeyError("colours")


def test_what_nobody_foresaw_comes_with_its_traceback(root: Path) -> None:
    replicas = Replicas(unforeseen, Options(model=str(root / "model"), tasks=()), ("cpu",))
    try:
        with pytest.raises(RuntimeError, match="on cpu: KeyError: 'colours'") as caught:
            list(replicas.engine(0).score([ScoreChoices("one", (1,), ((2,), (3,)))]))
    finally:
        replicas.close()
    whole = "".join(traceback.format_exception(caught.value))
    assert "in unforeseen" in whole
    assert whole.count("Traceback (most recent call last)") == 2


def test_a_process_that_dies_is_missed(root: Path) -> None:
    replicas = Replicas(open_quietly, Options(model=str(root / "model"), tasks=(), device="cpu"), TWO)
    try:
        for process in replicas.processes:
            os.kill(process.pid or 0, signal.SIGKILL)
        with pytest.raises(ModelError, match="ended with code -9"):
            list(replicas.engine(0).score([ScoreChoices("a", (1,), ((5,), (6,)))]))
    finally:
        replicas.close()


def test_an_unknown_device_is_told_before_anything_starts(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Unknown device 'gpu9'"):
        scored(root, tmp_path / "out", devices=("cpu", "gpu9"))
