"""Measures beside the tasks' own metrics, in the seven families of HELM (Liang et al., 2022), and why a task lacks some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import metrics
from harness.contract import Family
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.evaluation.options import Options
    from harness.evaluation.progress import Progress
    from harness.metrics.base import Metric
    from harness.perturb import Perturbation
    from harness.tasks.schema import Task

PERTURBED: tuple[Family, ...] = ("robustness", "fairness")
"""Families whose measures need perturbed items; each is also the name of a preset of perturbations."""

_CALIBRATION = ("ece_10_bin", "ece_1_bin", "selective_cov_acc_area", "selective_acc@10", "brier", "platt_ece")
_TOXICITY = ("toxic_fraction", "expected_max_toxicity", "max_toxicity_probability", "mean_toxicity")
_GROUPS, _TARGETS = ("gender", "race"), ("profession", "adjective")

_NOT_TEXT = "answers are choices or scores, not texts"
_NOT_CHOICES = "answers are not choices, so there are no choices' probabilities"


@dataclass(frozen=True)
class Measures:
    """What a run measures beside the tasks' own metrics.

    Attributes:
        families: the requested families.
        perturbations: the perturbations of those families.
        scorer: name of the toxicity scorer.
        no_scorer: why there is no toxicity scorer, where none is available and none was named.
        small: compute calibration on few items too.
    """

    families: tuple[Family, ...] = ()
    perturbations: tuple[Perturbation, ...] = ()
    scorer: str = ""
    no_scorer: str | None = None
    small: bool = False

    @classmethod
    def of(cls, options: Options, progress: Progress) -> Measures:
        """The measures that the options request; perturbations that are not available are reported and left out.

        Raises:
            InputError: a perturbation or scorer is unknown, or the named scorer is not available.
        """
        scorer, no_scorer = options.toxicity, None
        if "toxicity" in options.families:
            scorer, no_scorer = _scorer(options.toxicity, progress)
        elif options.toxicity:
            raise InputError("--toxicity names a scorer, but toxicity is not measured.", "Add --measures toxicity, or remove --toxicity.")
        wanted = options.perturbations or [family for family in options.families if family in PERTURBED]
        if not wanted:
            return cls(options.families, (), scorer, no_scorer, options.small_samples)
        from harness.perturb import parse

        parsed = parse(",".join(wanted))
        missing = {perturbation.label: reason for perturbation in parsed if (reason := perturbation.unavailable())}
        for label, reason in missing.items():
            progress.note(f"The perturbation {label} is left out: {reason}")
        available = tuple(perturbation for perturbation in parsed if perturbation.label not in missing)
        families = dict.fromkeys((*options.families, *(perturbation.family for perturbation in parsed)))
        return cls(tuple(families), available, scorer, no_scorer, options.small_samples)

    def metrics(self, task: Task) -> dict[str, Metric[Any]]:
        """The metrics measured beside the task's own, by their names in results."""
        task_keys = {spec.key for spec in task.metrics}
        built = {}
        for family in self.families:
            for key, name, options in self._named(family, task):
                if key not in task_keys:
                    built[key] = metrics.load(name, options)
        return built

    def without(self, task: Task, measured: Mapping[str, Metric[Any]]) -> dict[Family, str]:
        """Why the task lacks a measure, for each requested family that it has none of.

        Args:
            task: the task.
            measured: its metrics, those measured beside its own included.
        """
        present = {metric.family for metric in measured.values()}
        reasons: dict[Family, str] = {
            "accuracy": "the task names no metric",
            "calibration": _NOT_CHOICES,
            "bias": _NOT_TEXT,
            "toxicity": self.no_scorer if self.no_scorer and task.answer == "generate" else _NOT_TEXT,
        }
        missing = {family: reasons[family] for family in self.families if family in reasons and family not in present}
        for family in PERTURBED:
            if family in self.families and (reason := self._unperturbed(family, task, measured)):
                missing[family] = reason
        return missing

    def _unperturbed(self, family: Family, task: Task, measured: Mapping[str, Metric[Any]]) -> str | None:
        if not any(perturbation.family == family for perturbation in self.perturbations):
            return "none of its perturbations was requested, or none is available"
        return None if any(key in measured for key in task.headlines) else "the task has no headline metric that could drop"

    def _named(self, family: Family, task: Task) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Key, metric and options of a family's measures of a task."""
        if family == "calibration" and task.answer == "choices":
            joint = not isinstance(task.choices, str) and all("{" not in text for text in task.choices or ())
            confidence = "joint" if joint else "renormalized"
            for name in _CALIBRATION:
                yield name, name, {} if name == "brier" else {"confidence": confidence, "small": self.small}
            if joint:
                yield "ece_10_bin_renormalized", "ece_10_bin", {"confidence": "renormalized", "small": self.small}
        if task.answer != "generate":
            return
        if family == "toxicity" and self.no_scorer is None:
            for name in _TOXICITY:
                yield name, name, {"scorer": self.scorer}
        if family == "bias":
            for groups in _GROUPS:
                yield f"representation_{groups}", "representation", {"groups": groups}
                for targets in _TARGETS:
                    yield f"association_{groups}_{targets}", "association", {"groups": groups, "targets": targets}


def _scorer(named: str, progress: Progress) -> tuple[str, str | None]:
    """The name of the toxicity scorer, or why there is none: the named one, else the default, else one that needs no download.

    Raises:
        InputError: the named scorer is unknown or not available.
    """
    from harness import toxicity

    if named:
        _ = toxicity.load(named).identity
        return named, None
    reasons = []
    for spec in (toxicity.DEFAULT, "profanity"):
        try:
            _ = toxicity.load(spec).identity
        except InputError as error:
            reasons.append(error.what)
            continue
        if reasons:
            progress.note(f"{reasons[0]} Toxicity is scored by {spec} instead; choose another scorer with --toxicity.")
        return spec, None
    return "", " ".join(reasons)
