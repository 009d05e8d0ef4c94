"""Checks that the weights in memory are the checkpoint's: none missing, every value finite, and the output head untouched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.models import weight_files
from harness.models.digests import weights_files

_HEAD_ROWS = 256


_OF_A_LAYER = re.compile(r"\.\d+\.")


def check_finite(module: Any, folder: Path, dtype: str) -> None:
    """Check that every weight is finite; raises ModelError with the file and the tensor in it."""
    from safetensors import safe_open

    name = weight_files.first_not_finite(dict(module.named_parameters()))
    if name is None:
        return
    for path in weights_files(folder):
        with safe_open(path, framework="pt") as file:
            for stored in file.keys():  # noqa: SIM118 - not a mapping
                if weight_files.first_not_finite({stored: file.get_tensor(stored)}):
                    raise ModelError(
                        f"{path}: the tensor {stored} holds NaN or infinite values; every score would be meaningless.",
                        "The training diverged, or the file is damaged: take an earlier checkpoint, or copy it again.",
                    )
    raise ModelError(
        f"The weight {name} of {folder} holds NaN or infinite values in {dtype}.",
        "float16 ends at 65,504: use --dtype float32 or bfloat16." if dtype == "float16" else "Take an earlier checkpoint.",
    )


def check_complete(report: dict[str, Any], folder: Path) -> None:
    """Check that the checkpoint has every weight of the model, in its shape, and no layer more.

    Args:
        report: the loading report of `from_pretrained(..., output_loading_info=True)`.
        folder: the checkpoint's folder, for messages.

    Raises:
        ModelError: weights are missing, have another shape, or belong to layers that the model does not have.
    """
    missing, mismatched = sorted(report.get("missing_keys", ())), list(report.get("mismatched_keys", ()))
    if missing:
        raise ModelError(
            f"The checkpoint {folder} lacks {len(missing)} weights of the model, for example {missing[0]}; they would be random.",
            "Save the whole model again, or check that config.json belongs to these weights.",
        )
    if mismatched:
        raise ModelError(
            f"The checkpoint {folder} has weights of another shape: {mismatched[0]}.", "config.json does not belong to these weights."
        )
    unused = sorted(name for name in report.get("unexpected_keys", ()) if _OF_A_LAYER.search(name))
    if unused:
        raise ModelError(
            f"The checkpoint {folder} has {len(unused)} weights of layers that the model does not have, for example {unused[0]}.",
            "config.json does not belong to these weights: it describes fewer layers or another architecture.",
        )


def shape_error(config: Any, factory: Any, folder: Path) -> ModelError | None:
    """The error for the first tensor of a checkpoint whose shape differs from the configuration; None if there is no such tensor.

    transformers' own message does not name the tensor, and suggests ignoring the mismatch.
    """
    import torch

    try:
        with torch.device("meta"):
            module = factory.from_config(config)
    except Exception:  # noqa: BLE001 - the model cannot be built at all; the caller reports that error
        return None
    expected = {name: tuple(value.shape) for name, value in _named_parameters(module)}
    for path, name, shape in weight_files.shapes(weights_files(folder)):
        if name in expected and expected[name] != shape:
            return ModelError(
                f"{path}: the tensor {name} has the shape {list(shape)}, but config.json requires {list(expected[name])}.",
                "config.json does not belong to these weights: copy or download the whole model again.",
            )
    return None


def parameter_names(module: Any) -> frozenset[str]:
    """Names of a model's weights, both as in its own checkpoint and as in one of the bare model."""
    return frozenset(name for name, _ in _named_parameters(module))


def _named_parameters(module: Any) -> Iterator[tuple[str, Any]]:
    prefix = f"{module.base_model_prefix}."
    for full, value in module.named_parameters():
        for name in (full, full.removeprefix(prefix)):
            yield name, value


def check_head(module: Any, folder: Path) -> None:
    """Check that the output head in memory is the one in the checkpoint.

    FLAN-T5 checkpoints have an output head even if their configuration ties it to the input embeddings; `tie_weights()` and
    `resize_token_embeddings()` then replace it silently, and every score becomes noise. Compares up to 256 evenly spaced rows. If a
    checkpoint has no head, the head in memory must be tied to unchanged embeddings.

    Raises:
        ModelError: they differ.
    """
    head, embeddings = module.get_output_embeddings(), module.get_input_embeddings()
    if head is None or not head.weight.is_floating_point() or _compared(module, head, folder):
        return
    if weights_files(folder) and head.weight.data_ptr() != embeddings.weight.data_ptr():
        raise ModelError(
            f"The checkpoint {folder} has no output head, and the model's head is not tied to its embeddings.", "Check config.json."
        )
    _compared(module, embeddings, folder)


def _compared(module: Any, part: Any, folder: Path) -> bool:
    """Whether the checkpoint has this part's weight; raises ModelError if it differs."""
    import torch
    from safetensors import safe_open

    full = next((key for key, value in module.named_modules(remove_duplicate=False) if value is part), "") + ".weight"
    names = (full, full.removeprefix(f"{module.base_model_prefix}."))  # checkpoints of a bare model leave the prefix out
    for path in weights_files(folder):
        with safe_open(path, framework="pt") as file:
            name = next((name for name in names if name in set(file.keys())), None)
            if name is None:
                continue
            stored = file.get_slice(name)
            size = stored.get_shape()[0]
            rows = sorted({round(i * (size - 1) / (_HEAD_ROWS - 1)) for i in range(_HEAD_ROWS)})
            expected = torch.stack([stored[row] for row in rows])
            held = part.weight.detach()[torch.tensor(rows, device=part.weight.device).clamp(max=part.weight.shape[0] - 1)].cpu()
            if part.weight.shape[0] != size or not torch.equal(expected.to(held.dtype), held):
                raise ModelError(
                    f"The output head in memory differs from {path} ({name}): it was tied or resized, and scores would be noise.",
                    "Do not call tie_weights() or resize_token_embeddings() on this model.",
                )
            return True
    return False
