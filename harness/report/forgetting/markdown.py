"""The report on forgetting in GitHub's Markdown, fit for a pull request: tables first, items folded."""

from __future__ import annotations

import html
from collections.abc import Sequence

from harness.compare.comparison import Comparison, TaskComparison
from harness.compare.items import ItemChange
from harness.compare.noise import NoiseOf
from harness.compare.selection import choose, names
from harness.report.forgetting import facts
from harness.report.forgetting.items import Shown, shown
from harness.report.markdown import escaped, folded, table
from harness.report.texts import Piece, ending
from harness.stats.verdict import UNRESOLVED
from harness.util.text import value_text

_PROMPT = 1_000
_ROOM = 60_000
"""Characters in all: a comment on GitHub may have 65,536. Items that do not fit are left to the JSON."""

_LOUD = ("forgot", facts.WORSE, "likely forgot", f"likely {facts.WORSE}", "improved")


def forgetting_markdown(comparisons: Sequence[Comparison], *, noise: NoiseOf | None = None, items: int = 10) -> str:
    """What each system changed against the base; with several, first which one to keep.

    Args:
        comparisons: of one base with each system, at least one.
        noise: what scoring the base again in other batches changed.
        items: how many items a task.
    """
    lines: list[str] = []
    if len(comparisons) > 1:
        lines += [f"## Tuned from {escaped(comparisons[0].before.name)}", "", *_summary(comparisons), ""]
    tables = [_one(comparison, noise) for comparison in comparisons]
    room = _ROOM - sum(len(line) + 1 for part in tables for line in part)
    for comparison, name, part in zip(comparisons, names(comparisons), tables, strict=True):
        lines += [f"### {escaped(name)} against {escaped(comparison.before.name)}", "", *part]
        for task in comparison.tasks:
            own = _items(task, items, room)
            room -= sum(len(line) + 1 for line in own)
            lines += own
        lines.append("")
    legend = f"{facts.LEGEND} {facts.NOISE_LEGEND}" if noise else facts.LEGEND
    return "\n".join([*lines, f"<sub>{legend}</sub>"]) + "\n"


def _one(comparison: Comparison, noise: NoiseOf | None) -> list[str]:
    rows = facts.rows(comparison, noise)
    lines = _table(rows)
    notes = [note for row in rows if (note := facts.undecided(row))] + facts.remarks(comparison)
    lines += ["", *(f"- {escaped(note)}" for note in notes)] if notes else []
    overall = [[name, escaped(value), escaped(meaning)] for name, value, meaning in facts.overall_lines(comparison)]
    lines += ["", *table(["taken together", "", ""], overall, left=3)]
    kinds = [kind for task in comparison.tasks for kind in facts.kinds(task)]
    if kinds:
        lines += ["", *folded(f"Kinds of items ({len(kinds)})", _kinds(kinds))]
    return lines


def _summary(comparisons: Sequence[Comparison]) -> list[str]:
    found = []
    for one, name in zip(comparisons, names(comparisons), strict=True):
        over = one.overall
        forgot = f"{over.verdicts['forgot']} of {sum(over.verdicts.values())}"
        gains = [facts.estimate(over.plasticity), facts.estimate(over.mean_change)]
        open_ = [str(over.verdicts[name]) for name in UNRESOLVED]
        found.append([escaped(name), *map(escaped, gains), forgot, *open_, escaped(facts.worst_name(one)), facts.retained(one)])
    lines = table(["system", "target gain", "mean change elsewhere", "forgot", *UNRESOLVED, "worst task", "retention"], found)
    chosen = choose(comparisons)
    if chosen:
        lines += ["", f"Keep **{escaped(names(comparisons)[chosen.place])}**: {escaped(chosen.reason)}."]
    return lines


def _table(rows: Sequence[facts.ForgettingRow]) -> list[str]:
    noisy = any(row.noise for row in rows)
    head = ["task", "metric", "verdict", "before", "after", "change", "95 % interval", "- +", "n", *(["noise"] if noisy else [])]
    found = []
    for row in rows:
        score = row.score
        verdict = f"**{row.verdict}**" if row.verdict in _LOUD else row.verdict
        verdict += f" (adjusted {row.p})" if row.p else ""
        cells = [escaped(row.task.name) + (" (target)" if row.task.target else ""), escaped(facts.metric(score)), verdict]
        cells += [value_text(score.before, score.unit), value_text(score.after, score.unit), facts.signed(score.difference, score.unit)]
        cells += [facts.signed_interval(score.low, score.high, score.unit), facts.flips(row.lost, row.gained), f"{score.items:,}"]
        found.append([*cells, *([facts.noise_text(row)] if noisy else [])])
    return table(head, found, left=3)


def _kinds(kinds: Sequence[facts.Kind]) -> list[str]:
    found = []
    for kind in kinds:
        score = kind.score
        cells = [escaped(kind.task), escaped(kind.by), escaped(kind.value), score.verdict]
        cells += [value_text(score.before, score.unit), value_text(score.after, score.unit), facts.signed(score.difference, score.unit)]
        cells += [facts.signed_interval(score.low, score.high, score.unit), facts.flips(score.lost, score.gained), f"{score.items:,}"]
        found.append(cells)
    return table(["task", "by", "kind", "verdict", "before", "after", "change", "95 % interval", "- +", "n"], found, left=4)


def _items(task: TaskComparison, most: int, room: int) -> list[str]:
    """The items of a task that got worse, folded, as many as there is room for."""
    worse = [one for one in task.changes if one.change < 0 and facts.answered(one)]
    lines: list[str] = []
    shown_items = 0
    for change in worse[:most]:
        own = _item(task, change)
        room -= sum(len(line) + 1 for line in own)
        if room < 0:
            break
        lines += own
        shown_items += 1
    if not shown_items:
        return []
    many = f"{len(worse)} items" if len(worse) > 1 else "1 item"
    left = f", the worst {shown_items} shown" if shown_items < len(worse) else ""
    return ["", *folded(f"{html.escape(task.name)}: {many} got worse{left}", lines)]


def _item(task: TaskComparison, change: ItemChange) -> list[str]:
    """One item in an HTML block, where GitHub reads neither Markdown nor names."""
    one = shown(task, change)
    return [f"<pre>{_whole(one)}</pre>", ""]


def _whole(one: Shown) -> str:
    parts = [f"<b>{html.escape(one.title)}</b>", f"<b>prompt</b>  {html.escape(ending(one.prompt, _PROMPT))}"]
    parts += [f"<b>before</b>  {_pieces(one.before, 'del')}", f"<b>after</b>   {_pieces(one.after, 'ins')}"]
    return "\n".join([*parts, f"<b>right</b>   {html.escape(one.reference)}"])


def _pieces(pieces: Sequence[Piece], tag: str) -> str:
    marked = [
        f"<{tag}>{html.escape(piece.text)}</{tag}>" if piece.own and piece.text.strip() else html.escape(piece.text) for piece in pieces
    ]
    return "".join(marked) or "(nothing)"
