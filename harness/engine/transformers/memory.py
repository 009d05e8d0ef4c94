"""Recovery from a lack of memory: halve the batch, remember its size, go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from harness.contract import Usage
from harness.errors import HarnessError

Work = TypeVar("Work")
Result = TypeVar("Result")


class OutOfMemoryError(HarnessError):
    """Not even a single sequence fits."""


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when a device or the host has no memory left."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and ("not enough memory" in str(error) or "out of memory" in str(error).lower())


class Halving:
    """Runs work in pieces that fit; a size that once did not fit is not tried again."""

    def __init__(self, usage: Usage) -> None:
        self.usage = usage
        self._largest: int | None = None

    def run(
        self,
        work: Sequence[Work],
        size: Callable[[Sequence[Work]], int],
        compute: Callable[[Sequence[Work]], list[Result]],
        behind: int = 0,
    ) -> list[Result]:
        """`compute` over `work` in order, split in halves as often as memory demands.

        Args:
            work: pieces that can be computed apart.
            size: tokens that a piece of work occupies.
            compute: one result a piece of work.
            behind: tokens of a cached prefix before all of the work, which the error counts.

        Raises:
            OutOfMemoryError: a single piece does not fit.
        """
        if len(work) > 1 and self._largest is not None and size(work) > self._largest:
            return self._halves(work, size, compute, behind)
        try:
            return compute(work)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
        self.usage.out_of_memory += 1
        release()
        if len(work) == 1:
            raise no_room(behind + size(work), message)
        self._largest = size(work) // 2
        return self._halves(work, size, compute, behind)

    def _halves(
        self,
        work: Sequence[Work],
        size: Callable[[Sequence[Work]], int],
        compute: Callable[[Sequence[Work]], list[Result]],
        behind: int = 0,
    ) -> list[Result]:
        middle = len(work) // 2
        return self.run(work[:middle], size, compute, behind) + self.run(work[middle:], size, compute, behind)


def no_room(tokens: int, message: str) -> OutOfMemoryError:
    """An error for a single sequence that does not fit."""
    return OutOfMemoryError(
        f"A single sequence of {tokens} tokens does not fit into memory ({message}).",
        "Use a smaller dtype, --quantize, another device, or shorter prompts.",
    )


def release() -> None:
    """Give back memory that nothing uses any more."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
