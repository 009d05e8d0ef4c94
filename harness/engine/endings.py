"""Where a generated text ends, by the same rules on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.contract import Generate, Generation


@dataclass(frozen=True)
class Endings:
    """Finds the ends of generated texts, and cuts them there.

    Args:
        tokenizer: of the model.
        end_tokens: token ids that end a text.
    """

    tokenizer: Any
    end_tokens: frozenset[int]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def ended(self, request: Generate, tokens: Sequence[int]) -> Literal["eos", "stop", "length"] | None:
        """Why the text ends with its last token, or None where it goes on; to be called after each token."""
        if tokens[-1] in self.end_tokens:
            return "eos"
        if request.stop and self.stops(request, tokens):
            return "stop"
        return "length" if len(tokens) >= request.max_new_tokens else None

    def stops(self, request: Generate, tokens: Sequence[int]) -> bool:
        """Whether a stop string has just been completed; only the tail is decoded.

        Every token but a special one decodes to at least one byte, and a stop string may begin within a token.
        """
        window = max((len(stop.encode()) for stop in request.stop), default=0) + 4
        tail = self.decode(tokens[-window:])
        return any(stop in tail for stop in request.stop)

    def generation(self, request: Generate, tokens: Sequence[int]) -> Generation:
        """The response that new tokens make; what follows the end is dropped."""
        end = next((place for place, token in enumerate(tokens) if token in self.end_tokens), None)
        new = list(tokens if end is None else tokens[:end])
        text = self.decode(new)
        cut = min((place for stop in request.stop if (place := text.find(stop)) >= 0), default=None)
        if cut is not None:
            return Generation(request.id, text[:cut], tuple(self._up_to(new, request.stop)), "stop")
        return Generation(request.id, text, tuple(new), "length" if end is None else "eos")

    def _up_to(self, tokens: list[int], stops: tuple[str, ...]) -> list[int]:
        """The tokens up to the one that completed a stop string."""
        for length in range(1, len(tokens) + 1):
            text = self.decode(tokens[:length])
            if any(stop in text for stop in stops):
                return tokens[:length]
        return tokens
