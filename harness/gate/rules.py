"""The rules a policy can state. Each judges itself on the evidence, by intervals where a score has one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from harness.gate.evidence import Compared, Evidence, Scored
from harness.gate.findings import Finding, UnfitRuleError, bounds, combined, items_to_decide, number, p_text
from harness.gate.relative import Excess, excess
from harness.report import same
from harness.report.comparison import MetricComparison, TaskComparison
from harness.report.leaderboard import differences
from harness.stats.bootstrap import Interval
from harness.stats.verdict import FORGOT_AT, IMPROVED_AT, Verdict, change, verdict
from harness.store.runs import EfficiencyRecord

Operator: TypeAlias = Literal[">=", ">", "<=", "<"]
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
_EFFICIENCY = "efficiency."
_SAME = "the same system gave the same responses: nothing can have changed"


class Rule(Protocol):
    """One line of a policy."""

    @property
    def needs_baseline(self) -> bool:
        """Whether it compares."""
        ...

    def judge(self, evidence: Evidence) -> Finding:
        """What it finds.

        Raises:
            UnfitRuleError: the results do not have what it names.
        """
        ...


@dataclass(frozen=True, slots=True)
class Threshold:
    """A score reaches a limit: its whole interval does."""

    subject: str
    operator: Operator
    limit: float
    needs_baseline = False

    def judge(self, evidence: Evidence) -> Finding:
        """Pass where the interval lies on the right side of the limit, fail where it lies on the wrong one."""
        if quantity := _quantity(self.subject, evidence):
            value = _efficiency(evidence.candidate.record.efficiency, quantity)
            return self._by_point(quantity, value) if value is not None else _unmeasured(quantity, "the run")
        return combined([self._score(one) for one in evidence.scores(self.subject)], "scores")

    def _score(self, one: Scored) -> Finding:
        record = one.record
        if record.value is None:
            return Finding("cannot tell", f"{one.name} has no value: {record.reason}")
        if record.ci is None:
            why = record.reason or f"{record.n} {'item gives' if record.n == 1 else 'items give'} none"
            return Finding("cannot tell", f"{one.name} is {number(record.value)} and has no interval: {why}")
        said = f"{one.name} is {bounds(record.value, *record.ci)} on {record.n:,} items"
        needed = items_to_decide(record.n, record.value, record.ci, self.limit, record.ci_method)
        return _by_interval(self.operator, record.ci, self.limit, said, f"{self.limit:g}", one.owner, needed)

    def _by_point(self, name: str, value: float) -> Finding:
        holds = _HOLDS[self.operator](value, self.limit)
        told = f"{name} is {number(value)}, which is {'' if holds else 'not '}{self.operator} {self.limit:g}"
        return Finding("pass" if holds else "fail", f"{told}; it has no interval, so the point decides")


@dataclass(frozen=True, slots=True)
class Relative:
    """A score reaches a multiple of the baseline's, by the interval of what is between them."""

    subject: str
    operator: Operator
    factor: float
    needs_baseline = True

    def judge(self, evidence: Evidence) -> Finding:
        """Pass where the whole interval of score less multiple lies on the right side of 0, fail where on the wrong one."""
        baseline, _ = evidence.against()
        if quantity := _quantity(self.subject, evidence):
            return self._efficiency(evidence, quantity)
        findings = []
        for one in evidence.compared(self.subject):
            if told := self._same_system(one):
                findings.append(told)
                continue
            sides = (baseline, evidence.candidate)
            findings.append(self._score(one, excess(sides, evidence.load, evidence.plan, one.owner, one.score.metric, self.factor)))
        return combined(findings, "scores")

    def _same_system(self, one: Compared) -> Finding | None:
        """Where nothing can have changed both sides are equal and the rule is decided; None where something may have changed."""
        score = one.score
        if not _same(score):
            return None
        if score.after is None:  # as of any score above 0
            holds, times = _HOLDS[self.operator](1.0, self.factor), "it has no value on either side"
        else:
            holds = _HOLDS[self.operator](score.after, self.factor * score.after)
            times = f"{number(score.after)} {self.operator} {self.factor:g} × {number(score.after)}"
        if holds:
            return Finding("pass", f"{one.name}: {_SAME}, and {times}", reason=_SAME)
        itself = "itself" if self.factor == 1 else f"{self.factor:g} × itself"
        score_is = "" if score.after is None else f", which is {number(score.after)}"
        return Finding("fail", f"{one.name}: {_SAME}, so it cannot be {self.operator} {itself}{score_is}")

    def _score(self, one: Compared, found: Excess | str) -> Finding:
        if isinstance(found, str):
            return Finding("cannot tell", f"{one.name}: {found}")
        said = f"{one.name} is {number(found.after)}, the baseline's {number(found.before)}"
        if found.interval is None:
            return Finding("cannot tell", f"{said}; on {found.items} items there is no interval")
        ends = found.interval.low, found.interval.high
        said += f", {number(found.after)} - {self.factor:g} × {number(found.before)} = {bounds(found.value, *ends)}"
        needed = found.items_to_decide(one.score.items)
        return _by_interval(self.operator, ends, 0.0, said, "0", one.owner, needed)

    def _efficiency(self, evidence: Evidence, quantity: str) -> Finding:
        baseline, _ = evidence.against()
        value = _efficiency(evidence.candidate.record.efficiency, quantity)
        reference = _efficiency(baseline.record.efficiency, quantity)
        if value is None or reference is None:
            return _unmeasured(quantity, "the run" if value is None else "the baseline")
        holds = _HOLDS[self.operator](value, self.factor * reference)
        times = f"{self.factor:g} × {number(reference)} = {number(self.factor * reference)}"
        told = f"{quantity} is {number(value)}, which is {'' if holds else 'not '}{self.operator} {times}"
        return Finding("pass" if holds else "fail", f"{told}; it has no interval, so the points decide")


