"""How the reports on forgetting phrase a comparison: numbers, sentences and legends."""

from __future__ import annotations

from harness.compare.comparability import system_notes
from harness.compare.comparison import MetricComparison, RunComparison
from harness.compare.highlights import ROUNDING, ForgettingRow, guessed_tasks, worst_task
from harness.compare.overall import Estimate
from harness.stats.power import POWER
from harness.stats.verdict import FORGOT_AT, UNRESOLVED
from harness.util.text import NONE, plain, value_text, without_zero_sign

LEGEND = "In brackets: 95 % interval of after less before. - + items lost and gained (graded items: worse and better)."
NOISE_LEGEND = (
    "Noise: the base scored again in other batches; items that flipped, and the largest difference of a log-probability "
    "(of generated texts: of an item's score)."
)


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


def noise_text(row: ForgettingRow) -> str:
    """The noise floor of a task as `2 flips, 3e-06`; of graded items `2 changed, 0.04`."""
    noise = row.noise
    if noise is None or not row.first:
        return ""
    graded = row.score.lost is None and noise.flips
    return f"{noise.flips:,} {'changed' if graded else 'flip' if noise.flips == 1 else 'flips'}, {noise.largest:.2g}"


def metric(score: MetricComparison) -> str:
    """The metric's name with an arrow to the better side."""
    return f"{plain(score.metric)} {'↑' if score.higher_is_better else '↓'}"


def adjusted_p(row: ForgettingRow) -> str:
    """The adjusted p where it alone keeps a loss from being called forgot, as `p 0.0200`; else empty."""
    score = row.score
    return f"p {score.p_holm:.4f}" if score.verdict == "likely forgot" and score.p_holm is not None else ""


def undecided(row: ForgettingRow) -> str | None:
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
        needs = f"the adjusted p is {score.p_holm:.4f}, and the verdict forgot needs {FORGOT_AT} or less"
        needed = score.items_for_change
        more = f"; this loss would be called forgot with about {needed:,} items" if needed is not None and needed > score.items else ""
        return f"{name}: lost beyond the margin of {margin}; {needs}. W{_power(score)[1:]}{more}."
    if score.items_needed is None:
        return f"{name}: {_power(score)}."
    if score.items_needed <= score.items:
        needed = score.items_to_resolve(score.margin)
        more = f"; if it stays, a verdict needs about {needed:,} items" if needed else ""
        return f"{name}: {_power(score)}. This change is too close to the margin of {margin} for a verdict{more}."
    return f"{name}: {_power(score)}; 'retained' within the margin of {margin} needs about {score.items_needed:,} items."


def _power(score: MetricComparison) -> str:
    """What these items would call forgot."""
    many = _count(score.items, "item")
    if score.detectable_loss is None:
        return f"with {many}, no loss is called forgot with {POWER:.0%} power".replace("%", " %")
    least = value_text(score.detectable_loss, score.unit)
    return f"with {many}, a loss of {least} or more is called forgot with {POWER:.0%} power".replace("%", " %")


def estimate(number: Estimate | None, *, sign: bool = True, gap: str = " ") -> str:
    """A number over several tasks, on a scale from 0 to 1, with its interval behind a gap.

    No interval is shown where all resamples are equal: nothing changed on these items, but other items may change.
    """
    if number is None:
        return NONE
    value = signed(number.value, "share") if sign else value_text(number.value, "share")
    if number.low is None or number.high is None or number.low == number.high:
        return value
    interval = signed_interval(number.low, number.high, "share") if sign else f"[{number.low:.3f}, {number.high:.3f}]"
    return f"{value}{gap}{interval}"


