"""Which measures a run takes of each task, and why a task has none of some (the seven families of HELM, Liang et al., 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import metrics
from harness.contract import Family
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.metrics.base import Metric
    from harness.options import Options, Watch
    from harness.perturb import Perturbation
    from harness.tasks.schema import Task

DISTURBING: tuple[Family, ...] = ("robustness", "fairness")
"""Families whose measures come from disturbed copies; each is also the name of a preset of perturbations."""

_CALIBRATION = ("ece_10_bin", "ece_1_bin", "selective_cov_acc_area", "selective_acc@10", "brier", "platt_ece")
_TOXICITY = ("toxic_fraction", "expected_max_toxicity", "max_toxicity_probability", "mean_toxicity")
_GROUPS, _TARGETS = ("gender", "race"), ("profession", "adjective")

_NOT_TEXT = "answers are choices or scores, not texts"
_NOT_CHOICES = "answers are not choices, so there are no choices' probabilities"


@dataclass(frozen=True)
class Measures:
    """What a run measures beside the tasks' own metrics.

    Attributes:
        families: those asked for.
        perturbations: those that make copies; of families that are asked for.
        scorer: the toxicity scorer.
        no_scorer: why there is none, where none could be had and none was named.
        small: compute calibration for samples that are too small for it, too.
    """

    families: tuple[Family, ...] = ()
    perturbations: tuple[Perturbation, ...] = ()
    scorer: str = ""
    no_scorer: str | None = None
    small: bool = False

    @classmethod
    def of(cls, options: Options, watch: Watch) -> Measures:
        """What the options ask for; perturbations that cannot be had here are told and left out.

        Raises:
            InputError: a perturbation or scorer is unknown, or the scorer that was named cannot be had.
        """
        scorer, no_scorer = options.toxicity, None
        if "toxicity" in options.measures:
            scorer, no_scorer = _scorer(options.toxicity, watch)
        elif options.toxicity:
            raise InputError("--toxicity names a scorer, and toxicity is not measured.", "Add --measures toxicity, or leave it out.")
        wanted = options.perturb or [family for family in options.measures if family in DISTURBING]
        if not wanted:
            return cls(options.measures, (), scorer, no_scorer, options.small)
        from harness.perturb import parse

        found = parse(",".join(wanted))
        missing = {one.label: reason for one in found if (reason := one.unavailable())}
        for label, reason in missing.items():
            watch.note(f"The perturbation {label} is left out: {reason}")
        there = tuple(one for one in found if one.label not in missing)
        families = dict.fromkeys((*options.measures, *(one.family for one in found)))
        return cls(tuple(families), there, scorer, no_scorer, options.small)

    def metrics(self, task: Task) -> dict[str, Metric[Any]]:
        """The metrics that are measured beside the task's own, by the names under which results carry them."""
        own = {spec.key for spec in task.metrics}
        found = {}
        for family in self.families:
            for key, name, options in self._named(family, task):
                if key not in own:
                    found[key] = metrics.load(name, options)
        return found

    def without(self, task: Task, judged: Mapping[str, Metric[Any]]) -> dict[Family, str]:
        """Of families that were asked for, why the task has none.

        Args:
            task: the task.
            judged: its metrics, those measured beside its own included.
        """
        there = {metric.family for metric in judged.values()}
        reasons: dict[Family, str] = {
            "accuracy": "the task names no metric",
            "calibration": _NOT_CHOICES,
            "bias": _NOT_TEXT,
            "toxicity": self.no_scorer if self.no_scorer and task.answer == "generate" else _NOT_TEXT,
        }
        missing = {family: reasons[family] for family in self.families if family in reasons and family not in there}
        for family in DISTURBING:
            if family in self.families and (reason := self._undisturbed(family, task, judged)):
                missing[family] = reason
        return missing

    def _undisturbed(self, family: Family, task: Task, judged: Mapping[str, Metric[Any]]) -> str | None:
        if not any(one.family == family for one in self.perturbations):
            return "none of its perturbations was asked for, or none can be had here"
        return None if any(key in judged for key in task.headlines) else "the task names no metric that could fall"

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


def _scorer(asked: str, watch: Watch) -> tuple[str, str | None]:
    """The toxicity scorer, and why there is none: the one named, else the default, else one that needs no download.

    Raises:
        InputError: the scorer that was named is unknown or cannot be had.
    """
    from harness import toxicity

    if asked:
        _ = toxicity.load(asked).identity
        return asked, None
    reasons = []
    for spec in (toxicity.DEFAULT, "profanity"):
        try:
            _ = toxicity.load(spec).identity
        except InputError as error:
            reasons.append(error.what)
            continue
        if reasons:
            watch.note(f"{reasons[0]} Toxicity is scored by {spec}; name another with --toxicity.")
        return spec, None
    return "", " ".join(reasons)
