"""The report on forgetting as a page: a base against its fine-tuned candidates, down to single responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from harness.compare import selection
from harness.compare.comparability import system_notes
from harness.compare.comparison import MetricComparison, RunComparison, TaskComparison
from harness.compare.overall import Estimate, Overall
from harness.errors import InputError
from harness.report.forgetting import phrases
from harness.report.html.flips import BUDGET, LONGEST, flips, leaves
from harness.report.html.measures import SCRIPTS, STYLES
from harness.report.html.page import number, render
from harness.report.html.systems import described
from harness.stats.verdict import FORGOT_AT, IMPROVED_AT
from harness.util.text import bytes_text, plain

Json = dict[str, Any]
Noise: TypeAlias = Mapping[str, tuple[int, float]]
"""By task, what scoring the base again changed: items that flipped, and the largest difference of a log-probability or an item's score."""

Kind = Literal["headline", "other", "part", "template", "slice"]


def forgetting_page(
    comparisons: Sequence[RunComparison], *, noise: Noise | None = None, budget: int = BUDGET, measures: Json | None = None
) -> str:
    """The page.

    Args:
        comparisons: one base against each candidate.
        noise: what scoring the base again changed, where that was measured.
        budget: bytes that the changed items may take.
        measures: the section of measures (`measures.of_comparisons`), where more than accuracy was measured.

    Raises:
        InputError: there is no comparison, or they have different bases.
    """
    if len({comparison.before.digest for comparison in comparisons}) != 1:
        what = "The comparisons of a page have different bases" if comparisons else "There are no comparisons for a page"
        raise InputError(f"{what}.", "Compare every candidate with the same base.")
    base = comparisons[0].before
    names = _names(comparisons)
    chosen = flips(comparisons, budget)
    data = {
        "base": described(base),
        "forgotAt": FORGOT_AT,
        "candidates": [_candidate(comparison, name) for comparison, name in zip(comparisons, names, strict=True)],
        "scores": [score for place, comparison in enumerate(comparisons) for score in _scores(place, comparison)],
        "noise": {plain(task): [flipped, number(largest)] for task, (flipped, largest) in (noise or {}).items()},
        "samples": chosen.samples,
        "changes": chosen.changes,
        "measures": measures and measures | {"systems": [plain(base.name), *names]},
    }
    return render(
        "forgetting",
        data,
        scripts=("forest", "difference", "item", "items", "candidates", "scores", "scatter", *SCRIPTS, "forgetting"),
        vendors=("d3", "diff"),
        styles=("table", "forest", "items", "scatter", *STYLES),
        measures=measures,
        base=plain(base.name),
        names=names,
        advice=_advice(comparisons, names),
        comparisons=comparisons,
        shown=len(chosen.changes),
        total=chosen.total,
        shortened=chosen.shortened,
        budget=bytes_text(budget),
        longest=LONGEST,
        noise=noise,
        levels=(FORGOT_AT, IMPROVED_AT),
        differing=_differing(comparisons, names),
    )


def _names(comparisons: Sequence[RunComparison]) -> list[str]:
    """The candidates' names; where a system occurs twice, the later ones are numbered."""
    names = selection.names(comparisons)
    seen = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if times == 1 else f"{name} ({times})" for name, times in zip(names, seen, strict=True)]


def _advice(comparisons: Sequence[RunComparison], names: Sequence[str]) -> tuple[str, str] | None:
    """Which candidate to keep, and why."""
    chosen = selection.choose(comparisons)
    return (names[chosen.place], chosen.reason) if chosen else None


def _candidate(comparison: RunComparison, name: str) -> Json:
    return {
        "name": name,
        "system": described(comparison.after),
        "overall": _overall(comparison.overall),
        "changed": sum(len(task.changes) for task in leaves(comparison.tasks)),
        "targets": [plain(task.name) for task in comparison.tasks if task.target],
    }


def _overall(overall: Overall) -> Json:
    return {
        "verdict": overall.verdict,
        "verdicts": dict(overall.verdicts),
        "meanChange": _estimate(overall.mean_change),
        "meanLoss": number(overall.mean_loss),
        "worst": plain(overall.worst) if overall.worst else None,
        "retention": _estimate(overall.retention),
        "retentionTasks": overall.retention.tasks if overall.retention else 0,
        "plasticity": _estimate(overall.plasticity),
    }


