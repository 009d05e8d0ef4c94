"""The families of measures: HELM's seven (Liang et al., 2022), under which the pages group their columns."""

from __future__ import annotations

from dataclasses import dataclass

from harness import contract


@dataclass(frozen=True, slots=True)
class FamilySection:
    """A family of measures.

    Attributes:
        key: as results name it.
        title: as the page heads its columns.
        about: one sentence.
    """

    key: contract.Family
    title: str
    about: str


FAMILIES = (
    FamilySection("accuracy", "Accuracy", "How good the responses are."),
    FamilySection("calibration", "Calibration", "Whether the model's confidence matches its accuracy."),
    FamilySection("robustness", "Robustness", "The accuracy that remains when prompts are perturbed."),
    FamilySection("fairness", "Fairness", "The accuracy that remains when the people in the prompts, or their dialect, change."),
    FamilySection("bias", "Bias", "Whether responses follow stereotypes."),
    FamilySection("toxicity", "Toxicity", "Whether responses are toxic."),
    FamilySection("efficiency", "Efficiency", "What the responses cost; not ranked, since machines differ."),
)
"""In the order of the columns."""
