"""Apply a policy to a run: every rule's finding, and the decision that follows."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from harness.compare.comparability import system_notes
from harness.compare.comparison import RunComparison, compare_runs
from harness.compare.names import expand_globs
from harness.compare.paired_tables import LoadMeasure
from harness.compare.pairing import Results, joined_files
from harness.compare.unverified import unverified
from harness.errors import InputError
from harness.gate.evidence import Evidence
from harness.gate.findings import OUTCOME_WORDS, Finding, Outcome, UnfitRuleError, worst
from harness.gate.policy import Policy, PolicyRule
from harness.store.verifying import refuse_changed

OnUndecided: TypeAlias = Literal["pass", "fail"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 3}


@dataclass(frozen=True, slots=True)
class RuleResult:
    """A rule with its finding, and the seconds that checking took."""

    policy_rule: PolicyRule
    finding: Finding
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """The rule as the policy states it."""
        return self.policy_rule.text


@dataclass(frozen=True)
class GateDecision:
    """The decision of a policy about a run.

    Attributes:
        candidate, baseline: the results.
        results: of every rule, in the policy's order.
        on_undecided: what an inconclusive outcome counts as; None: the decision is "inconclusive". "pass" does not apply to results that
            cannot be verified.
    """

    candidate: Results
    baseline: Results | None
    results: tuple[RuleResult, ...]
    on_undecided: OnUndecided | None = None

    @property
    def worst_outcome(self) -> Outcome:
        """The worst outcome of the rules, before `on_undecided` is applied."""
        return worst([result.finding.outcome for result in self.results])

    @property
    def outcome(self) -> Outcome:
        """The outcome after `on_undecided` is applied. Results that cannot be verified never pass: they may have been edited."""
        unverified_pass = self.on_undecided == "pass" and self._has_unverified
        if self.worst_outcome != "inconclusive" or self.on_undecided is None or unverified_pass:
            return self.worst_outcome
        return self.on_undecided

    @property
    def _has_unverified(self) -> bool:
        return any(side is not None and bool(side.record.unverified) for side in (self.candidate, self.baseline))

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 inconclusive."""
        return EXIT_CODES[self.outcome]

    @property
    def headline(self) -> str:
        """Numbers of rules by outcome, such as `3 rules: 2 passed, 1 inconclusive`."""
        outcomes = [result.finding.outcome for result in self.results]
        counts = [(outcomes.count(outcome), words) for outcome, words in OUTCOME_WORDS.items()]
        text = ", ".join(f"{count} {words}" for count, words in counts if count)
        replaced = f", inconclusive counts as {self.on_undecided}" if self.outcome != self.worst_outcome else ""
        return f"{len(outcomes)} {'rule' if len(outcomes) == 1 else 'rules'}: {text}{replaced}"

    @property
    def unverified(self) -> str | None:
        """A sentence on results that cannot be verified; None where all can."""
        return unverified((str(side.folder), side.record) for side in (self.candidate, self.baseline) if side is not None)

    @property
    def system_notes(self) -> tuple[str, ...]:
        """Sentences on differences in precision and in the form of prompts, which may cause part of a change."""
        if self.baseline is None:
            return ()
        return system_notes([("the baseline", self.baseline.record.system), ("the candidate", self.candidate.record.system)])

    @property
    def notes(self) -> list[str]:
        """What limits the decision, a sentence each."""
        return [*([self.unverified] if self.unverified else []), *self.system_notes]

    @property
    def advice(self) -> list[str]:
        """What to do next, a sentence each."""
        steps = list(dict.fromkeys(step for result in self.results for step in result.finding.advice))
        sentences = []
        if self.worst_outcome == "fail" and self.baseline is not None:
            folders = f"--before {self.baseline.folder} --after {self.candidate.folder}"
            sentences.append(f"See what was lost: harness forgetting {folders} --details")
        if self.worst_outcome == "inconclusive":
            more_items = "More items or a wider margin would give a conclusive result."
            sentences.append(f"For a conclusive result: {'; '.join(steps)}." if steps else more_items)
            if self._has_unverified:
                sentences.append("Results that cannot be verified never pass, even with --on-undecided pass.")
            elif self.on_undecided is None:
                sentences.append("To decide anyway: --on-undecided pass or --on-undecided fail.")
        return sentences


def decide(run: Path, baseline: Path | None, policy: Policy, load: LoadMeasure, on_undecided: OnUndecided | None = None) -> GateDecision:
    """Check a run against a policy.

    Args:
        run: folder of the candidate's results.
        baseline: folder of the results to compare with, or None.
        policy: the rules.
        load: loads metrics: `harness.metrics.load`.
        on_undecided: what an inconclusive outcome counts as.

    Raises:
        InputError: results cannot be read or were measured with different settings, or a rule cannot be applied to them; there is then
            no decision.
    """
    candidate = Results.read(run)
    reference = Results.read(baseline) if baseline is not None else None
    comparing = next((policy_rule for policy_rule in policy.rules if policy_rule.rule.needs_baseline), None)
    if comparing is not None and reference is None:
        raise _unfit(
            comparing, "it compares with a baseline, and none is given", "Give one with --baseline RUN, or a --policy with thresholds only."
        )
    options = policy.options()
    comparison: RunComparison | None = None
    if reference is not None and comparing is not None:
        both = (candidate.record, reference.record)
        tasks = None if options.tasks is None else expand_globs(options.tasks, both)
        options = replace(options, targets=expand_globs(options.targets, both), tasks=tasks)
        comparison = compare_runs(reference.folder, candidate.folder, load, options)
    _verify_rest(candidate, reference, comparison)
    evidence = Evidence(candidate, load, options, reference, comparison)
    return GateDecision(candidate, reference, tuple(_checked(policy_rule, evidence) for policy_rule in policy.rules), on_undecided)


def _verify_rest(candidate: Results, reference: Results | None, comparison: RunComparison | None) -> None:
    """Refuse changed files of both results; the comparison has verified those that it read."""
    verified: set[str] = set()
    if reference is not None and comparison is not None:
        names = [part.name for task in comparison.tasks for part in task.parts or (task,)]
        verified = {file for name in names for file in joined_files(reference.record, name)}
    for side in (candidate, reference):
        if side is not None:
            refuse_changed(side.folder, side.record, verified)


def _checked(policy_rule: PolicyRule, evidence: Evidence) -> RuleResult:
    began = time.perf_counter()
    try:
        finding = policy_rule.rule.check(evidence)
    except UnfitRuleError as error:
        raise _unfit(policy_rule, error.what[:1].lower() + error.what[1:].removesuffix("."), error.remedy) from error
    sides = (evidence.candidate, evidence.baseline)
    if finding.outcome == "pass" and any(side is not None and side.record.unverified for side in sides):
        message = f"{finding.message}; but results of an earlier version cannot be verified"
        finding = replace(finding, outcome="inconclusive", message=message, advice=("run again what cannot be verified",))
    return RuleResult(policy_rule, finding, time.perf_counter() - began)


def _unfit(policy_rule: PolicyRule, what: str, remedy: str) -> InputError:
    start = f"{policy_rule.place}: the" if policy_rule.place else "The"
    return InputError(f"{start} rule '{policy_rule.text}' cannot be applied: {what}.", remedy)
