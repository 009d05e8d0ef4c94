"""Toxicity scores from a text classification model, by Hub id or folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from harness.toxicity.base import FloatArray, Scorer, scorer
from harness.toxicity.checkpoint import Checkpoint, find

if TYPE_CHECKING:
    from harness.toxicity.network import Network

MODEL = "facebook/roberta-hate-speech-dynabench-r4-target"
"""The classifier of the evaluate library's toxicity measurement (Vidgen et al., 2021)."""


@scorer("classifier")
@dataclass(kw_only=True)
class Classifier(Scorer):
    """Probability of a classifier's label for toxic texts: its sigmoid in multi-label heads, otherwise its softmax.

    Only the beginning of a text longer than the model's limit is scored; `notes` reports the number of such texts.

    Options:
        model: Hub id or folder.
        label: the label of toxic texts; found by its name by default.
        threshold: lowest probability of a toxic text.
        device: auto, cpu, cuda, cuda:0 or mps.
        batch_tokens: most tokens in a batch, padding included; changes scores only by rounding.
    """

    argument: ClassVar[str | None] = "model"
    model: str = MODEL
    label: str | None = None
    device: str = "auto"
    batch_tokens: int = 8192

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return find(self.model)

    @cached_property
    def _digest(self) -> str:
        return self._checkpoint.digest()

    @cached_property
    def _network(self) -> Network:
        from harness.toxicity import network

        self._checkpoint.digest()
        return network.load(self._checkpoint, self.device)

    def compute(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities [texts].

        Raises:
            ModelError: the model is not available or cannot be loaded, or its label for toxic texts is ambiguous.
            ContentError: its files do not match its digest.
            InputError: this machine does not have the device.
        """
        column = self._checkpoint.column(self.label)
        scores = self._network.probabilities(texts, column, self.batch_tokens)
        self._checkpoint.contents.check()
        return scores

    def settings(self) -> dict[str, object]:
        """The digest of the model's files and the label; the location of the files does not count.

        Raises:
            ModelError: the model is not available, or its label for toxic texts is ambiguous.
        """
        checkpoint = self._checkpoint
        return {"model": self._digest, "label": checkpoint.labels[checkpoint.column(self.label)]}

    def notes(self) -> list[str]:
        """The number of texts longer than the model's limit."""
        network: Network | None = self.__dict__.get("_network")
        if network is None or not network.cut:
            return []
        return [
            f"The toxicity classifier {self.model} reads {network.limit} tokens: "
            f"only the beginning of {network.cut} longer texts was scored."
        ]
