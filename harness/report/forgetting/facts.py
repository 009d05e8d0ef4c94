"""What the reports on forgetting say, before it is drawn: rows, sentences, and which system to keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.report.comparison import Comparison, MetricComparison, TaskComparison
from harness.report.forgetting.noise import Noise, NoiseOf
from harness.report.items import ItemChange
from harness.report.numbers import NONE, plain, value_text, without_zero_sign
from harness.report.overall import Estimate
from harness.report.systems import system_notes
from harness.stats.bootstrap import Interval
from harness.stats.power import POWER
from harness.stats.verdict import FORGOT_AT, UNRESOLVED, VERDICTS
from harness.stats.verdict import change as turned

LEGEND = "In brackets: 95 % interval of after less before. - + items lost and gained (graded ones: worse and better)."
NOISE_LEGEND = (
    "Noise: the base scored again in other batches; items that flipped, and the largest difference of a log-probability "
    "(of generated texts: of an item's score)."
)
WORSE = "worse"
"""What forgot is called on a target, where nothing can be forgotten."""
_ON_TARGETS = {"forgot": WORSE, "likely forgot": f"likely {WORSE}"}


ROUNDING = 1e-12
"""Smaller changes are left of sums in another order."""


@dataclass(frozen=True, slots=True)
class Row:
    """One headline of one task.

    Attributes:
        first: whether it is the task's first.
        lost, gained: items; where they are graded, those that got worse and better.
        noise: of the task; None where it was not measured.
    """

    task: TaskComparison
    score: MetricComparison
    first: bool
    lost: int | None
    gained: int | None
    noise: Noise | None

    @property
    def verdict(self) -> str:
        """As it is told."""
        return _ON_TARGETS.get(self.score.verdict, self.score.verdict) if self.task.target else self.score.verdict

    @property
    def p(self) -> str:
        """The adjusted p where it alone keeps a loss from being called forgot, as `p 0.0200`; else empty."""
        score = self.score
        return f"p {score.p_holm:.4f}" if score.verdict == "likely forgot" and score.p_holm is not None else ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of items of a task: of one label's value, of one task of a group, or in one wording.

    Attributes:
        by: what tells the kinds apart: a label, "task" or "wording".
        value: which of them this is.
    """

    task: str
    by: str
    value: str
    score: MetricComparison


def rows(comparison: Comparison, noise: NoiseOf | None) -> list[Row]:
    """Every headline, the targets last."""
    found = []
    for task in sorted(comparison.tasks, key=lambda task: task.target):
        counts = Counter("lost" if one.change < 0 else "gained" for one in task.changes)
        measured = (noise or {}).get(task.name)
        for place, score in enumerate(task.headlines):
            graded = score.lost is None and place == 0 and score.reason is None
            lost, gained = (counts["lost"], counts["gained"]) if graded else (score.lost, score.gained)
            found.append(Row(task, score, place == 0, lost, gained, measured))
    return found


def kinds(task: TaskComparison) -> Iterator[Kind]:
    """Every kind of a task's items, by its first headline."""
    for part in task.parts:
        if part.headlines:
            yield Kind(task.name, "task", part.name, part.headlines[0])
    for name, scores in task.wordings.items():
        if scores:
            yield Kind(task.name, "wording", name, scores[0])
    for one in task.slices:
        yield Kind(task.name, one.label, one.value, one.score)


def lost_kinds(tasks: Sequence[TaskComparison]) -> list[Kind]:
    """Kinds of items that lost anything, the largest losses first; losses count in margins, so that units do not matter."""
    found = [kind for task in tasks for kind in kinds(task) if (kind.score.change or 0.0) < -ROUNDING]
    return sorted(found, key=lambda kind: in_margins(kind.score, kind.score.change or 0.0))


def in_margins(score: MetricComparison, value: float) -> float:
    """A change counted in margins; where the margin is 0, in hundredths of the score."""
    scale = score.margin or abs(score.before or 0.0) / 100 or 1.0
    return value / scale


def ends(score: MetricComparison) -> tuple[float, float] | None:
    """The interval of the change, turned so that more is better; None where there is none."""
    if score.low is None or score.high is None:
        return None
    return turned(Interval(score.low, score.high, ""), score.higher_is_better)


def shown_items(tasks: Sequence[TaskComparison], most: int) -> list[tuple[TaskComparison, ItemChange]]:
    """Items that got worse, the worst of each task first, the tasks taking turns so that none hides another.

    Texts that were only scored are left out: their likelihood changed, and there is nothing to read.
    """
    queues = [(task, [one for one in task.changes if one.change < 0 and answered(one)]) for task in tasks]
    queues.sort(key=lambda pair: (VERDICTS.index(pair[0].verdict), -len(pair[1])))
    found: list[tuple[TaskComparison, ItemChange]] = []
    for turn in range(most):
        found += [(task, items[turn]) for task, items in queues if turn < len(items)]
    return found[:most]


