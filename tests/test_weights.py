"""Damaged files of weights, wherever they were cut, and values that are no numbers."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from harness.errors import AdapterError, ModelError
from harness.models.weight_files import check_types, check_whole, first_not_finite


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A file of a few tensors of several kinds."""
    path = tmp_path / "model.safetensors"
    tensors = {"a": torch.randn(5, 7), "b": torch.arange(6), "c": torch.zeros(3, dtype=torch.bfloat16), "none": torch.zeros(0)}
    save_file(tensors, path, {"format": "pt"})
    return path


def test_a_whole_file_passes(whole: Path) -> None:
    check_whole([whole], ModelError)


def test_every_cut_is_one_message_that_names_the_file(whole: Path) -> None:
    content = whole.read_bytes()
    for size in range(len(content)):
        whole.write_bytes(content[:size])
        with pytest.raises(ModelError) as caught:
            check_whole([whole], ModelError)
        assert caught.value.what.startswith(f"{whole} is "), size
        assert "truncated" in caught.value.what or size == 0, (size, caught.value.what)
        assert caught.value.remedy == "Copy or download it again."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\xff" * 5000, "is not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "is a Git LFS pointer"),
        (struct.pack("<Q", 10) + b"not json !", "its header cannot be read"),
        (struct.pack("<Q", 2) + b"[]", "its header cannot be read"),
        (struct.pack("<Q", 2) + b"{}" + b"more", "is damaged"),
        (struct.pack("<Q", 16) + b'{"a":3,"b":null}', "its header cannot be read"),
    ],
)
def test_what_is_no_file_of_weights(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(content)
    with pytest.raises(AdapterError, match=told):
        check_whole([path], AdapterError)


def test_a_header_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(40))
    with pytest.raises(ModelError, match=f"it has {48 + len(header)} of {4008 + len(header):,} bytes"):
        check_whole([path], ModelError)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        check_whole([tmp_path / "model.safetensors"], ModelError)


@pytest.mark.parametrize("index", ['{"weight_map": {"a": "model-2.safetensors"}}', '{"weight', "[]", '{"weight_map": 3}'])
def test_an_index_that_is_cut_or_names_a_missing_file(whole: Path, index: str) -> None:
    (whole.parent / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=r"index\.json"):
        check_whole([whole], ModelError)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e5m2])
def test_the_tensor_with_a_value_that_is_no_number_is_named(dtype: torch.dtype, value: float) -> None:
    tensors = {"fine": torch.randn(3, 3), "whole numbers": torch.arange(3), "empty": torch.zeros(0), "broken": torch.zeros(4, 4)}
    tensors["broken"][2, 3] = value
    tensors["broken"] = tensors["broken"].to(dtype)
    assert first_not_finite(tensors) == "broken"
    del tensors["broken"]
    assert first_not_finite(tensors) is None


def test_large_numbers_are_numbers() -> None:
    assert first_not_finite({"large": torch.full((50,), 3e38), "wide": torch.tensor([60_000.0, -60_000.0], dtype=torch.float16)}) is None


def test_no_tensors_are_fine() -> None:
    assert first_not_finite({}) is None
    assert first_not_finite({"numbers": torch.arange(4)}) is None


def _writes_complex() -> bool:
    """Whether the installed safetensors has complex numbers; earlier releases neither write nor read them."""
    try:
        save({"x": torch.ones(1, dtype=torch.complex64)})
    except KeyError:
        return False
    return True


COMPLEX = pytest.mark.skipif(not _writes_complex(), reason="this safetensors has no complex numbers")


@pytest.mark.parametrize(
    ("name", "tensor", "kind"),
    [
        ("model.layers.0.q_proj.weight", torch.ones(2, 2, dtype=torch.int8), "int8"),
        ("model.layers.0.q_proj.weight", torch.ones(2, 2, dtype=torch.bool), "bool"),
        pytest.param("model.layers.0.q_proj.weight", torch.ones(2, 2, dtype=torch.complex64), "complex64", marks=COMPLEX),
        ("model.layers.0.q_proj.bias", torch.ones(2, dtype=torch.int64), "int64"),
        ("model.layers.0.scale", torch.ones(2, dtype=torch.uint8), "uint8"),
        pytest.param("rotation", torch.ones(2, 2, dtype=torch.complex64), "complex64", marks=COMPLEX),
    ],
)
def test_weights_of_a_type_that_cannot_hold_them(tmp_path: Path, name: str, tensor: torch.Tensor, kind: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({name: tensor, "other.weight": torch.ones(2)}, path)
    with pytest.raises(ModelError, match=f"{name} has the dtype {kind}"):
        check_types([path], ModelError, {"model.layers.0.scale"})


def test_buffers_of_whole_numbers_and_floats_of_any_width_pass(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn)
    tensors = {f"{number}.weight": torch.ones(2).to(dtype) for number, dtype in enumerate(floats)}
    tensors |= {"embeddings.position_ids": torch.arange(3), "h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool)}
    save_file(tensors, path)
    check_types([path], ModelError)
