"""How much is computed and cached at a time."""

from __future__ import annotations

from dataclasses import dataclass

LOGIT_ELEMENTS = 1 << 28
"""Logits in memory at once: 1 GiB in float32."""

LARGEST_CHUNK = 2048
"""Tokens of a prefix that are computed at a time, at most."""

SMALLEST_CHUNK = 32
"""Tokens of a prefix that are computed at a time, at least: a forward pass over fewer costs more than they do."""


@dataclass(frozen=True)
class Budget:
    """How much is computed and cached at a time.

    Attributes:
        score: tokens in a forward over prompts and choices, padding included.
        generate: upper limit of tokens whose keys and values are cached while texts are decoded.
        packed_row: tokens in a packed row.
        rows: texts that are decoded at once.
    """

    score: int
    generate: int
    packed_row: int = 512
    rows: int = 64

    @classmethod
    def choose(cls, tokens: int | None, device: str) -> Budget:
        """A budget of this many tokens, or one that suits the kind of device, as torch names it."""
        if device == "cpu":
            return cls(tokens or 1024, tokens or 32768)
        return cls(tokens or 16384, tokens or 131072, packed_row=1024, rows=256)


def chunk_size(budget: int) -> int:
    """Tokens of a prefix that are computed at a time.

    Args:
        budget: tokens of a forward pass.
    """
    return max(SMALLEST_CHUNK, min(LARGEST_CHUNK, budget))


def max_logit_positions(vocabulary: int) -> int:
    """Positions whose logits may be in memory at once."""
    return max(1, LOGIT_ELEMENTS // vocabulary)