def answered(change: ItemChange) -> bool:
    """Whether the item has an answer: a choice or a text of the model's own."""
    return change.before.logprobs is None or isinstance(change.before.prediction, int)


def signed(value: float | None, unit: str) -> str:
    """A difference with its sign, at the precision of its unit; small ones of shares with a digit more."""
    if value is None:
        return NONE
    text = f"{value:.4f}" if unit == "share" and ROUNDING < abs(value) < 0.001 else value_text(value, unit)
    return without_zero_sign(f"+{text}" if value > 0 else text)


def signed_interval(low: float | None, high: float | None, unit: str) -> str:
    """An interval of a difference as `[-0.025, +0.004]`; empty where there is none."""
    return "" if low is None or high is None else f"[{signed(low, unit)}, {signed(high, unit)}]"


def flips(lost: int | None, gained: int | None) -> str:
    """Items lost and gained as `-52 +31`."""
    return "" if lost is None or gained is None else f"-{lost:,} +{gained:,}"


def noise_text(row: Row) -> str:
    """The noise floor of a task as `2 flips, 3e-06`; of graded items `2 changed, 0.04`."""
    noise = row.noise
    if noise is None or not row.first:
        return ""
    graded = row.score.lost is None and noise.flips
    return f"{noise.flips:,} {'changed' if graded else 'flip' if noise.flips == 1 else 'flips'}, {noise.largest:.2g}"


def metric(score: MetricComparison) -> str:
    """The metric's name with an arrow to the better side."""
    return f"{plain(score.metric)} {'↑' if score.higher_is_better else '↓'}"


def undecided(row: Row) -> str | None:
    """Why a verdict is open, what these items could have shown, and how many items would settle it; None where it is not open."""
    score, name = row.score, plain(row.task.name)
    if score.verdict not in UNRESOLVED:
        return None
    if score.reason:
        return f"{name} {plain(score.metric)}: {plain(score.reason)}."
    if score.low is None:
        return f"{name}: {_count(score.items, 'item')} {'is' if score.items == 1 else 'are'} too few for an interval."
    margin = value_text(score.margin, score.unit)
    if score.verdict == "likely forgot":
        needed = score.items_for_change
        more = f"; about {needed:,} items would call this loss so" if needed is not None and needed > score.items else ""
        return f"{name}: lost beyond the margin of {margin}; adjusted {row.p}, the verdict needs {FORGOT_AT}. W{_power(score)[1:]}{more}."
    if score.items_needed is None:
        return f"{name}: {_power(score)}."
    if score.items_needed <= score.items:
        needed = score.items_to_tell(score.margin)
        more = f"; if it stays, about {needed:,} items would" if needed else ""
        return f"{name}: {_power(score)}. This change is too close to the margin of {margin} to tell{more}."
    return f"{name}: {_power(score)}; 'kept' within the margin of {margin} needs about {score.items_needed:,} items."


def _power(score: MetricComparison) -> str:
    """What these items would call forgot."""
    many = _count(score.items, "item")
    if score.detectable_loss is None:
        return f"with {many}, no loss is called forgot with {POWER:.0%} power".replace("%", " %")
    least = value_text(score.detectable_loss, score.unit)
    return f"with {many}, a loss of {least} or more is called forgot with {POWER:.0%} power".replace("%", " %")


def estimate(found: Estimate | None, *, sign: bool = True, gap: str = " ") -> str:
    """A number over several tasks, on a scale from 0 to 1, with its interval behind a gap.

    No interval is shown where all resamples are equal: nothing changed on these items, which is no certainty about others.
    """
    if found is None:
        return NONE
    value = signed(found.value, "share") if sign else value_text(found.value, "share")
    if found.low is None or found.high is None or found.low == found.high:
        return value
    interval = signed_interval(found.low, found.high, "share") if sign else f"[{found.low:.3f}, {found.high:.3f}]"
    return f"{value}{gap}{interval}"


