"""What tuning forgot, as a page: one base against one or several candidates, down to the single answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from harness.compare import selection
from harness.compare.comparability import system_notes
from harness.compare.comparison import Comparison, MetricComparison, TaskComparison
from harness.compare.overall import Estimate, Overall
from harness.errors import InputError
from harness.report.forgetting import facts
from harness.report.html.flips import BUDGET, LONGEST, flips, leaves
from harness.report.html.measures import SCRIPTS, STYLES
from harness.report.html.page import number, render
from harness.report.html.systems import described
from harness.stats.verdict import FORGOT_AT, IMPROVED_AT
from harness.util.text import bytes_text, plain

Json = dict[str, Any]
Noise: TypeAlias = Mapping[str, tuple[int, float]]
"""By task, of the base scored twice: items that flipped, and the largest difference of a log-probability or of an item's score."""

Kind = Literal["headline", "other", "part", "template", "slice"]


def forgetting_page(
    comparisons: Sequence[Comparison], *, noise: Noise | None = None, budget: int = BUDGET, measures: Json | None = None
) -> str:
    """The page.

    Args:
        comparisons: one base against each candidate.
        noise: what moved when the base was run twice, where that was measured.
        budget: bytes that the changed items may take.
        measures: the section of measures (`measures.of_comparisons`), where more than accuracy was measured.

    Raises:
        InputError: there is no comparison, or they have different bases.
    """
    if len({comparison.before.digest for comparison in comparisons}) != 1:
        what = "have different bases" if comparisons else "are none"
        raise InputError(f"The comparisons for one page {what}.", "Compare every candidate with one base.")
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


def _names(comparisons: Sequence[Comparison]) -> list[str]:
    """The candidates' names; where a system occurs twice, the later ones are numbered."""
    found = selection.names(comparisons)
    seen = [found[: place + 1].count(name) for place, name in enumerate(found)]
    return [name if times == 1 else f"{name} ({times})" for name, times in zip(found, seen, strict=True)]


def _advice(comparisons: Sequence[Comparison], names: Sequence[str]) -> tuple[str, str] | None:
    """Which candidate to keep, and why."""
    chosen = selection.choose(comparisons)
    return (names[chosen.place], chosen.reason) if chosen else None


def _candidate(comparison: Comparison, name: str) -> Json:
    return {
        "name": name,
        "system": described(comparison.after),
        "overall": _overall(comparison.overall),
        "changed": sum(len(task.changes) for task in leaves(comparison.tasks)),
        "targets": [plain(task.name) for task in comparison.tasks if task.target],
    }


def _overall(found: Overall) -> Json:
    return {
        "verdict": found.verdict,
        "verdicts": dict(found.verdicts),
        "meanChange": _estimate(found.mean_change),
        "meanLoss": number(found.mean_loss),
        "worst": plain(found.worst) if found.worst else None,
        "retention": _estimate(found.retention),
        "retentionTasks": found.retention.tasks if found.retention else 0,
        "plasticity": _estimate(found.plasticity),
    }


def _estimate(one: Estimate | None) -> list[float | int | None] | None:
    return None if one is None else [number(one.value), number(one.low), number(one.high)]


def _scores(candidate: int, comparison: Comparison) -> Iterator[Json]:
    for task in comparison.tasks:
        yield from _of_task(candidate, task, None)
        for part in task.parts:
            yield from _of_task(candidate, part, task.name)


def _of_task(candidate: int, task: TaskComparison, parent: str | None) -> Iterator[Json]:
    for score in task.scores.values():
        kind: Kind = "part" if parent is not None and score.headline else "headline" if score.headline else "other"
        yield _score(candidate, task, score, kind, parent=parent)
    for variant, own in task.template_variants.items():
        for score in own:
            yield _score(candidate, task, score, "template", parent=parent, where=variant)
    for part in task.slices:
        yield _score(candidate, task, part.score, "slice", parent=parent, where=f"{part.label} = {part.value}")


def _score(candidate: int, task: TaskComparison, one: MetricComparison, kind: Kind, *, parent: str | None, where: str = "") -> Json:
    low, high = (one.low, one.high) if one.higher_is_better else (_turned(one.high), _turned(one.low))
    return {
        "candidate": candidate,
        "task": plain(task.name),
        "title": plain(task.title),
        "parent": plain(parent) if parent else None,
        "kind": kind,
        "where": plain(where),
        "target": task.target,
        "metric": plain(one.metric),
        "unit": one.unit,
        "higher": one.higher_is_better,
        "items": one.items,
        "rows": one.rows,
        "resampled": one.resampled,
        "before": number(one.before),
        "after": number(one.after),
        "change": number(one.change),
        "low": number(low),
        "high": number(high),
        "method": one.method,
        "margin": number(one.margin),
        "verdict": one.verdict,
        "test": one.test,
        "p": number(one.p),
        "holm": number(one.p_holm),
        "bh": number(one.p_bh),
        "effect": one.effect,
        "effectSize": number(one.effect_size),
        "lost": one.lost,
        "gained": one.gained,
        "odds": number(one.odds_ratio),
        "detectable": number(one.detectable_loss),
        "needed": one.items_needed,
        "neededForLoss": one.items_for_loss,
        "retention": number(task.retention) if kind in ("headline", "part") else None,
        "reason": plain(one.reason) if one.reason else None,
    }


def _turned(value: float | None) -> float | None:
    return None if value is None else -value


def _differing(comparisons: Sequence[Comparison], names: Sequence[str]) -> list[str]:
    """What the two sides of a comparison do not share, and what the base could not lose, one sentence each."""
    notes: dict[str, list[str]] = {}
    for comparison, name in zip(comparisons, names, strict=True):
        for note in _of_sides(comparison):
            notes.setdefault(note, []).append(name)
    if len(names) == 1:
        return list(notes)
    return [f"{note} ({'all candidates' if len(own) == len(names) else ', '.join(own)})" for note, own in notes.items()]


def _of_sides(comparison: Comparison) -> Iterator[str]:
    yield from system_notes([("the base", comparison.before), ("the candidate", comparison.after)])
    for tasks, side in ((comparison.only_before, "the base"), (comparison.only_after, "the candidate")):
        if tasks:
            yield f"Only {side} was run on {', '.join(map(plain, tasks))}; left out here"
    for task in leaves(comparison.tasks):
        lonely = len(task.only_before) + len(task.only_after)
        if lonely:
            yield f"{plain(task.name)}: {lonely:,} items that only one side has are left out"
        if task.prompts_differ:
            yield f"{plain(task.name)}: {task.prompts_differ:,} items were read in different words (chat template or shortening)"
    yield from (told.removesuffix(".") for told in facts.repeated(comparison))
    if guessed := facts.guessing(comparison):
        yield guessed
    if comparison.unscored:
        yield f"No score in common, left out here: {', '.join(map(plain, comparison.unscored))}"
    if comparison.overall.left_out:
        yield f"In no mean, having no bounded scale: {', '.join(map(plain, comparison.overall.left_out))}"
    if comparison.unverified:
        yield comparison.unverified.removesuffix(".")
