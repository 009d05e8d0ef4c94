"""Keys and values on the device, in the form in which transformers' attention layers take them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
"""For each layer: keys and values, each [batch, heads, length, width]."""


class PrefixLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Puts a cached prefix before the new keys and values of a forward pass, and stores nothing."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of prefix and new tokens, [batch, heads, prefix + new, width]."""
        rows = key_states.shape[0]
        keys, values = self.keys.expand(rows, -1, -1, -1), self.values.expand(rows, -1, -1, -1)
        return torch.cat([keys, key_states], dim=2), torch.cat([values, value_states], dim=2)


class GrowingLayer(PrefixLayer):
    """Puts a cached prefix before the new keys and values of a forward pass, and stores both."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of prefix and new tokens, [batch, heads, prefix + new, width]."""
        self.keys, self.values = super().update(key_states, value_states)
        return self.keys, self.values


def cache_behind(prefix: KeysValues, *, keep: bool) -> Cache:
    """A cache for one forward pass behind a cached prefix of one row; an empty list is no prefix.

    Args:
        prefix: keys and values of the prefix.
        keep: whether the cache stores the new keys and values.
    """
    if not prefix:
        return Cache(layer_class_to_replicate=DynamicLayer)
    layer = GrowingLayer if keep else PrefixLayer
    return Cache(layers=[layer(keys, values) for keys, values in prefix])


def cache_argument(module: Any, cache: Cache | None) -> dict[str, Cache | None]:
    """Keys and values by the name under which a transformers model's forward takes them: `past_key_values`, since 5.24 `cache`.

    Args:
        module: the transformers model, or a peft model around one that passes its arguments on.
        cache: the keys and values.
    """
    base = module.get_base_model() if hasattr(module, "get_base_model") else module
    kind: Any = type(base)
    return {_name_of_cache(kind): cache}


@cache
def _name_of_cache(model: Any) -> str:
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


@contextmanager
def silence_peft_warnings() -> Iterator[None]:
    """Silence warnings of peft's own calls of a model, about which a user can do nothing.

    It knows the argument `past_key_values` by no other name yet, and drops position ids beside soft prompts, as is allowed for here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`past_key_values` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
        yield


def contents(cache: Cache) -> KeysValues:
    """What a cache holds."""
    return [(layer.keys, layer.values) for layer in cache.layers]


@dataclass
class CachePosition:
    """Where the next token of each row goes; shared by all layers.

    Attributes:
        rows: rows in use, the first ones of the buffers.
        columns: [rows] column that each row writes, or one for all.
        first: the first column that is read.
        end: one beyond the last column that is read.
    """

    rows: int = 0
    columns: torch.Tensor | int = 0
    first: int = 0
    end: int = 0


class SlotLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Buffers allotted once, [slots, heads, columns, width], into which each row writes at its own place."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, place: CachePosition) -> None:
        super().__init__()
        self.all_keys, self.all_values, self.place = keys, values, place
        self.keys, self.values = keys, values
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token a row; returns keys and values that are read, [rows, heads, columns, width]."""
        place = self.place
        if isinstance(place.columns, int):
            self.all_keys[: place.rows, :, place.columns] = key_states[:, :, 0]
            self.all_values[: place.rows, :, place.columns] = value_states[:, :, 0]
        else:
            rows = torch.arange(place.rows, device=key_states.device)
            self.all_keys[rows, :, place.columns] = key_states[:, :, 0]
            self.all_values[rows, :, place.columns] = value_states[:, :, 0]
        read = slice(place.first, place.end)
        return self.all_keys[: place.rows, :, read], self.all_values[: place.rows, :, read]

    def get_seq_length(self) -> int:
        """Columns before the one that is written."""
        return self.place.end - self.place.first - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that are read, and where they begin."""
        return self.place.end - self.place.first, 0


def buffers(like: KeysValues, slots: int, columns: int) -> KeysValues:
    """Empty keys and values of `slots` rows and `columns` columns, otherwise with the shapes and dtypes of `like`."""
    return [
        (
            keys.new_zeros((slots, keys.shape[1], columns, keys.shape[3])),
            values.new_zeros((slots, values.shape[1], columns, values.shape[3])),
        )
        for keys, values in like
    ]


def resize(cache: Cache, stored: KeysValues, slots: int, columns: int, used: tuple[int, int]) -> None:
    """Give a cache of decode slots other buffers, layer by layer, and copy what is in use.

    Args:
        cache: its layers are `SlotLayer`s.
        stored: their buffers; replaced.
        slots: rows of the new buffers.
        columns: of the new buffers.
        used: rows and columns that stay.
    """
    rows, length = used
    for number, (layer, old) in enumerate(zip(cache.layers, stored, strict=True)):
        (new,) = buffers([old], slots, columns)
        for target, source in zip(new, old, strict=True):
            target[:rows, :, :length] = source[:rows, :, :length]
        stored[number] = new
        layer.all_keys, layer.all_values = layer.keys, layer.values = new


@torch.inference_mode()
def move_row(stored: KeysValues, source: int, target: int) -> None:
    """Copy one row of buffers onto another."""
    for keys, values in stored:
        keys[target].copy_(keys[source])
        values[target].copy_(values[source])


def bytes_a_token(stored: KeysValues) -> int:
    """Bytes that one token's keys and values take."""
    return sum(keys[0, :, 0].nbytes + values[0, :, 0].nbytes for keys, values in stored)


def padded(sequences: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask [batch, length], padded on the right."""
    length = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), length), pad, dtype=torch.long)
    mask = torch.zeros((len(sequences), length), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return to_device(ids, device), to_device(mask, device)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device; without waiting for a GPU."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
