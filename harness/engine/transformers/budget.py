"""How much is computed and held at a time."""

from __future__ import annotations

from dataclasses import dataclass

LOGIT_ELEMENTS = 1 << 28
"""Logits held at once: 1 GiB in float32."""


@dataclass(frozen=True)
class Budget:
    """How much is computed and held at a time.

    Attributes:
        score: tokens in a forward over prompts and choices, padding included.
        generate: tokens at most whose keys and values are held while texts are decoded.
        strip: tokens in a row of packed sequences.
        rows: texts that are decoded at once.
    """

    score: int
    generate: int
    packed_row: int = 512
    rows: int = 64

    @classmethod
    def choose(cls, asked: int | None, device: str) -> Budget:
        """The budget asked for, or one that suits the kind of device, as torch names it."""
        if device == "cpu":
            return cls(asked or 1024, asked or 32768)
        return cls(asked or 16384, asked or 131072, packed_row=1024, rows=256)


def max_logit_positions(vocabulary: int) -> int:
    """Positions whose logits may be held at once."""
    return max(1, LOGIT_ELEMENTS // vocabulary)