@dataclass(frozen=True, slots=True)
class NonInferior:
    """A score lost at most a margin, in its own unit."""

    subject: str
    margin: float
    needs_baseline = True

    def judge(self, evidence: Evidence) -> Finding:
        """Pass where it is kept or improved, fail where it is forgot, as `stats.verdict` says with this margin."""
        return combined([_kept(one, self.margin) for one in evidence.compared(self.subject)], "scores")


@dataclass(frozen=True, slots=True)
class Improved:
    """A score is surely better than the baseline's."""

    subject: str
    needs_baseline = True

    def judge(self, evidence: Evidence) -> Finding:
        """Pass where it improved, as `stats.verdict` says; fail where the whole interval of the change lies at or below 0."""
        return combined([self._score(one) for one in evidence.compared(self.subject)], "scores")

    def _score(self, one: Compared) -> Finding:
        score = one.score
        if (found := _turned(score)) is None or score.change is None:
            return Finding("cannot tell", f"{one.name}: {score.reason or 'it has no interval'}")
        low, high = found
        if _same(score):
            return Finding("fail", f"{one.name}: {_SAME}, so it cannot be better")
        said = _changed(one)
        if low > 0 and score.p_holm is not None and score.p_holm <= IMPROVED_AT:
            return Finding("pass", f"{said}: better")
        if high <= 0:
            return Finding("fail", f"{said}: not better")
        if low > 0:
            return Finding("cannot tell", f"{said}: better, but for {number(IMPROVED_AT)} the adjusted p is too large")
        needed = score.items_beyond(0.0)
        return _undecided(f"{said}: the interval holds 0", one.owner, needed)


@dataclass(frozen=True, slots=True)
class NothingForgotten:
    """No task that was not tuned for lost more than a margin; where none is given, more than its own margin.

    A margin is a share of each score's scale: 0.01 is one point of BLEU. One that the policy names for a task or metric holds there.
    """

    margin: float | None
    needs_baseline = True

    def judge(self, evidence: Evidence) -> Finding:
        """Fail where any is forgot; cannot tell where any cannot be told, or the run lacks a task of the baseline."""
        _, comparison = evidence.against()
        tasks = [task for task in comparison.tasks if not task.target]
        findings = [self._score(evidence, task, score) for task in tasks for score in task.headlines]
        missing = _wanted(evidence, comparison.only_before)
        if missing:
            told = f"the baseline has {', '.join(missing)}, which the run lacks"
            findings.append(Finding("cannot tell", told, (f"score {', '.join(missing)}, or name the tasks that count under `tasks`",)))
        if not findings:
            return Finding("cannot tell", "every task that was compared is a target")
        return combined(findings, "scores")

    def _score(self, evidence: Evidence, task: TaskComparison, score: MetricComparison) -> Finding:
        margin = score.margin if self.margin is None else evidence.margin(task.name, score, self.margin)
        return _kept(Compared(task.name, score), margin)


@dataclass(frozen=True, slots=True)
class SignatureMatches:
    """Both results were measured alike to the letter: settings, items, prompts; other settings are refused before any rule."""

    needs_baseline = True

    def judge(self, evidence: Evidence) -> Finding:
        """Fail where items or prompts differ, or a task is missing; the differences are told."""
        baseline, comparison = evidence.against()
        mine, theirs = evidence.candidate.record.tasks, baseline.record.tasks
        compared = list(_tasks(comparison.tasks))
        unlike = [f"{name} is missing" for name in _wanted(evidence, comparison.only_before)]
        for task in compared:
            one, other = mine[task.name], theirs[task.name]
            notes = differences((("", one.signature),), (("", other.signature),))
            if task.prompts_differ:
                notes = (*notes, f"{task.prompts_differ} prompts differ")
            if notes:
                unlike.append(f"{task.name} ({'; '.join(notes)})")
        if unlike:
            return Finding("fail", f"measured otherwise: {', '.join(unlike)}")
        return Finding("pass", f"{len(compared)} {'task' if len(compared) == 1 else 'tasks'} measured alike")


