"""The report on forgetting in GitHub's Markdown, fit for a pull request: tables first, items folded."""

from __future__ import annotations

import html
from collections.abc import Sequence

from harness.compare import highlights
from harness.compare.comparison import RunComparison, TaskComparison
from harness.compare.items import ItemChange
from harness.compare.noise import NoiseByTask
from harness.compare.selection import choose, names
from harness.report.forgetting import phrases
from harness.report.forgetting.items import ShownItem, shown
from harness.report.markup import escaped, folded, table
from harness.report.texts import Piece, ending
from harness.stats.verdict import UNRESOLVED
from harness.util.text import value_text

_PROMPT = 1_000
_ROOM = 60_000
"""Characters in all: a comment on GitHub may have 65,536. Items that do not fit are left to the JSON."""

_LOUD = ("forgot", highlights.WORSE, "likely forgot", f"likely {highlights.WORSE}", "improved")


def forgetting_markdown(comparisons: Sequence[RunComparison], *, noise: NoiseByTask | None = None, items: int = 10) -> str:
    """What each system changed against the base; with several systems, first which of them to keep.

    Args:
        comparisons: of one base with each system, at least one.
        noise: what scoring the base again in other batches changed.
        items: how many items to show of each task.
    """
    lines: list[str] = []
    if len(comparisons) > 1:
        lines += [f"## Fine-tuned from {escaped(comparisons[0].before.name)}", "", *_summary(comparisons), ""]
    tables = [_comparison(comparison, noise) for comparison in comparisons]
    room = _ROOM - sum(len(line) + 1 for part in tables for line in part)
    for comparison, name, part in zip(comparisons, names(comparisons), tables, strict=True):
        lines += [f"### {escaped(name)} against {escaped(comparison.before.name)}", "", *part]
        for task in comparison.tasks:
            item_lines = _items(task, items, room)
            room -= sum(len(line) + 1 for line in item_lines)
            lines += item_lines
        lines.append("")
    legend = f"{phrases.LEGEND} {phrases.NOISE_LEGEND}" if noise else phrases.LEGEND
    return "\n".join([*lines, f"<sub>{legend}</sub>"]) + "\n"


def _comparison(comparison: RunComparison, noise: NoiseByTask | None) -> list[str]:
    rows = highlights.rows(comparison, noise)
    lines = _table(rows)
    notes = [note for row in rows if (note := phrases.undecided(row))] + phrases.remarks(comparison)
    lines += ["", *(f"- {escaped(note)}" for note in notes)] if notes else []
    overall = [[name, escaped(value), escaped(meaning)] for name, value, meaning in phrases.overall_lines(comparison)]
    lines += ["", *table(["taken together", "", ""], overall, left=3)]
    kinds = [kind for task in comparison.tasks for kind in highlights.item_kinds(task)]
    if kinds:
        lines += ["", *folded(f"Kinds of items ({len(kinds)})", _kinds(kinds))]
    return lines


def _summary(comparisons: Sequence[RunComparison]) -> list[str]:
    rows = []
    for comparison, name in zip(comparisons, names(comparisons), strict=True):
        overall = comparison.overall
        forgot = f"{overall.verdicts['forgot']} of {sum(overall.verdicts.values())}"
        gains = [phrases.estimate(overall.plasticity), phrases.estimate(overall.mean_change)]
        unresolved = [str(overall.verdicts[verdict]) for verdict in UNRESOLVED]
        worst, retention = escaped(phrases.worst_name(comparison)), phrases.retained(comparison)
        rows.append([escaped(name), *map(escaped, gains), forgot, *unresolved, worst, retention])
    lines = table(["system", "target gain", "mean change elsewhere", "forgot", *UNRESOLVED, "worst task", "retention"], rows)
    chosen = choose(comparisons)
    if chosen:
        lines += ["", f"Keep **{escaped(names(comparisons)[chosen.place])}**: {escaped(chosen.reason)}."]
    return lines


def _table(rows: Sequence[highlights.ForgettingRow]) -> list[str]:
    noisy = any(row.noise for row in rows)
    head = ["task", "metric", "verdict", "before", "after", "change", "95 % interval", "- +", "n", *(["noise"] if noisy else [])]
    lines = []
    for row in rows:
        score = row.score
        verdict = f"**{row.verdict}**" if row.verdict in _LOUD else row.verdict
        verdict += f" (adjusted {p})" if (p := phrases.adjusted_p(row)) else ""
        cells = [escaped(row.task.name) + (" (target)" if row.task.target else ""), escaped(phrases.metric(score)), verdict]
        cells += [value_text(score.before, score.unit), value_text(score.after, score.unit), phrases.signed(score.difference, score.unit)]
        cells += [phrases.signed_interval(score.low, score.high, score.unit), phrases.flips(row.lost, row.gained), f"{score.items:,}"]
        lines.append([*cells, *([phrases.noise_text(row)] if noisy else [])])
    return table(head, lines, left=3)


def _kinds(kinds: Sequence[highlights.ItemKind]) -> list[str]:
    rows = []
    for kind in kinds:
        score = kind.score
        cells = [escaped(kind.task), escaped(kind.by), escaped(kind.value), score.verdict]
        cells += [value_text(score.before, score.unit), value_text(score.after, score.unit), phrases.signed(score.difference, score.unit)]
        cells += [phrases.signed_interval(score.low, score.high, score.unit), phrases.flips(score.lost, score.gained), f"{score.items:,}"]
        rows.append(cells)
    return table(["task", "by", "kind", "verdict", "before", "after", "change", "95 % interval", "- +", "n"], rows, left=4)


def _items(task: TaskComparison, most: int, room: int) -> list[str]:
    """The items of a task that got worse, folded, as many as there is room for."""
    worse = [item for item in task.changes if item.change < 0 and highlights.has_answer(item)]
    lines: list[str] = []
    shown_items = 0
    for change in worse[:most]:
        item_lines = _item(task, change)
        room -= sum(len(line) + 1 for line in item_lines)
        if room < 0:
            break
        lines += item_lines
        shown_items += 1
    if not shown_items:
        return []
    many = f"{len(worse)} items" if len(worse) > 1 else "1 item"
    left = f", the worst {shown_items} shown" if shown_items < len(worse) else ""
    return ["", *folded(f"{html.escape(task.name)}: {many} got worse{left}", lines)]


def _item(task: TaskComparison, change: ItemChange) -> list[str]:
    """One item in an HTML block, where GitHub reads neither Markdown nor names."""
    return [f"<pre>{_whole(shown(task, change))}</pre>", ""]


def _whole(item: ShownItem) -> str:
    parts = [f"<b>{html.escape(item.title)}</b>", f"<b>prompt</b>  {html.escape(ending(item.prompt, _PROMPT))}"]
    parts += [f"<b>before</b>  {_pieces(item.before, 'del')}", f"<b>after</b>   {_pieces(item.after, 'ins')}"]
    return "\n".join([*parts, f"<b>correct</b> {html.escape(item.reference)}"])


def _pieces(pieces: Sequence[Piece], tag: str) -> str:
    marked = [
        f"<{tag}>{html.escape(piece.text)}</{tag}>" if piece.differs and piece.text.strip() else html.escape(piece.text) for piece in pieces
    ]
    return "".join(marked) or "(nothing)"
