"""What a measure is about: HELM's seven families (Liang et al., 2022), under which the pages group their columns."""

from __future__ import annotations

from dataclasses import dataclass

from harness import contract


@dataclass(frozen=True, slots=True)
class FamilySection:
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
    FamilySection("accuracy", "Accuracy", "How good the answers are."),
    FamilySection("calibration", "Calibration", "Whether the model is as sure as it is right."),
    FamilySection("robustness", "Robustness", "The accuracy that remains when prompts are perturbed."),
    FamilySection("fairness", "Fairness", "What is left when the people spoken of or speaking are others."),
    FamilySection("bias", "Bias", "Whether answers follow stereotypes."),
    FamilySection("toxicity", "Toxicity", "Whether answers hurt."),
    FamilySection("efficiency", "Efficiency", "What the answers cost; not ranked, since machines differ."),
)
"""In the order of the columns."""
