"""A policy applied to a run: every rule's finding, and what follows from them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from harness.errors import InputError
from harness.gate.evidence import Evidence
from harness.gate.findings import Finding, Outcome, UnfitRuleError, worst
from harness.gate.policy import Policy, Stated
from harness.report.comparison import compare_runs
from harness.report.kept import LoadMeasure, Results
from harness.report.naming import opened
from harness.report.unverified import unverified
from harness.store.verifying import refuse_changed

OnUndecided: TypeAlias = Literal["pass", "fail"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "cannot tell": 3}


@dataclass(frozen=True, slots=True)
class Judged:
    """A rule with what it found, and the seconds that took."""

    stated: Stated
    finding: Finding
    seconds: float = 0.0


@dataclass(frozen=True)
class Decision:
    """What a policy says of a run.

    Attributes:
        candidate, baseline: the results.
        judged: every rule, in the policy's order.
        on_undecided: what counts instead where rules cannot tell; None: that the data cannot tell is the answer. "pass" does not hold
            where results cannot be verified.
    """

    candidate: Results
    baseline: Results | None
    judged: tuple[Judged, ...]
    on_undecided: OnUndecided | None = None

    @property
    def found(self) -> Outcome:
        """The worst of the findings."""
        return worst([one.finding.outcome for one in self.judged])

    @property
    def outcome(self) -> Outcome:
        """What counts. What cannot be verified never passes, whatever counts where the data cannot tell: it may be edited."""
        if self.found != "cannot tell" or self.on_undecided is None or (self.on_undecided == "pass" and self._from_unverified):
            return self.found
        return self.on_undecided

    @property
    def _from_unverified(self) -> bool:
        return any(side is not None and bool(side.record.unverified) for side in (self.candidate, self.baseline))

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 cannot tell."""
        return EXIT_CODES[self.outcome]

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        counts = [(name, sum(one.finding.outcome == name for one in self.judged)) for name in ("pass", "fail", "cannot tell")]
        words = {"pass": "passed", "fail": "failed", "cannot tell": "undecided"}
        told = ", ".join(f"{count} {words[name]}" for name, count in counts if count)
        chosen = f", undecided counts as {self.on_undecided}" if self.outcome != self.found else ""
        return f"{len(self.judged)} {'rule' if len(self.judged) == 1 else 'rules'}: {told}{chosen}"

    @property
    def unverified(self) -> str | None:
        """Which results cannot be verified, in a sentence; None where all can."""
        return unverified((str(one.folder), one.record) for one in (self.candidate, self.baseline) if one is not None)

    @property
    def advice(self) -> list[str]:
        """What to do next, a sentence each."""
        wanted = list(dict.fromkeys(part for one in self.judged for part in one.finding.advice))
        found = []
        if self.found == "fail" and self.baseline is not None:
            folders = f"--before {self.baseline.folder} --after {self.candidate.folder}"
            found.append(f"See what was lost: harness forgetting {folders} --details")
        if self.found == "cannot tell":
            more = f"To tell: {'; '.join(wanted)}." if wanted else "More items, or a wider margin, would tell."
            found.append(more)
            if self._from_unverified:
                found.append("Results that cannot be verified never pass: --on-undecided pass does not hold for them.")
            elif self.on_undecided is None:
                found.append("To decide without: --on-undecided pass or --on-undecided fail.")
        return found


def decide(run: Path, baseline: Path | None, policy: Policy, load: LoadMeasure, on_undecided: OnUndecided | None = None) -> Decision:
    """Judge a run by a policy.

    Args:
        run: folder of the candidate's results.
        baseline: of what it is held against, or None.
        policy: the rules.
        load: finds metrics: `harness.metrics.load`.
        on_undecided: what counts where rules cannot tell.

    Raises:
        InputError: results cannot be read or were not measured alike, or a rule does not fit them; nothing was judged.
    """
    candidate = Results.read(run)
    reference = Results.read(baseline) if baseline is not None else None
    for side in (candidate, reference):
        if side is not None:
            refuse_changed(side.folder, side.record)
    comparing = next((stated for stated in policy.rules if stated.rule.needs_baseline), None)
    if comparing is not None and reference is None:
        raise _unfit(
            comparing, "it compares with a baseline, and none is given", "Give one with --baseline RUN, or a --policy of thresholds."
        )
    plan = policy.plan()
    comparison = None
    if reference is not None and comparing is not None:
        both = (candidate.record, reference.record)
        plan = replace(plan, targets=opened(plan.targets, both), tasks=None if plan.tasks is None else opened(plan.tasks, both))
        comparison = compare_runs(reference.folder, candidate.folder, load, plan)
    evidence = Evidence(candidate, load, plan, reference, comparison)
    return Decision(candidate, reference, tuple(_judged(stated, evidence) for stated in policy.rules), on_undecided)


def _judged(stated: Stated, evidence: Evidence) -> Judged:
    began = time.perf_counter()
    try:
        finding = stated.rule.judge(evidence)
    except UnfitRuleError as error:
        raise _unfit(stated, error.what[:1].lower() + error.what[1:].removesuffix("."), error.remedy) from error
    sides = (evidence.candidate, evidence.baseline)
    if finding.outcome == "pass" and any(side is not None and side.record.unverified for side in sides):
        told = f"{finding.told}; but results of an earlier version cannot be verified"
        finding = replace(finding, outcome="cannot tell", told=told, advice=("score again what cannot be verified",))
    return Judged(stated, finding, time.perf_counter() - began)


def _unfit(stated: Stated, what: str, remedy: str) -> InputError:
    place = f"{stated.place}: " if stated.place else ""
    return InputError(f"{place}the rule '{stated.line}' does not fit: {what}.", remedy)
