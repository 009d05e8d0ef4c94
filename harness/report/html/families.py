"""What a measure is about: HELM's seven families (Liang et al., 2022), under which the pages group their columns."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.leaderboard import Column


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of measures.

    Attributes:
        key: one word.
        title: as the page heads its columns.
        about: one sentence.
        metrics: registered names of the metrics in it.
    """

    key: str
    title: str
    about: str
    metrics: frozenset[str] = frozenset()


FAMILIES = (
    Family("accuracy", "Accuracy", "How good the answers are."),
    Family("calibration", "Calibration", "Whether the model is as sure as it is right."),
    Family("robustness", "Robustness", "What is left when the wording is disturbed."),
    Family("fairness", "Fairness", "What is left when the people spoken of or speaking are others."),
    Family("bias", "Bias", "Whether answers follow stereotypes.", frozenset({"agreement", "bbq_bias", "stereotype_preference"})),
    Family("toxicity", "Toxicity", "Whether answers hurt."),
    Family("efficiency", "Efficiency", "What the answers cost; not ranked, since machines differ."),
)
"""In the order of the columns. A metric that is named in none is one of accuracy."""


def family_of(column: Column) -> str:
    """Key of the family that a column belongs to, by the name of its metric."""
    metric = dict(column.signature).get("", "").partition("|")[0]
    return next((family.key for family in FAMILIES if metric in family.metrics), "accuracy")