def _tasks(tasks: tuple[TaskComparison, ...]) -> list[TaskComparison]:
    """Tasks, groups opened."""
    return [one for task in tasks for one in (task.parts or (task,))]


def _wanted(evidence: Evidence, missing: tuple[str, ...]) -> list[str]:
    """Tasks that the run lacks and that the plan does not leave out."""
    return [] if evidence.plan.tasks is not None else list(missing)


def _by_interval(
    sign: Operator, ends: tuple[float, float], limit: float, said: str, against: str, owner: str, needed: int | None
) -> Finding:
    """Whether all of an interval, or none of it, lies on the right side of a limit."""
    holds = [_HOLDS[sign](end, limit) for end in ends]
    if all(holds):
        return Finding("pass", f"{said}: all of it is {sign} {against}")
    if not any(holds):
        return Finding("fail", f"{said}: none of it is {sign} {against}")
    return _undecided(f"{said}: the interval holds {against}", owner, needed)


def _kept(one: Compared, margin: float) -> Finding:
    score = one.score
    if _turned(score) is None:
        return Finding("cannot tell", f"{one.name}: {score.reason or 'it has no interval'}")
    if _same(score):
        return Finding("pass", f"{one.name}: {_SAME}, on {score.items:,} items", reason=_SAME)
    said = f"{_changed(one)}, margin {margin:.4g}"
    found = _verdict(score, margin)
    if found == "forgot":
        return Finding("fail", f"{said}: forgot")
    if found == "likely forgot":
        needed = score.items_for_change if margin == score.margin and (score.items_for_change or 0) > score.items else None
        why = f"likely forgot, lost beyond the margin, but the verdict needs an adjusted p of {FORGOT_AT}"
        return replace(_undecided(f"{said}: {why}", one.owner, needed), grave=True)
    if found == "cannot tell":
        return _undecided(f"{said}: the interval holds the margin", one.owner, score.items_to_tell(margin))
    return Finding("pass", f"{said}: {found}")


def _same(score: MetricComparison) -> bool:
    return score.method == same.METHOD


def _verdict(score: MetricComparison, margin: float) -> Verdict:
    if score.low is None or score.high is None:
        return "cannot tell"
    return verdict(Interval(score.low, score.high, score.method or ""), score.p_holm, margin, score.higher_is_better)


def _turned(score: MetricComparison) -> tuple[float, float] | None:
    """The interval of the change, more being better."""
    if score.low is None or score.high is None:
        return None
    return change(Interval(score.low, score.high, ""), score.higher_is_better)


def _changed(one: Compared) -> str:
    score = one.score
    ends = bounds(score.difference or 0.0, score.low or 0.0, score.high or 0.0)
    better = "" if score.higher_is_better else " (lower is better)"
    return f"{one.name} changed by {ends}{better} on {score.items:,} items, {p_text(score.p_holm)}"


def _undecided(told: str, owner: str, needed: int | None) -> Finding:
    if needed is None:
        return Finding("cannot tell", told)
    return Finding("cannot tell", f"{told}; about {needed:,} items would tell", (f"{owner}: about {needed:,} items",))


def _quantity(subject: str, evidence: Evidence) -> str | None:
    """The quantity that a rule on efficiency names; None for other rules.

    Raises:
        UnfitRuleError: there is no such quantity.
    """
    if not subject.startswith(_EFFICIENCY) or "efficiency" in evidence.candidate.record.tasks:
        return None
    name = subject.removeprefix(_EFFICIENCY)
    if name not in QUANTITIES:
        raise UnfitRuleError(f"Efficiency has no quantity {name!r}.", f"It has {', '.join(QUANTITIES)}.")
    return name


def _unmeasured(quantity: str, whose: str) -> Finding:
    told = f"{quantity} of {whose} is not known: its answers came from the store"
    return Finding("cannot tell", told, (f"compute {whose} anew with --fresh",))


def _efficiency(record: EfficiencyRecord, quantity: str) -> float | None:
    return QUANTITIES[quantity](record)


def _rate(record: EfficiencyRecord) -> float | None:
    """Answers computed in a second of scoring and generating."""
    seconds = record.seconds.get("score", 0.0) + record.seconds.get("generate", 0.0)
    return record.requests.computed / seconds if record.requests.computed and seconds else None


QUANTITIES: Mapping[str, Callable[[EfficiencyRecord], float | None]] = {
    "items_per_second": _rate,
    "prefill_tokens_per_second": lambda record: record.prefill_tokens_per_second,
    "decode_tokens_per_second": lambda record: record.decode_tokens_per_second,
    "padding_share": lambda record: record.padding_share,
    "peak_memory_bytes": lambda record: float(record.peak_memory_bytes),
    "seconds": lambda record: record.seconds.get("total") if record.requests.computed else None,
}
"""What a run's cost can be held against, each with how it is read; none has an interval."""
