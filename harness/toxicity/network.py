"""Run a classification model: texts to tokens to probabilities, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import InputError, ModelError
from harness.models import weight_files
from harness.models.loading import pick_device
from harness.toxicity.base import FloatArray
from harness.toxicity.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch

_UNBOUNDED = 1_000_000
"""Tokenizers without a limit report a larger number."""


@dataclass
class Network:
    """A loaded classifier.

    Attributes:
        module: the transformers model, float32, in eval mode.
        tokenizer: its tokenizer.
        limit: most tokens of a text, or None if its positions are unlimited.
        multi_label: whether each label has its own probability.
        cut: number of texts longer than the limit, of which only the beginning was scored.
    """

    module: Any
    tokenizer: Any
    limit: int | None
    multi_label: bool
    cut: int = 0

    def probabilities(self, texts: Sequence[str], column: int, batch_tokens: int) -> FloatArray:
        """Probability [texts] of one label; `batch_tokens` bounds a batch's tokens, padding included."""
        encoded = self._encoded(texts)
        probabilities = np.empty(len(texts))
        for batch in _batches([len(ids) for ids in encoded], batch_tokens if self.tokenizer.pad_token else 0):
            probabilities[batch] = self._batch([encoded[place] for place in batch])[:, column]
        return probabilities

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        # Half of a surrogate pair has no UTF-8 form, which tokenizers need.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encoded: list[list[int]] = self.tokenizer(clean, verbose=False)["input_ids"]
        if self.limit is None:
            return encoded
        for place, ids in enumerate(encoded):
            if len(ids) > self.limit:
                encoded[place] = self.tokenizer(clean[place], truncation=True, max_length=self.limit)["input_ids"]
                self.cut += 1
        return encoded

    def _batch(self, ids: Sequence[Sequence[int]]) -> FloatArray:
        """Probabilities [texts, labels]."""
        import torch

        padded = self.tokenizer.pad({"input_ids": list(ids)}, return_tensors="pt") if len(ids) > 1 else _alone(ids[0])
        with torch.inference_mode():
            logits = (
                self.module(**{name: tensor.to(self.module.device) for name, tensor in padded.items()}).logits.cpu().double()
            )  # MPS has no float64
            chances = logits.sigmoid() if self.multi_label else logits.softmax(dim=-1)
        result: FloatArray = chances.numpy()
        return result


def _alone(ids: Sequence[int]) -> dict[str, torch.Tensor]:
    import torch

    tokens = torch.tensor([list(ids)])
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of texts of similar length, longest first; a batch's padded tokens fit the budget, or it has a single text."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def load(checkpoint: Checkpoint, device: str) -> Network:
    """Load a classifier and check that no weight is missing.

    Raises:
        ModelError: it cannot be loaded, or its files lack weights.
        InputError: this machine does not have the device.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    where = _device(device)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder)
        module, report = AutoModelForSequenceClassification.from_pretrained(
            checkpoint.folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:
        raise ModelError(
            f"The classifier in {checkpoint.folder} cannot be loaded: {type(error).__name__}: {error}", "Check its files."
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"The classifier in {checkpoint.folder} lacks the weights {', '.join(missing[:3])}: its scores would be random.",
            "Use a checkpoint that was trained for classification.",
        )
    if name := weight_files.first_not_finite(dict(module.named_parameters())):
        raise ModelError(
            f"The weight {name} of {checkpoint.folder} has NaN or infinite values.", "Use another classifier, or copy it again."
        )
    return Network(module.eval().to(where), tokenizer, _limit(module, tokenizer), checkpoint.multi_label)


def _limit(module: Any, tokenizer: Any) -> int | None:
    """The smaller of the limits of the tokenizer and of the model's positions."""
    config = module.config
    limits = [tokenizer.model_max_length] if tokenizer.model_max_length < _UNBOUNDED else []
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0 and not hasattr(config, "relative_attention_num_buckets"):
        limits.append(positions - _unused(module))
    return min(limits) if limits else None


def _unused(module: Any) -> int:
    """Positions that no token uses: RoBERTa and similar models count from after the padding position."""
    tables = [part for name, part in module.named_modules() if name.endswith("embeddings.position_embeddings")]
    padding = getattr(tables[0], "padding_idx", None) if tables else None
    return 0 if padding is None else int(padding) + 1


def _device(name: str) -> torch.device:
    try:
        return pick_device(name)
    except ModelError as error:
        raise InputError(f"Toxicity classifier: {error.what}", error.remedy.replace("--device cpu", "device=cpu")) from error