def _estimate(estimate: Estimate | None) -> list[float | int | None] | None:
    return None if estimate is None else [number(estimate.value), number(estimate.low), number(estimate.high)]


def _scores(candidate: int, comparison: RunComparison) -> Iterator[Json]:
    for task in comparison.tasks:
        yield from _of_task(candidate, task, None)
        for part in task.parts:
            yield from _of_task(candidate, part, task.name)


def _of_task(candidate: int, task: TaskComparison, parent: str | None) -> Iterator[Json]:
    for score in task.scores.values():
        kind: Kind = "part" if parent is not None and score.headline else "headline" if score.headline else "other"
        yield _score(candidate, task, score, kind, parent=parent)
    for variant, scores in task.template_variants.items():
        for score in scores:
            yield _score(candidate, task, score, "template", parent=parent, where=variant)
    for part in task.slices:
        yield _score(candidate, task, part.score, "slice", parent=parent, where=f"{part.label} = {part.value}")


def _score(candidate: int, task: TaskComparison, score: MetricComparison, kind: Kind, *, parent: str | None, where: str = "") -> Json:
    low, high = (score.low, score.high) if score.higher_is_better else (_turned(score.high), _turned(score.low))
    return {
        "candidate": candidate,
        "task": plain(task.name),
        "title": plain(task.title),
        "parent": plain(parent) if parent else None,
        "kind": kind,
        "where": plain(where),
        "target": task.target,
        "metric": plain(score.metric),
        "unit": score.unit,
        "higher": score.higher_is_better,
        "items": score.items,
        "rows": score.rows,
        "resampled": score.resampled,
        "before": number(score.before),
        "after": number(score.after),
        "change": number(score.change),
        "low": number(low),
        "high": number(high),
        "method": score.method,
        "margin": number(score.margin),
        "verdict": score.verdict,
        "test": score.test,
        "p": number(score.p),
        "holm": number(score.p_holm),
        "bh": number(score.p_bh),
        "effect": score.effect,
        "effectSize": number(score.effect_size),
        "lost": score.lost,
        "gained": score.gained,
        "odds": number(score.odds_ratio),
        "detectable": number(score.detectable_loss),
        "needed": score.items_needed,
        "neededForLoss": score.items_for_loss,
        "retention": number(task.retention) if kind in ("headline", "part") else None,
        "reason": plain(score.reason) if score.reason else None,
    }


def _turned(value: float | None) -> float | None:
    return None if value is None else -value


def _differing(comparisons: Sequence[RunComparison], names: Sequence[str]) -> list[str]:
    """How the two sides of a comparison differ, and what the base could not lose; one sentence each."""
    notes: dict[str, list[str]] = {}
    for comparison, name in zip(comparisons, names, strict=True):
        for note in _of_sides(comparison):
            notes.setdefault(note, []).append(name)
    if len(names) == 1:
        return list(notes)
    return [f"{note} ({'all candidates' if len(own) == len(names) else ', '.join(own)})" for note, own in notes.items()]


def _of_sides(comparison: RunComparison) -> Iterator[str]:
    yield from system_notes([("the base", comparison.before), ("the candidate", comparison.after)])
    for tasks, side in ((comparison.only_before, "the base"), (comparison.only_after, "the candidate")):
        if tasks:
            yield f"Only {side} was scored on {', '.join(map(plain, tasks))}; not compared"
    for task in leaves(comparison.tasks):
        unpaired = len(task.only_before) + len(task.only_after)
        if unpaired:
            yield f"{plain(task.name)}: {unpaired:,} items that only one of the results has are left out"
        if task.prompts_differ:
            yield f"{plain(task.name)}: {task.prompts_differ:,} items have different prompts in the two results (chat template, shortening)"
    yield from (sentence.removesuffix(".") for sentence in phrases.repeated(comparison))
    if guessed := phrases.guessing(comparison):
        yield guessed
    if comparison.unscored:
        yield f"No score in common, not compared: {', '.join(map(plain, comparison.unscored))}"
    if comparison.overall.left_out:
        yield f"Not in any mean, because the scale has no bound: {', '.join(map(plain, comparison.overall.left_out))}"
    if comparison.unverified:
        yield comparison.unverified.removesuffix(".")