def overall_lines(comparison: Comparison) -> list[tuple[str, str, str]]:
    """The numbers over all tasks: name, value, and what it means."""
    found = comparison.overall
    rest = [task for task in comparison.tasks if not task.target]
    lines = []
    if rest:
        counts = ", ".join(f"{count} {name}" for name, count in found.verdicts.items() if count)
        forgot = f"{found.verdicts['forgot']} of {len(rest)} ({_share(found.share_forgotten)})"
        lines.append(("forgotten", forgot, f"tasks not tuned for: {counts}"))
        lines.append(("mean change", estimate(found.mean_change), "backward transfer; every score on a scale from 0 to 1"))
        lines.append(("mean loss", NONE if found.mean_loss is None else value_text(found.mean_loss, "share"), "gains counted as 0"))
        worst = worst_task(comparison)
        if worst is not None:
            score = worst.headlines[0]
            lines.append(("worst task", plain(worst.name), f"{metric(score)} {signed(score.difference, score.unit)}"))
        over = f", over {found.retention.tasks} of {_count(len(rest), 'task')}" if found.retention else ""
        lines.append(("retention", estimate(found.retention, sign=False), f"of the base's scores above guessing{over}"))
    if any(task.target for task in comparison.tasks):
        lines.append(("target gain", estimate(found.plasticity), "plasticity"))
        if rest and found.plasticity and found.mean_loss is not None:
            traded = f"{signed(found.plasticity.value, 'share')} on the targets for {value_text(found.mean_loss, 'share')} lost elsewhere"
            lines.append(("traded", traded, "plasticity against forgetting"))
    return lines


def retained(comparison: Comparison, gap: str = " ") -> str:
    """Retention, and over how many tasks where some do not count."""
    found, tasks = comparison.overall.retention, sum(comparison.overall.verdicts.values())
    text = estimate(found, sign=False, gap=gap)
    return f"{text}{gap}over {found.tasks} of {tasks}" if found and found.tasks < tasks else text


def worst_task(comparison: Comparison) -> TaskComparison | None:
    """The task with the largest loss; None where no score fell."""
    found = next((task for task in comparison.tasks if task.name == comparison.overall.worst), None)
    return found if found is not None and min(score.change or 0.0 for score in found.headlines) < -ROUNDING else None


def worst_name(comparison: Comparison) -> str:
    """Its name; empty where no score fell."""
    found = worst_task(comparison)
    return plain(found.name) if found else ""


def remarks(comparison: Comparison) -> list[str]:
    """What a reader must know about what was compared."""
    found = list(system_notes([("before", comparison.before), ("after", comparison.after)]))
    for task in comparison.tasks:
        strays = len(task.only_before) + len(task.only_after)
        if strays:
            found.append(f"{plain(task.name)}: {_count(strays, 'item')} that only one result has, left out.")
        if task.prompts_differ:
            told = f"{_count(task.prompts_differ, 'prompt')} of {task.items:,}"
            found.append(f"{plain(task.name)}: {told} differ between the systems (chat template or shortening).")
    found += repeated(comparison)
    if guessed := guessing(comparison):
        found.append(f"{guessed}.")
    for side, names in (("before", comparison.only_before), ("after", comparison.only_after)):
        if names:
            found.append(f"Only {side}, not compared: {', '.join(map(plain, names))}.")
    if comparison.unscored:
        found.append(f"No score in common, not compared: {', '.join(map(plain, comparison.unscored))}.")
    if comparison.overall.left_out:
        found.append(f"Without a bounded scale, in no mean: {', '.join(map(plain, comparison.overall.left_out))}.")
    if comparison.unverified:
        found.append(comparison.unverified)
    return found


def repeated(comparison: Comparison) -> list[str]:
    """Where one system was asked the same twice: that nothing can have changed, or that its responses did."""
    same = [task for task in comparison.tasks if task.repeated and not task.responses_differ]
    told = []
    if same:
        where = "every task" if len(same) == len(comparison.tasks) else ", ".join(plain(task.name) for task in same)
        told.append(f"The same system with the same responses on {where}: nothing can have changed.")
    for task in comparison.tasks:
        if task.repeated and task.responses_differ:
            many = f"{_count(task.responses_differ, 'response')} of {task.items:,}"
            told.append(f"{plain(task.name)}: {many} differ although the system is the same; this is noise, judged like any change.")
    return told


def guessing(comparison: Comparison) -> str | None:
    """On which tasks the base may as well have guessed, so that whatever the verdict it had little to forget; None where on none.

    Targets are left out: there a gain is asked for. So are tasks where it is not known what guessing scores.
    """
    found = [task for task in comparison.tasks if task.chance and task.retention is None and not task.target]
    if not found:
        return None
    named = ", ".join(f"{plain(task.name)} ({value_text(task.chance, task.headlines[0].unit)})" for task in found)
    return f"Not surely above guessing before, so that little could be forgotten: {named}"


def _share(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.0f} %"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"
