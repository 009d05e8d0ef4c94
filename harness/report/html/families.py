"""What a measure is about: HELM's seven families (Liang et al., 2022), under which the pages group their columns."""

from __future__ import annotations

from dataclasses import dataclass

from harness import contract


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of measures.

    Attributes:
        key: as results name it.
        title: as the page heads its columns.
        about: one sentence.
    """

    key: contract.Family
    title: str
    about: str


FAMILIES = (
    Family("accuracy", "Accuracy", "How good the answers are."),
    Family("calibration", "Calibration", "Whether the model is as sure as it is right."),
    Family("robustness", "Robustness", "What is left when the wording is disturbed."),
    Family("fairness", "Fairness", "What is left when the people spoken of or speaking are others."),
    Family("bias", "Bias", "Whether answers follow stereotypes."),
    Family("toxicity", "Toxicity", "Whether answers hurt."),
    Family("efficiency", "Efficiency", "What the answers cost; not ranked, since machines differ."),
)
"""In the order of the columns."""
