"""The rules of a policy. Each checks itself against the evidence, by intervals where a score has one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from harness.compare import same_system
from harness.compare.comparability import NotComparable, signature_differences
from harness.compare.comparison import MetricComparison, TaskComparison
from harness.gate import quantities
from harness.gate.evidence import CandidateScore, ComparedScore, Evidence
from harness.gate.findings import Finding, bounds, combined, item_count, items_to_decide, number, p_text
from harness.gate.relative import Excess, excess
from harness.stats.bootstrap import Interval
from harness.stats.verdict import FORGOT_AT, IMPROVED_AT, Verdict, change, verdict

Operator: TypeAlias = Literal[">=", ">", "<=", "<"]
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
_SAME_RESPONSES = "the same system gave the same responses"
_NO_CHANGE = f"nothing can have changed, because {_SAME_RESPONSES}"


class Rule(Protocol):
    """One line of a policy."""

    @property
    def needs_baseline(self) -> bool:
        """Whether it compares with a baseline."""
        ...

    def check(self, evidence: Evidence) -> Finding:
        """Check the rule.

        Raises:
            UnfitRuleError: the results lack what the rule names.
        """
        ...


@dataclass(frozen=True, slots=True)
class Threshold:
    """A score reaches a limit with its whole interval."""

    subject: str
    operator: Operator
    limit: float
    needs_baseline = False

    def check(self, evidence: Evidence) -> Finding:
        """Pass where the whole interval satisfies the limit, fail where none of it does."""
        if quantity := quantities.named(self.subject, evidence):
            value = quantities.measured(evidence.candidate, quantity)
            return self._by_point(quantity, value) if value is not None else quantities.unmeasured(quantity, "run")
        return combined([self._score(score) for score in evidence.scores(self.subject)], "scores")

    def _score(self, score: CandidateScore) -> Finding:
        record = score.record
        if record.value is None:
            return Finding("inconclusive", f"{score.name} has no value: {record.reason}")
        if record.ci is None:
            why = record.reason or f"{item_count(record.n)} {'is' if record.n == 1 else 'are'} too few"
            return Finding("inconclusive", f"{score.name} is {number(record.value)} and has no interval: {why}")
        start = f"{score.name} is {bounds(record.value, *record.ci)} on {item_count(record.n)}"
        needed = items_to_decide(record.n, record.value, record.ci, self.limit, record.ci_method)
        return _by_interval(self.operator, record.ci, self.limit, start, f"{self.limit:g}", score.owner, needed)

    def _by_point(self, name: str, value: float) -> Finding:
        holds = _HOLDS[self.operator](value, self.limit)
        message = f"{name} is {number(value)}, which is {'' if holds else 'not '}{self.operator} {self.limit:g}"
        return Finding("pass" if holds else "fail", f"{message} (a single measurement, without an interval)")


@dataclass(frozen=True, slots=True)
class Relative:
    """A score reaches a multiple of the baseline's, by the interval of the difference."""

    subject: str
    operator: Operator
    factor: float
    needs_baseline = True

    def check(self, evidence: Evidence) -> Finding:
        """Pass where the whole interval of score minus multiple satisfies the operator with 0, fail where none of it does."""
        baseline, _ = evidence.against()
        if quantity := quantities.named(self.subject, evidence):
            return self._efficiency(evidence, quantity)
        findings = []
        for compared in evidence.compared(self.subject):
            if finding := self._same_system(compared):
                findings.append(finding)
                continue
            sides = (baseline, evidence.candidate)
            excess_ = excess(sides, evidence.load, evidence.options, compared.owner, compared.score.metric, self.factor)
            findings.append(self._score(compared, excess_))
        return combined(findings, "scores")

    def _same_system(self, compared: ComparedScore) -> Finding | None:
        """The finding where nothing can have changed, so that both sides are equal; None where something may have changed."""
        score = compared.score
        if not _same(score):
            return None
        if score.after is None:  # decided like any score above 0
            holds, times = _HOLDS[self.operator](1.0, self.factor), "neither side has a value"
        else:
            holds = _HOLDS[self.operator](score.after, self.factor * score.after)
            times = f"{number(score.after)} {self.operator} {self.factor:g} × {number(score.after)}"
        if holds:
            return Finding("pass", f"{compared.name}: {_NO_CHANGE}, and {times}", reason=_NO_CHANGE)
        itself = "itself" if self.factor == 1 else f"{self.factor:g} × itself"
        value = "" if score.after is None else f" ({number(score.after)})"
        return Finding("fail", f"{compared.name}{value} cannot be {self.operator} {itself}: {_SAME_RESPONSES}")

    def _score(self, compared: ComparedScore, difference: Excess | NotComparable) -> Finding:
        if isinstance(difference, NotComparable):
            return Finding("inconclusive", f"{compared.name}: {difference.reason}")
        before, after = number(difference.before), number(difference.after)
        start = f"{compared.name} is {after}, the baseline's is {before}"
        if difference.interval is None:
            return Finding("inconclusive", f"{start}; there is no interval on {item_count(difference.items)}")
        ends = difference.interval.low, difference.interval.high
        start += f"; {after} - {self.factor:g} × {before} = {bounds(difference.value, *ends)}"
        needed = difference.items_to_decide(compared.score.items)
        return _by_interval(self.operator, ends, 0.0, start, "0", compared.owner, needed)

    def _efficiency(self, evidence: Evidence, quantity: str) -> Finding:
        baseline, _ = evidence.against()
        value = quantities.measured(evidence.candidate, quantity)
        reference = quantities.measured(baseline, quantity)
        if value is None or reference is None:
            return quantities.unmeasured(quantity, "run" if value is None else "baseline")
        holds = _HOLDS[self.operator](value, self.factor * reference)
        times = f"{self.factor:g} × {number(reference)} = {number(self.factor * reference)}"
        message = f"{quantity} is {number(value)}, which is {'' if holds else 'not '}{self.operator} {times}"
        return Finding("pass" if holds else "fail", f"{message} (single measurements, without an interval)")


