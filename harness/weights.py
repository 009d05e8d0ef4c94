"""Files of weights: whole or damaged, and values that are no numbers; told before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError

if TYPE_CHECKING:
    import torch

_WIDE_BYTES = 4
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""Bytes; the library refuses longer ones as well."""
_WHOLE = frozenset({"F64", "F32", "F16", "BF16"})
"""Types of weights that are not quantized."""
_TYPES = {
    **{"BOOL": "bool", "C64": "complex64", "C128": "complex128"},
    **{f"{sign}{bits}": f"{word}{bits}" for sign, word in {"I": "int", "U": "uint"}.items() for bits in (8, 16, 32, 64)},
}
"""Types by their names in a file's header."""
_POINTER = b"version https://git-lfs"


def check_whole(paths: Iterable[Path], error: type[InputError]) -> None:
    """Stop unless every safetensors file can be read and holds what its header says, and every shard that an index names is there.

    Reads headers, not data; other kinds of files are passed over.

    Args:
        paths: files of weights, all of one folder.
        error: what to raise.

    Raises:
        InputError: of the kind asked for; says what is wrong with which file.
    """
    from safetensors import SafetensorError, safe_open

    folders = set()
    for path in paths:
        if path.suffix != ".safetensors":
            continue
        _check_name(path, error)
        folders.add(path.parent)
        try:
            with safe_open(path, framework="np") as file:
                file.keys()
        except OSError as reason:
            raise error(f"{path} cannot be read: {reason.strerror or reason}.", "Check the file and its permissions.") from reason
        except SafetensorError as reason:
            what, remedy = _damage(path, str(reason))
            raise error(f"{path} {what}.", remedy) from reason
    for folder in sorted(folders):
        for index in sorted(folder.glob("*.safetensors.index.json")):
            _check_index(index, error)


def check_types(paths: Iterable[Path], error: type[InputError], parameters: Container[str] = ()) -> None:
    """Stop where a weight of a model that is not quantized is stored as whole numbers, truth values or complex numbers.

    A library would cast them in silence. Buffers may be whole numbers (position ids) or truth values (attention masks).

    Args:
        paths: files of weights; those that are no safetensors are passed over.
        error: what to raise.
        parameters: names that are known to be weights, beside those called `weight` or `bias`.

    Raises:
        InputError: of the kind asked for; names file, tensor and type.
    """
    from safetensors import safe_open

    for path in paths:
        if path.suffix != ".safetensors":
            continue
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                part = file.get_slice(name)
                kind = str(part.get_dtype())
                if kind.startswith(("F", "BF")) or not (kind.startswith("C") or _is_weight(name, len(part.get_shape()), parameters)):
                    continue
                raise senseless_type(path, name, _TYPES.get(kind, kind), error)


def check_quantized(paths: Sequence[Path], error: type[InputError]) -> None:
    """Stop where a configuration says that weights are quantized, and none of them is stored so.

    Args:
        paths: files of weights; where one is no safetensors file, nothing is said.
        error: what to raise.

    Raises:
        InputError: of the kind asked for.
    """
    from safetensors import safe_open

    if not paths or any(path.suffix != ".safetensors" for path in paths):
        return
    for path in paths:
        with safe_open(path, framework="np") as file:
            if any(str(file.get_slice(name).get_dtype()) not in _WHOLE for name in file.keys()):  # noqa: SIM118 - not a mapping
                return
    raise error(
        f"The config.json in {paths[0].parent} says that the weights are quantized (quantization_config), and {paths[0].name} holds none.",
        "Take quantization_config out of config.json (and pass --quantize), or save the quantized model.",
    )


def shapes(paths: Iterable[Path]) -> Iterator[tuple[Path, str, tuple[int, ...]]]:
    """File, name and shape of every tensor in safetensors files."""
    from safetensors import safe_open

    for path in paths:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np") as file:
                yield from ((path, name, tuple(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118 - not a mapping


def senseless_type(path: Path, name: str, kind: str, error: type[InputError]) -> InputError:
    """The error for a weight whose type says nothing."""
    return error(
        f"{path}: the tensor {name} is of type {kind}, which cannot hold the weights of a model that is not quantized.",
        "Save it again in float32, float16 or bfloat16; a quantized model says so in its config.json (quantization_config).",
    )


def _is_weight(name: str, dimensions: int, parameters: Container[str]) -> bool:
    last = name.rpartition(".")[2]
    return last == "weight" or (last == "bias" and dimensions == 1) or name in parameters


def first_not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or an infinite value; None where all values are numbers.

    One pass and one wait for the device: 135 M weights in float32 take about 0.06 s on two idle cores, where `isfinite` takes 1.4 s.
    """
    import torch

    floats = {name: tensor.detach() for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    if not floats:
        return None
    device = next(iter(floats.values())).device
    finite = torch.stack([torch.isfinite(_told_by_all(tensor)).to(device) for tensor in floats.values()]).tolist()
    for (name, tensor), fine in zip(floats.items(), finite, strict=True):
        if not fine and not all(map(torch.isfinite, torch.aminmax(_wide(tensor)))):  # a sum of large numbers may overflow
            return name
    return None


def _told_by_all(tensor: torch.Tensor) -> torch.Tensor:
    """A number that is NaN or infinite where any value is: the sum; of 16 bits, the largest less the least, which is faster."""
    import torch

    if tensor.element_size() >= _WIDE_BYTES:
        return tensor.sum()
    least, most = torch.aminmax(_wide(tensor))
    return most.float() - least.float()


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """8-bit floats as float32: torch neither adds nor compares them."""
    return tensor if tensor.element_size() > 1 else tensor.float()


def _check_name(path: Path, error: type[InputError]) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as reason:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise error(f"The path '{shown}' is not valid UTF-8, and safetensors cannot open it.", "Rename the folder.") from reason


def _damage(path: Path, reason: str) -> tuple[str, str]:
    """What is wrong with a file that the library refuses, and what to do."""
    again = "Copy or download it again."
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(max(_LENGTH_BYTES, len(_POINTER)))
        if start.startswith(_POINTER):
            return "is a pointer of Git LFS, not the weights themselves", "Fetch them: git lfs pull."
        if size == 0:
            return "is empty", again
        length = int.from_bytes(start[:_LENGTH_BYTES], "little")
        if size >= _LENGTH_BYTES and length > max(size, _LONGEST_HEADER):
            return "is no safetensors file, or its beginning is damaged", again
        if size < _LENGTH_BYTES + length:
            return f"is cut short: it has {size:,} bytes, and its header alone is longer", again
        file.seek(_LENGTH_BYTES)
        promised = _promised(file.read(length))
    if promised is None:
        return f"is damaged: its header cannot be read ({reason})", again
    promised += _LENGTH_BYTES + length
    if promised > size:
        return f"is cut short: it has {size:,} of {promised:,} bytes", again
    return f"is damaged: {reason}", again


def _promised(header: bytes) -> int | None:
    """Bytes of data that a header describes; None where it is no header."""
    try:
        content: dict[str, Any] = json.loads(header)
        return max((int(entry["data_offsets"][1]) for name, entry in content.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def _check_index(index: Path, error: type[InputError]) -> None:
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as reason:
        raise error(f"{index} cannot be read: {reason!r}.", "Copy or download it again.") from reason
    missing = [name for name in shards if not (index.parent / str(name)).is_file()]
    if missing:
        raise error(
            f"{index.parent} lacks {len(missing)} of the {len(shards)} files that {index.name} names, {missing[0]} the first.",
            "Copy or download it again.",
        )
