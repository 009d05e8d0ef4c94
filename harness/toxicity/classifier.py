"""Any model that classifies texts, by hub id or folder."""

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
    """Probability of a classifier's label for toxic texts: its sigmoid in heads of several labels at once, else its softmax.

    Of a text that is longer than the model's limit the beginning is scored; `notes` says for how many texts that was so.

    Options:
        model: hub id or folder.
        label: the label of toxic texts; by default the one whose name says so.
        threshold: a text is toxic from this probability on.
        device: auto, cpu, cuda, cuda:0 or mps.
        batch_tokens: most tokens of a batch, padding included; moves a score by rounding alone.
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
            ModelError: the model cannot be had or loaded, or its label for toxic texts is not clear.
            ContentError: its files are not what its digest names.
            InputError: this machine does not have the device.
        """
        column = self._checkpoint.column(self.label)
        found = self._network.probabilities(texts, column, self.batch_tokens)
        self._checkpoint.contents.check()
        return found

    def settings(self) -> dict[str, object]:
        """The digest of the model's files and the label: where the files lie decides nothing.

        Raises:
            ModelError: the model cannot be had, or its label for toxic texts is not clear.
        """
        checkpoint = self._checkpoint
        return {"model": self._digest, "label": checkpoint.labels[checkpoint.column(self.label)]}

    def notes(self) -> list[str]:
        """How many texts were longer than the model reads."""
        network: Network | None = self.__dict__.get("_network")
        if network is None or not network.cut:
            return []
        return [
            f"The toxicity classifier {self.model} reads {network.limit} tokens: of {network.cut} longer texts the beginning was scored."
        ]