@dataclass(frozen=True, slots=True)
class NonInferior:
    """A score lost at most a margin, in its own unit."""

    subject: str
    margin: float
    needs_baseline = True

    def check(self, evidence: Evidence) -> Finding:
        """Pass where the verdict with this margin is retained or improved, fail where it is forgot; see `stats.verdict`."""
        return combined([_within_margin(compared, self.margin) for compared in evidence.compared(self.subject)], "scores")


@dataclass(frozen=True, slots=True)
class Improved:
    """A score is significantly better than the baseline's."""

    subject: str
    needs_baseline = True

    def check(self, evidence: Evidence) -> Finding:
        """Pass where the verdict is improved, see `stats.verdict`; fail where the whole interval of the change lies at or below 0."""
        return combined([self._score(compared) for compared in evidence.compared(self.subject)], "scores")

    def _score(self, compared: ComparedScore) -> Finding:
        score = compared.score
        ends = _change_interval(score)
        if ends is None or score.change is None:
            return Finding("inconclusive", f"{compared.name}: {score.reason or 'the change has no interval'}")
        low, high = ends
        if _same(score):
            return Finding("fail", f"{compared.name} cannot be better: {_SAME_RESPONSES}")
        start = _changed(compared)
        if low > 0 and score.p_holm is not None and score.p_holm <= IMPROVED_AT:
            return Finding("pass", f"{start}: improved")
        if high <= 0:
            return Finding("fail", f"{start}: not improved")
        if low > 0:
            return Finding("inconclusive", f"{start}: better, but the verdict improved requires an adjusted p of at most {IMPROVED_AT}")
        needed = score.items_beyond(0.0)
        return _inconclusive(f"{start}: the interval contains 0", compared.owner, needed)


@dataclass(frozen=True, slots=True)
class NothingForgotten:
    """No task that is not a target lost more than a margin; where none is given, more than its own margin.

    A margin is a share of each score's scale: 0.01 is one point of BLEU. One that the policy sets for a task or metric takes precedence.
    """

    margin: float | None
    needs_baseline = True

    def check(self, evidence: Evidence) -> Finding:
        """Fail where any task is forgot; inconclusive where any verdict is inconclusive, or the run lacks a task of the baseline."""
        _, comparison = evidence.against()
        tasks = [task for task in comparison.tasks if not task.target]
        findings = [self._score(evidence, task, score) for task in tasks for score in task.headlines]
        missing = ", ".join(_missing(evidence, comparison.only_before))
        if missing:
            advice = f"evaluate {missing}, or list the tasks that count under `tasks`"
            findings.append(Finding("inconclusive", f"the run has no results of {missing}, but the baseline has", (advice,)))
        if not findings:
            return Finding("inconclusive", "every task that was compared is a target")
        return combined(findings, "scores")

    def _score(self, evidence: Evidence, task: TaskComparison, score: MetricComparison) -> Finding:
        margin = score.margin if self.margin is None else evidence.margin(task.name, score, self.margin)
        return _within_margin(ComparedScore(task.name, score), margin)


