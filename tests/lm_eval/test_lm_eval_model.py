"""The harness's engine as a model of lm-eval: what lm-eval's own backend gives, through lm-eval's own functions and command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import AdapterError, InputError
from harness.lm_eval.model import HarnessLM
from tests.lm_eval.peer import RELATIVE, TOLERANCE, theirs

TASKS = ["tiny_group", "tiny_cloze", "tiny_prose", "tiny_words"]
LEAVES = ["tiny_choice", "tiny_choice_test", "tiny_contexts", "tiny_cloze", "tiny_prose"]


def harness_lm(folder: Path, **settings: Any) -> HarnessLM:
    return HarnessLM(model=str(folder), dtype="float32", device="cpu", **settings)


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("model", ["causal", "seq2seq"])
def test_it_gives_what_lm_evals_own_backend_gives(model: str, shots: int, tiny_tasks: Path, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(model)
    mine = theirs(harness_lm(folder), TASKS, tiny_tasks, shots=shots)
    peer = theirs(folder, TASKS, tiny_tasks, shots=shots)
    for task in LEAVES:
        for one, other in zip(mine.logprobs(task), peer.logprobs(task), strict=True):
            assert one == pytest.approx(other, abs=TOLERANCE, rel=RELATIVE), task
        assert mine.metrics(task) == pytest.approx(peer.metrics(task), rel=1e-4), task
    assert mine.metrics("tiny_group") == pytest.approx(peer.metrics("tiny_group"))
    if model == "causal":
        assert mine.texts("tiny_words") == peer.texts("tiny_words")
        assert mine.metrics("tiny_words") == pytest.approx(peer.metrics("tiny_words"))


def test_greedy_is_told_as_lm_evals_own_backend_tells_it(causal: Path, tiny_tasks: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    mine, peer = harness_lm(causal), HFLM(pretrained=str(causal), dtype="float32", device="cpu", batch_size=2)
    (text,) = peer.generate_until([Instance("generate_until", {}, ("The dog", {"max_gen_toks": 3, "until": []}), 0)])
    pairs = [("The dog", text), ("The dog", " sleeps"), ("", "The dog"), ("The dog ", "sleeps"), (" ", "x")]
    requests = [Instance("loglikelihood", {}, pair, 0, metadata=("t", n, 1)) for n, pair in enumerate(pairs)]
    one, other = mine.loglikelihood(requests, disable_tqdm=True), peer.loglikelihood(requests, disable_tqdm=True)
    assert [greedy for _, greedy in one] == [greedy for _, greedy in other]
    assert one[0][1], "what greedy decoding gives is greedy"
    assert [value for value, _ in one] == pytest.approx([value for value, _ in other], abs=TOLERANCE)


def test_requests_with_one_context_run_as_one(causal: Path) -> None:
    from lm_eval.api.instance import Instance

    model = harness_lm(causal)
    endings = [" a", " b", " c", " d"]
    model.loglikelihood([Instance("loglikelihood", {}, ("Which one is it?", end), 0, metadata=("t", 0, 1)) for end in endings])
    context = len(model.tok_encode("Which one is it?"))
    assert model.engine.usage.prefill_tokens < 2 * context


def test_what_lm_eval_asks_a_model_about(causal: Path, seq2seq: Path) -> None:
    model = harness_lm(causal)
    assert (model.max_length, model.eot_token_id, model.prefix_token_id) == (256, 2, 1)
    assert model.tok_encode("The dog")[0] == 1
    assert model.tok_encode("<s>The dog") == model.tok_encode("The dog")
    assert model.tok_encode("The dog", add_special_tokens=False) == model.tok_encode("The dog")[1:]
    assert model.tokenizer_name
    assert harness_lm(causal, max_length=64).max_length == 64
    assert harness_lm(seq2seq).backend == "seq2seq"


def test_a_wrong_adapter_or_no_model_is_told(causal: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError):
        harness_lm(causal, adapter=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="not named"):
        HarnessLM()


def test_an_adapter_changes_the_answers(causal: Path, lora: Path) -> None:
    from lm_eval.api.instance import Instance

    requests = [Instance("loglikelihood", {}, ("The dog", " sleeps"), 0, metadata=("t", 0, 1))]
    base = harness_lm(causal).loglikelihood(requests)
    adapted = harness_lm(causal, adapter=str(lora), any_base=True).loglikelihood(requests)
    assert base[0][0] != pytest.approx(adapted[0][0], abs=1e-3)


def test_lm_evals_command_line_knows_it(causal: Path, tiny_tasks: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness.lm_eval.command", "run", "--model", "harness"]
    command += ["--model_args", f"model={causal},dtype=float32", "--tasks", str(tiny_tasks / "tiny_cloze.yaml"), "--limit", "2"]
    command += ["--device", "cpu", "--output_path", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "tiny_cloze" in done.stdout
    (path,) = tmp_path.glob("out_*.json")
    assert json.loads(path.read_text())["results"]["tiny_cloze"]["sample_len"] == 2
