"""`harness run --engine vllm`, against vLLM's recorded interface."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call, forbid_model
from tests.engine import recorded_vllm
from tests.tiny import tiny_seq2seq


def test_a_run_gives_the_same_results_in_a_place_of_its_own(call: Call, tiny: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded_vllm.install(monkeypatch)
    done = call("run", "-m", tiny, "-t", "task.yaml")
    with monkeypatch.context() as patch:
        forbid_model(patch)
        served = call("run", "-m", tiny, "-t", "task.yaml", "--engine", "vllm")
    assert (done.code, served.code) == (0, 0), served.err
    here, there = (json.loads((place / "results" / name / "results.json").read_text()) for name in ("tiny", "tiny@vllm"))
    assert (here["system"]["engine"], there["system"]["engine"]) == ("transformers", "vllm")
    assert here["system"]["digest"] != there["system"]["digest"]
    assert there["efficiency"]["requests"]["cached"] == 0
    assert here["tasks"]["colours"]["metrics"] == there["tasks"]["colours"]["metrics"]
    assert here["tasks"]["colours"]["signature"] == there["tasks"]["colours"]["signature"]


@pytest.mark.parametrize("option", ["--merge", "--trust-remote-code", "--quantize=4bit"])
def test_what_vllm_does_not_do_is_refused(call: Call, tiny: Path, place: Path, option: str) -> None:
    assert (
        f"--engine vllm does not support {option.split('=')[0]}"
        in call("run", "-m", tiny, "-t", "task.yaml", "--engine", "vllm", option).message
    )


def test_encoder_decoder_models_are_refused(call: Call, place: Path) -> None:
    model = tiny_seq2seq(place / "t5")
    assert (
        "--engine vllm does not support an encoder-decoder model" in call("run", "-m", model, "-t", "task.yaml", "--engine", "vllm").message
    )
