"""Evidence for rules: saved results, and their comparison with a baseline."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.compare.comparison import MetricComparison, RunComparison, TaskComparison, compare_runs
from harness.compare.metric import ComparisonOptions
from harness.compare.paired_tables import LoadMeasure
from harness.compare.pairing import Results
from harness.gate.findings import UnfitRuleError
from harness.stats.verdict import MARGIN, default_margin
from harness.store.records import MetricRecord, RunRecord


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """One score of the candidate.

    Attributes:
        owner: the task or group.
        key: the metric.
        record: from the results.
    """

    owner: str
    key: str
    record: MetricRecord

    @property
    def name(self) -> str:
        """`task.metric`."""
        return f"{self.owner}.{self.key}"


@dataclass(frozen=True, slots=True)
class ComparedScore:
    """One score of candidate and baseline: the task or group, and the comparison."""

    owner: str
    score: MetricComparison

    @property
    def name(self) -> str:
        """`task.metric`."""
        return f"{self.owner}.{self.score.metric}"


@dataclass(frozen=True)
class Evidence:
    """Results and their comparison.

    Attributes:
        candidate: the run to check.
        load: loads metrics.
        options: how to compare; also which tasks a glob may match.
        baseline: the run to compare with.
        comparison: of the baseline with the candidate; None where no rule needs one.
    """

    candidate: Results
    load: LoadMeasure
    options: ComparisonOptions = field(default_factory=ComparisonOptions)
    baseline: Results | None = None
    comparison: RunComparison | None = None
    _further: dict[str, RunComparison] = field(default_factory=dict, repr=False, compare=False)

    def against(self) -> tuple[Results, RunComparison]:
        """The baseline, and the comparison with it.

        Raises:
            UnfitRuleError: there is no baseline.
        """
        if self.baseline is None or self.comparison is None:
            raise UnfitRuleError("This rule compares with a baseline, and none is given.", "Give one with --baseline RUN.")
        return self.baseline, self.comparison

    def scores(self, subject: str) -> list[CandidateScore]:
        """The candidate's scores that a rule names: `task`, `task.metric`, or either with a glob; without a metric the headlines.

        Raises:
            UnfitRuleError: no task, group or metric has this name.
        """
        owners, metric = self._split(subject)
        if metric is None:
            return [score for owner in owners for score in self._headlines(owner)]
        scores = [CandidateScore(owner, metric, records[metric]) for owner in owners if metric in (records := self._records(owner))]
        if not scores:
            raise _no_metric(metric, owners, {name: None for owner in owners for name in self._records(owner)})
        return scores

    def compared(self, subject: str) -> list[ComparedScore]:
        """Scores of both results that a rule names. A group that cannot be compared as one is replaced by its tasks.

        Raises:
            UnfitRuleError: no task, group or metric has this name, or the baseline lacks it.
        """
        _, comparison = self.against()
        return [compared for score in self.scores(subject) for compared in self._compared(comparison, score)]

    def margin(self, owner: str, score: MetricComparison, share: float) -> float:
        """A margin given as a share of the scale, in the score's unit; a margin that the options set for the score takes precedence."""
        if any(name in self.options.margins for name in (f"{owner}.{score.metric}", owner, score.metric)):
            return score.margin
        record = self._records(owner).get(score.metric)
        return default_margin(record.high if record else None, score.unit, score.before or 0.0) * share / MARGIN

    @property
    def _run(self) -> RunRecord:
        return self.candidate.record

    def _records(self, owner: str) -> Mapping[str, MetricRecord]:
        return self._run.tasks[owner].metrics if owner in self._run.tasks else self._run.groups[owner].metrics

    def _headlines(self, owner: str) -> list[CandidateScore]:
        records = self._records(owner)
        named = self._run.tasks[owner].headline if owner in self._run.tasks else []
        if not records:
            raise UnfitRuleError(f"{owner} has no scores.", "Name a task that has a metric.")
        return [CandidateScore(owner, key, records[key]) for key in named or [next(iter(records))]]

    def _split(self, subject: str) -> tuple[list[str], str | None]:
        """Tasks or groups, and the metric if one is named; names may contain dots, so the longest known name is taken."""
        places = [place for place, char in enumerate(subject) if char == "."]
        splits = [(subject, None), *((subject[:place], subject[place + 1 :]) for place in reversed(places))]
        for owners_of in (self._exactly, self._by_glob):
            for left, right in splits:
                if owners := owners_of(left):
                    return owners, right
        raise self._no_task(subject)

    def _exactly(self, name: str) -> list[str]:
        return [name] if name in self._run.tasks or name in self._run.groups else []

    def _by_glob(self, pattern: str) -> list[str]:
        tasks = self.options.tasks
        names = [name for name in self._run.tasks if tasks is None or name in self._members(tasks)]
        return fnmatch.filter(names, pattern) or fnmatch.filter(self._run.groups, pattern)

    def _members(self, names: Iterable[str]) -> set[str]:
        return {task for name in names for task in (self._run.groups[name].tasks if name in self._run.groups else [name])}

    def _no_task(self, subject: str) -> UnfitRuleError:
        known = [*self._run.tasks, *self._run.groups]
        left = subject.rpartition(".")[0] or subject
        near = difflib.get_close_matches(left, known, 3, 0.6) or difflib.get_close_matches(subject, known, 3, 0.6)
        hint = f"Did you mean {', '.join(near)}? " if near else ""
        return UnfitRuleError(f"{self.candidate.folder} has no task or group {left!r}.", f"{hint}Available: {', '.join(sorted(known))}.")

    def _compared(self, comparison: RunComparison, scored: CandidateScore) -> Iterator[ComparedScore]:
        self._refuse_missing(scored)
        task = find(comparison.tasks, scored.owner) or self._alone(scored.owner)
        if task is not None and scored.key in task.scores:
            yield ComparedScore(scored.owner, task.scores[scored.key])
            return
        for name in self._run.groups[scored.owner].tasks if scored.owner in self._run.groups else ():
            for headline in self._headlines(name):
                yield from self._compared(comparison, headline)
        if scored.owner in self._run.tasks:
            raise UnfitRuleError(f"{scored.name} was not compared.", "Add its task to `tasks` in the policy, or remove `tasks`.")

    def _refuse_missing(self, scored: CandidateScore) -> None:
        baseline, _ = self.against()
        owner = baseline.record.tasks.get(scored.owner) or baseline.record.groups.get(scored.owner)
        if owner is None or (scored.owner in baseline.record.tasks and scored.key not in owner.metrics):
            what = scored.owner if owner is None else scored.name
            raise UnfitRuleError(
                f"The baseline {baseline.folder} has no results of {what}.", "Evaluate the baseline on it with the same settings."
            )

    def _alone(self, owner: str) -> TaskComparison | None:
        """A group within another one, compared separately; None for a group that cannot be compared as one."""
        baseline, _ = self.against()
        if owner not in self._run.groups:
            return None
        if owner not in self._further:
            options = dataclasses.replace(self.options, tasks=(owner,), targets=())
            self._further[owner] = compare_runs(baseline.folder, self.candidate.folder, self.load, options)
        return find(self._further[owner].tasks, owner)


def find(tasks: Sequence[TaskComparison], name: str) -> TaskComparison | None:
    """The task or group of this name, also among the parts of a group."""
    for task in tasks:
        if task.name == name:
            return task
        if (part := find(task.parts, name)) is not None:
            return part
    return None


def _no_metric(metric: str, owners: Sequence[str], known: Mapping[str, None]) -> UnfitRuleError:
    """The error for an unknown metric; it lists the known ones, the most similar first."""
    bare = {name: _bare(name) for name in known}
    near = sorted(known, key=lambda name: -difflib.SequenceMatcher(None, _bare(metric), bare[name]).ratio())
    alike = difflib.SequenceMatcher(None, _bare(metric), bare[near[0]]).ratio() if near else 0.0
    where = owners[0] if len(owners) == 1 else f"None of {len(owners)} tasks"
    what = f"{where} has no metric {metric!r}." if len(owners) == 1 else f"{where} has a metric {metric!r}."
    hint = f"Did you mean {near[0]}? " if alike >= 0.6 else ""
    return UnfitRuleError(what, f"{hint}Available metrics: {', '.join(near)}." if near else "No metrics are available.")


def _bare(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())