def overall_lines(comparison: RunComparison) -> list[tuple[str, str, str]]:
    """The numbers over all tasks: name, value, and what it means."""
    overall = comparison.overall
    rest = [task for task in comparison.tasks if not task.target]
    lines = []
    if rest:
        counts = ", ".join(f"{count} {name}" for name, count in overall.verdicts.items() if count)
        forgot = f"{overall.verdicts['forgot']} of {len(rest)} ({_share(overall.share_forgotten)})"
        lines.append(("forgotten", forgot, f"of the tasks that are not targets: {counts}"))
        lines.append(("mean change", estimate(overall.mean_change), "backward transfer; every score on a scale from 0 to 1"))
        lines.append(("mean loss", NONE if overall.mean_loss is None else value_text(overall.mean_loss, "share"), "gains counted as 0"))
        worst = worst_task(comparison)
        if worst is not None:
            score = worst.headlines[0]
            lines.append(("worst task", plain(worst.name), f"{metric(score)} {signed(score.difference, score.unit)}"))
        over = f", over {overall.retention.tasks} of {_count(len(rest), 'task')}" if overall.retention else ""
        lines.append(("retention", estimate(overall.retention, sign=False), f"of the base's scores above guessing{over}"))
    if any(task.target for task in comparison.tasks):
        lines.append(("target gain", estimate(overall.plasticity), "plasticity"))
        if rest and overall.plasticity and overall.mean_loss is not None:
            gain, loss = signed(overall.plasticity.value, "share"), value_text(overall.mean_loss, "share")
            lines.append(("traded", f"{gain} on the targets for {loss} lost elsewhere", "plasticity against forgetting"))
    return lines


def retained(comparison: RunComparison, gap: str = " ") -> str:
    """Retention, and over how many tasks where some do not count."""
    retention, tasks = comparison.overall.retention, sum(comparison.overall.verdicts.values())
    text = estimate(retention, sign=False, gap=gap)
    return f"{text}{gap}over {retention.tasks} of {tasks}" if retention and retention.tasks < tasks else text


def worst_name(comparison: RunComparison) -> str:
    """The name of the task with the largest loss; empty where no score fell."""
    worst = worst_task(comparison)
    return plain(worst.name) if worst else ""


def remarks(comparison: RunComparison) -> list[str]:
    """What a reader must know about what was compared, a sentence each."""
    sentences = list(system_notes([("before", comparison.before), ("after", comparison.after)]))
    for task in comparison.tasks:
        unpaired = len(task.only_before) + len(task.only_after)
        if unpaired:
            sentences.append(f"{plain(task.name)}: left out {_count(unpaired, 'item')} that only one of the results has.")
        if task.prompts_differ:
            many = f"{_count(task.prompts_differ, 'prompt')} of {task.items:,}"
            sentences.append(f"{plain(task.name)}: {many} differ between the systems (chat template or shortening).")
    sentences += repeated(comparison)
    if guessed := guessing(comparison):
        sentences.append(f"{guessed}.")
    for side, names in (("before", comparison.only_before), ("after", comparison.only_after)):
        if names:
            sentences.append(f"Only in the results {side}, not compared: {', '.join(map(plain, names))}.")
    if comparison.unscored:
        sentences.append(f"No score in common, not compared: {', '.join(map(plain, comparison.unscored))}.")
    if comparison.overall.left_out:
        sentences.append(f"Not in any mean, because the scale has no bound: {', '.join(map(plain, comparison.overall.left_out))}.")
    if comparison.unverified:
        sentences.append(comparison.unverified)
    return sentences


def repeated(comparison: RunComparison) -> list[str]:
    """Where both results are of one system on the same prompts: that nothing can have changed, or that its responses did."""
    same = [task for task in comparison.tasks if task.repeated and not task.responses_differ]
    sentences = []
    if same:
        where = "every task" if len(same) == len(comparison.tasks) else ", ".join(plain(task.name) for task in same)
        sentences.append(f"The same system with the same responses on {where}: nothing can have changed.")
    for task in comparison.tasks:
        if task.repeated and task.responses_differ:
            many = f"{_count(task.responses_differ, 'response')} of {task.items:,}"
            sentences.append(f"{plain(task.name)}: {many} differ although the system is the same; this is noise, tested like any change.")
    return sentences


def guessing(comparison: RunComparison) -> str | None:
    """On which tasks the base may as well have guessed, so that whatever the verdict it had little to forget; None where on none."""
    tasks = guessed_tasks(comparison)
    if not tasks:
        return None
    named = ", ".join(f"{plain(task.name)} ({value_text(task.chance, task.headlines[0].unit)})" for task in tasks)
    return f"Not significantly above guessing before, so there was little to forget: {named}"


def _share(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.0f} %"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"
