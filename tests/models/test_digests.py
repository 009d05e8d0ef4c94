"""Digests name exactly what is evaluated: the files that are loaded, whichever others lie beside them."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest

from harness.errors import ModelError
from harness.models import digests


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    (folder / shards[0]).write_bytes(b"first" * 100)
    (folder / shards[1]).write_bytes(b"second" * 100)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(b"update" * 100)
    return folder


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_same_files_have_the_same_digest_anywhere(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "elsewhere"))
    (tmp_path / "link").symlink_to(model)
    assert digests.model_digest(copy) == digests.model_digest(tmp_path / "link") == digests.model_digest(model)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ],
)
def test_one_bit_changes_the_model(model: Path, name: str) -> None:
    before = digests.model_digest(model), digests.tokenizer_digest(model)
    if name == "model.safetensors.index.json":
        index = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(index | {"metadata": {"total_size": 1}}))
    else:
        _flip(model / name)
    assert digests.model_digest(model) != before[0]
    assert digests.tokenizer_digest(model) == before[1]


def test_generation_defaults_that_appear_change_the_model(model: Path) -> None:
    """Their end tokens end texts."""
    (model / "generation_config.json").unlink()
    before = digests.model_digest(model)
    (model / "generation_config.json").write_text('{"eos_token_id": 7}')
    assert digests.model_digest(model) != before


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_one_bit_changes_the_adapter(adapter: Path, name: str) -> None:
    before = digests.adapter_digest(adapter)
    _flip(adapter / name)
    assert digests.adapter_digest(adapter) != before


BESIDE = [
    *("README.md", "optimizer.pt", "scheduler.pt", "training_args.bin", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"),
    *("onnx/model.onnx", "consolidated.safetensors", "model.fp16.safetensors", "trainer_state.json", "all_results.json", "helper.py"),
    "chat_template.jinja",
]


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_not_loaded_changes_nothing(model: Path, adapter: Path, name: str) -> None:
    def all_three() -> tuple[str, str, str]:
        return digests.model_digest(model), digests.tokenizer_digest(model), digests.adapter_digest(adapter)

    before = all_three()
    for folder in (model, adapter):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("other")
    (adapter / "tokenizer.json").write_text("not read")
    assert all_three() == before


def test_a_whole_file_is_loaded_before_shards(model: Path) -> None:
    before = digests.model_digest(model)
    (model / "model.safetensors").write_bytes(b"whole")
    assert digests.weights_files(model) == [model / "model.safetensors"]
    whole = digests.model_digest(model)
    (model / "model-00001-of-00002.safetensors").unlink()
    assert before != whole == digests.model_digest(model)


def test_an_index_that_names_what_is_not_there_is_told(model: Path) -> None:
    (model / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"names model-00002-of-00002.safetensors, but this file is missing"):
        digests.model_digest(model)
    (model / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match="not an index of weights"):
        digests.model_digest(model)


def test_shards_in_folders_count(model: Path) -> None:
    before = digests.model_digest(model)
    index = {"weight_map": {"a": "parts/one.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    (model / "parts").mkdir()
    (model / "parts" / "one.safetensors").write_bytes(b"one")
    inner = digests.model_digest(model)
    _flip(model / "parts" / "one.safetensors")
    assert len({before, inner, digests.model_digest(model)}) == 3


@pytest.mark.parametrize("name", ["added_tokens.json", "spiece.model", "vocab.json", "merges.txt", "qwen.tiktoken", "tokenizer.4.0.0.json"])
def test_the_tokenizer_has_its_own_digest(model: Path, name: str) -> None:
    before = digests.tokenizer_digest(model), digests.model_digest(model)
    (model / name).write_text('{"<x>": 9}')
    assert digests.tokenizer_digest(model) != before[0]
    assert digests.model_digest(model) == before[1]


def test_every_file_that_a_tokenizer_of_the_library_reads_counts(tmp_path: Path) -> None:
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    listed = [name for names in TOKENIZER_MAPPING_NAMES.values() for name in (names if isinstance(names, tuple) else (names,)) if name]
    names: set[str] = set()
    for name in dict.fromkeys(listed):
        try:
            found = tokenizer_class_from_name(name)
        except ImportError:
            continue
        names |= {file for file in getattr(found, "vocab_files_names", {}).values() if isinstance(file, str)}
        module = importlib.import_module(found.__module__) if found is not None else None
        names |= {file for file in getattr(module, "VOCAB_FILES_NAMES", {}).values() if isinstance(file, str)}
    assert {"vocab.json", "merges.txt", "tokenizer.json"} <= names
    for name in names:
        (tmp_path / name).write_text(name)
    counted = set(digests.tokenizer(tmp_path).sha256)
    assert names - counted <= {"chat_template.jinja"}


def test_pickles_count_only_where_they_are_allowed(model: Path) -> None:
    for path in model.glob("*.safetensors*"):
        path.unlink()
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    assert digests.weights_files(model) == []
    before = digests.model_digest(model, pickles=True)
    assert digests.model_digest(model) != before
    _flip(model / "pytorch_model.bin")
    assert digests.model_digest(model, pickles=True) != before


def test_pickled_adapters_count_only_where_they_are_allowed(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(b"pickle")
    assert digests.adapter_weights(adapter) == []
    assert digests.adapter_digest(adapter) != digests.adapter_digest(adapter, pickles=True)


def _with_code(model: Path, reference: str) -> None:
    (model / "config.json").write_text(json.dumps({"a": 1, "auto_map": {"AutoModelForCausalLM": reference}}))


def test_code_counts_where_it_is_run(model: Path) -> None:
    _with_code(model, "modeling_own.Own")
    (model / "modeling_own.py").write_text("from .parts import inner\n")
    (model / "parts").mkdir()
    (model / "parts" / "inner.py").write_text("x = 1\n")
    (model / "words.own").write_text("read by the tokenizer's own code")
    before = digests.model_digest(model), digests.model_digest(model, remote_code=True), digests.tokenizer_digest(model, remote_code=True)
    (model / "parts" / "inner.py").write_text("x = 2\n")
    assert digests.model_digest(model) == before[0]
    assert digests.model_digest(model, remote_code=True) != before[1]
    changed = digests.tokenizer_digest(model, remote_code=True)
    (model / "words.own").write_text("other")
    assert len({before[2], changed, digests.tokenizer_digest(model, remote_code=True)}) == 3


def test_code_taken_from_elsewhere_counts(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "modeling_own.py").write_text("x = 1\n")
    _with_code(model, f"{elsewhere}--modeling_own.Own")
    before = digests.model_digest(model, remote_code=True)
    (elsewhere / "modeling_own.py").write_text("x = 2\n")
    assert digests.model_digest(model, remote_code=True) != before
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    _with_code(model, "nobody/nothing-of-this-name--modeling_own.Own")
    with pytest.raises(ModelError, match=r"code of the repository nobody/nothing-of-this-name"):
        digests.model_digest(model, remote_code=True)


def test_parameters_are_counted_from_headers(llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    module = AutoModelForCausalLM.from_pretrained(llama)
    assert digests.count_parameters(digests.weights_files(llama)) == module.num_parameters()