@dataclass(frozen=True, slots=True)
class SignatureMatches:
    """Both results were measured identically: settings, items, prompts. Different settings are refused before any rule is checked."""

    needs_baseline = True

    def check(self, evidence: Evidence) -> Finding:
        """Fail where items or prompts differ, or a task is missing; the message lists the differences."""
        baseline, comparison = evidence.against()
        mine, theirs = evidence.candidate.record.tasks, baseline.record.tasks
        compared = [part for task in comparison.tasks for part in (task.parts or (task,))]
        unlike = [f"{name} is missing" for name in _missing(evidence, comparison.only_before)]
        for task in compared:
            notes = signature_differences((("", mine[task.name].signature),), (("", theirs[task.name].signature),))
            if task.prompts_differ:
                notes = (*notes, f"{task.prompts_differ:,} {'prompt differs' if task.prompts_differ == 1 else 'prompts differ'}")
            if notes:
                unlike.append(f"{task.name} ({'; '.join(notes)})")
        if unlike:
            return Finding("fail", f"the signatures differ: {', '.join(unlike)}")
        return Finding("pass", f"the signatures match on {len(compared)} {'task' if len(compared) == 1 else 'tasks'}")


def _missing(evidence: Evidence, only_baseline: tuple[str, ...]) -> list[str]:
    """Tasks of the baseline that the run lacks; none where the policy lists the tasks that count."""
    return [] if evidence.options.tasks is not None else list(only_baseline)


def _by_interval(
    sign: Operator, ends: tuple[float, float], limit: float, start: str, limit_text: str, owner: str, needed: int | None
) -> Finding:
    """Whether a whole interval, or none of it, satisfies a limit."""
    holds = [_HOLDS[sign](end, limit) for end in ends]
    if all(holds):
        return Finding("pass", f"{start}: the whole interval is {sign} {limit_text}")
    if not any(holds):
        return Finding("fail", f"{start}: no part of the interval is {sign} {limit_text}")
    return _inconclusive(f"{start}: the interval contains {limit_text}", owner, needed)


def _within_margin(compared: ComparedScore, margin: float) -> Finding:
    score = compared.score
    if _change_interval(score) is None:
        return Finding("inconclusive", f"{compared.name}: {score.reason or 'the change has no interval'}")
    if _same(score):
        return Finding("pass", f"{compared.name}: {_NO_CHANGE} ({item_count(score.items)})", reason=_NO_CHANGE)
    start = f"{_changed(compared)}, margin {margin:.4g}"
    outcome = _verdict(score, margin)
    if outcome == "forgot":
        return Finding("fail", f"{start}: forgot")
    if outcome == "likely forgot":
        needed = score.items_for_change if margin == score.margin and (score.items_for_change or 0) > score.items else None
        why = f"likely forgot: the loss exceeds the margin, but the verdict forgot requires an adjusted p of at most {FORGOT_AT}"
        return replace(_inconclusive(f"{start}: {why}", compared.owner, needed), listed_first=True)
    if outcome == "inconclusive":
        return _inconclusive(f"{start}: the interval contains the margin", compared.owner, score.items_to_resolve(margin))
    return Finding("pass", f"{start}: {outcome}")


def _same(score: MetricComparison) -> bool:
    return score.method == same_system.METHOD


def _verdict(score: MetricComparison, margin: float) -> Verdict:
    if score.low is None or score.high is None:
        return "inconclusive"
    return verdict(Interval(score.low, score.high, score.method or ""), score.p_holm, margin, score.higher_is_better)


def _change_interval(score: MetricComparison) -> tuple[float, float] | None:
    """The interval of the change, where positive is better."""
    if score.low is None or score.high is None:
        return None
    return change(Interval(score.low, score.high, ""), score.higher_is_better)


def _changed(compared: ComparedScore) -> str:
    score = compared.score
    ends = bounds(score.difference or 0.0, score.low or 0.0, score.high or 0.0)
    better = "" if score.higher_is_better else " (lower is better)"
    return f"{compared.name} changed by {ends}{better} on {item_count(score.items)}, {p_text(score.p_holm)}"


def _inconclusive(message: str, owner: str, needed: int | None) -> Finding:
    if needed is None:
        return Finding("inconclusive", message)
    items = f"about {needed:,} items"
    return Finding("inconclusive", f"{message}; {items} would be conclusive", (f"evaluate {owner} on {items}",))
