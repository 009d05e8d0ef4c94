"""The weights of a base model before an adapter is attached: restored afterwards, and compared to prove it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class _OriginalTensor:
    """A parameter or buffer of the base: its memory, its version counter, and a copy of its values if one was made."""

    tensor: Any
    data: Any
    version: int
    copy: Any = None

    @classmethod
    def of(cls, tensor: Any, copies: bool) -> _OriginalTensor:
        data = tensor.data
        version = 0 if tensor.is_inference() else tensor._version
        return cls(tensor, data, version, data.to("cpu", copy=True) if copies else None)

    @property
    def moved(self) -> bool:
        """Whether it points to other memory."""
        now = self.tensor.data
        return bool(now.data_ptr() != self.data.data_ptr() or now.shape != self.data.shape or now.dtype != self.data.dtype)

    @property
    def written(self) -> bool:
        """Whether its values changed; without a copy, whether it was written to."""
        import torch

        if self.copy is not None:
            return not torch.equal(self.tensor.data.cpu(), self.copy)
        return not self.tensor.is_inference() and bool(self.tensor._version != self.version)


@dataclass
class OriginalWeights:
    """The values of a base before an adapter is attached.

    Args:
        module: the base.
        copies: copy every value. Without copies, a write through `.data`, as by OLoRA, goes unnoticed: it does not change the version
            counter.
    """

    module: Any
    copies: bool
    _originals: dict[str, _OriginalTensor] = field(init=False)

    def __post_init__(self) -> None:
        tensors = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        self._originals = {name: _OriginalTensor.of(tensor, self.copies) for name, tensor in tensors.items()}

    def restore(self) -> None:
        """Make every tensor point to its memory again, with its previous values."""
        for original in self._originals.values():
            if original.moved:
                original.tensor.data = original.data
            if original.copy is not None and original.written:
                original.tensor.data.copy_(original.copy)

    def changed(self, ignored: frozenset[int]) -> list[str]:
        """Names of the tensors that differ from what they were.

        Args:
            ignored: ids of tensors that were written to and restored by the caller.
        """
        return [
            name
            for name, original in self._originals.items()
            if original.moved or (id(original.tensor) not in ignored and original.written)
        ]
