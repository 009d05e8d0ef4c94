"""Tiny models and tasks for both directions of the bridge, made once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness.lm_eval import task_names
from tests.lm_eval.peer import write_tasks
from tests.tiny import tiny_causal, tiny_seq2seq

pytest.importorskip("lm_eval", reason="lm-eval is in the dev extra")


@pytest.fixture(scope="session")
def index_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lm-eval's index, built once: it takes seconds."""
    cache = tmp_path_factory.mktemp("index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(cache))
        task_names.index()
        return task_names.index_path()


@pytest.fixture
def with_index(_own_cache: None, index_file: Path) -> Path:
    """This test's own cache holds the index."""
    path = task_names.index_path()
    path.parent.mkdir(parents=True)
    shutil.copy(index_file, path)
    return path


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with tasks in lm-eval's format."""
    root = tmp_path_factory.mktemp("user")
    write_tasks(root / "lm_eval")
    return root


@pytest.fixture
def tiny_tasks(tiny_root: Path, with_index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of tiny tasks, which the harness finds by way of HARNESS_PATH."""
    monkeypatch.setenv("HARNESS_PATH", str(tiny_root))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    assert os.environ["HARNESS_CACHE"]
    return tiny_root / "lm_eval"


@pytest.fixture(scope="session")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random decoder-only model of 256 positions."""
    return tiny_causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="session")
def lora(causal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter for the decoder-only model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    torch.manual_seed(1)
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("lora")
    get_peft_model(LlamaForCausalLM.from_pretrained(causal), settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder-decoder model with a head of its own, scaled so that log-probabilities are those of a model and not thousands."""
    from transformers import T5ForConditionalGeneration

    folder = tiny_seq2seq(tmp_path_factory.mktemp("seq2seq"))
    module = T5ForConditionalGeneration.from_pretrained(folder)
    module.lm_head.weight.data *= 0.02
    module.save_pretrained(folder)
    return folder
