"""The report on forgetting for people at a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.compare.comparison import Comparison, TaskComparison
from harness.compare.items import ItemChange
from harness.compare.noise import NoiseOf
from harness.compare.selection import choose, names
from harness.report.forgetting import facts
from harness.report.forgetting.bars import bar, reach
from harness.report.forgetting.items import Shown, shown
from harness.report.texts import Piece, beginning, ending
from harness.util.text import plain, value_text

STYLES = {
    "forgot": "bold red",
    facts.WORSE: "red",
    "likely forgot": "red",
    f"likely {facts.WORSE}": "red",
    "inconclusive": "yellow",
    "improved": "green",
}
_WIDE = 124
_ROOMY = 98
_NOISE = 14
_BAR, _SHORT_BAR = 25, 17
_FEW_KINDS, _FEW_ITEMS = 5, 2
_PROMPT, _ANSWER = 300, 400


def forgetting_view(
    comparisons: Sequence[Comparison], width: int, *, noise: NoiseOf | None = None, details: bool = False, items: int = 10
) -> RenderableType:
    """What each system changed against the base; with several, first which one to keep.

    Args:
        comparisons: of one base with each system, at least one.
        width: characters in a line.
        noise: what scoring the base again in other batches changed.
        details: also all other scores, every kind of items, and more items.
        items: how many items a task, with `details`.
    """
    parts: list[RenderableType] = []
    if len(comparisons) > 1:
        parts += [_summary(comparisons, width), Text()]
    for comparison, name in zip(comparisons, names(comparisons), strict=True):
        parts += [Text.assemble((name, "bold"), (f" against {plain(comparison.before.name)}", "dim"))]
        parts += _one(comparison, width, noise, details, items, brief=len(comparisons) > 1 and not details)
        parts.append(Text())
    legend = [facts.LEGEND]
    if width >= _ROOMY:
        legend.append("Bars count in margins, right is better: │ no change, ┊ the margin.")
    if noise:
        legend.append(facts.NOISE_LEGEND)
    return Group(*parts, Text(" ".join(legend), style="dim"))


def _one(comparison: Comparison, width: int, noise: NoiseOf | None, details: bool, items: int, *, brief: bool) -> list[RenderableType]:
    rows = facts.rows(comparison, noise)
    parts: list[RenderableType] = [_table(rows, width)]
    notes = [note for row in rows if (note := facts.undecided(row))] + facts.remarks(comparison)
    parts += [Text(note, style="dim") for note in notes]
    if brief:
        return parts
    parts += [Text(), _overall(comparison)]
    rest = [task for task in comparison.tasks if not task.target]
    kinds = facts.lost_kinds(rest)
    if details:
        parts += [Text(), _others(comparison)] if any(len(task.scores) > len(task.headlines) for task in comparison.tasks) else []
        kinds = [kind for task in comparison.tasks for kind in facts.kinds(task)]
    if kinds:
        title = "Every kind of items" if details else "Kinds of items that lost most"
        parts += [Text(), _kinds(kinds if details else kinds[:_FEW_KINDS], title)]
    chosen = facts.shown_items(rest, items * len(rest) if details else _FEW_ITEMS)
    if chosen:
        parts += [Text(), Text("Items that got worse" if details else f"{len(chosen)} of the items that got worse", style="bold")]
        parts += [part for task, change in chosen for part in _item(task, change, details)]
    return parts


def _summary(comparisons: Sequence[Comparison], width: int) -> RenderableType:
    """One line a system: what it gained, what it forgot."""
    base = comparisons[0].before.name
    table = _grid(Text(f"Tuned from {plain(base)}", style="bold"))
    roomy = width >= 100
    table.add_column("system", overflow="fold", min_width=12)
    for heading in ("target gain", "mean change\nelsewhere", "forgot", *(["likely\nforgot"] if roomy else []), "cannot\ntell"):
        table.add_column(heading, justify="right", no_wrap=True)
    if roomy:
        table.add_column("worst task", overflow="fold")
    table.add_column("retention", justify="right", no_wrap=True)
    chosen, gap = choose(comparisons), " " if width >= _WIDE else "\n"
    for place, (one, name) in enumerate(zip(comparisons, names(comparisons), strict=True)):
        found = one.overall
        forgot, likely, tasks = found.verdicts["forgot"], found.verdicts["likely forgot"], sum(found.verdicts.values())
        forgotten, open_ = Text(f"{forgot} of {tasks}", style=STYLES["forgot"] if forgot else ""), STYLES["likely forgot"] if likely else ""
        if likely and not roomy:
            forgotten.append(f"\n+{likely} likely", open_)
        table.add_row(
            Text(name.removeprefix(base)),
            facts.estimate(found.plasticity, gap=gap),
            facts.estimate(found.mean_change, gap=gap),
            forgotten,
            *([Text(str(likely), style=open_)] if roomy else []),
            str(found.verdicts["inconclusive"]),
            *([Text(facts.worst_name(one))] if roomy else []),
            facts.retained(one, gap),
            style="bold" if chosen and chosen.place == place else "",
        )
    if chosen is None:
        return table
    keep = Text.assemble("Keep ", (names(comparisons)[chosen.place], "bold green"), f": {chosen.reason}.")
    return Group(table, keep)


def _table(rows: Sequence[facts.ForgettingRow], width: int) -> Table:
    """Every task, the targets apart; in two lines each where there is no room for one."""
    noisy = any(row.noise for row in rows)
    wide = width >= _WIDE + _NOISE * noisy
    table = _grid(None)
    table.add_column("task", overflow="fold", max_width=28)
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("95 % interval", "") if wide else ("",) if width >= _ROOMY else ():
        table.add_column(heading, no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for heading in ("- +", "n") if wide else ():
        table.add_column(heading, justify="right", no_wrap=True)
    if noisy:
        table.add_column("noise", no_wrap=True)
    limit = reach([row.score for row in rows])
    for place, row in enumerate(rows):
        if row.task.target and not (place and rows[place - 1].task.target):
            if place:
                table.add_section()
            table.add_row(Text("tuned for", style="dim italic"))
        cells = _wide_cells(row, limit) if wide else _narrow_cells(row, limit if width >= _ROOMY else None)
        table.add_row(*cells, *([_noise(row, wide)] if noisy else []))
    return table


def _wide_cells(row: facts.ForgettingRow, limit: float) -> list[Text]:
    score = row.score
    task = Text.assemble(plain(row.task.name) if row.first else "", (f" {facts.metric(score)}", "dim"))
    style = STYLES.get(row.verdict, "")
    interval = Text(facts.signed_interval(score.low, score.high, score.unit), style="dim")
    flips, items = Text(facts.flips(row.lost, row.gained)), Text(f"{score.items:,}")
    return [task, *_values(row), interval, Text(bar(score, limit, _BAR), style=style), _verdict(row, " "), flips, items]


def _narrow_cells(row: facts.ForgettingRow, limit: float | None) -> list[Text]:
    """The same in two lines, without a bar where there is no limit for it."""
    score, style = row.score, STYLES.get(row.verdict, "")
    task = Text.assemble(plain(row.task.name) if row.first else "", (f"\n{facts.metric(score)} n={score.items:,}", "dim"))
    before, after, change = _values(row)
    change.append(f"\n{facts.signed_interval(score.low, score.high, score.unit)}", "dim")
    bars = [] if limit is None else [Text(bar(score, limit, _SHORT_BAR), style=style)]
    verdict = _verdict(row, "\n").append(f"\n{facts.flips(row.lost, row.gained)}")
    return [task, before, after, change, *bars, verdict]


def _verdict(row: facts.ForgettingRow, gap: str) -> Text:
    """The verdict, with the adjusted p where that alone leaves it open."""
    text = Text(row.verdict, style=STYLES.get(row.verdict, ""))
    return text.append(f"{gap}{row.p}", "dim") if row.p else text


def _values(row: facts.ForgettingRow) -> list[Text]:
    score = row.score
    change = Text(facts.signed(score.difference, score.unit), style=STYLES.get(row.verdict, ""))
    return [Text(value_text(score.before, score.unit)), Text(value_text(score.after, score.unit)), change]


def _noise(row: facts.ForgettingRow, wide: bool) -> Text:
    text = facts.noise_text(row)
    return Text(text if wide else text.replace(", ", "\n"), style="dim")


def _overall(comparison: Comparison) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, title=Text("Taken together", style="bold"), title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for name, value, meaning in facts.overall_lines(comparison):
        table.add_row(name, Text(value), Text(meaning))
    return table


def _kinds(kinds: Sequence[facts.Kind], title: str) -> Table:
    table = _grid(Text(title, style="bold"))
    for heading in ("task", "by", "kind"):
        table.add_column(heading, overflow="fold")
    for heading in ("before", "after", "change", "- +", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for place, kind in enumerate(kinds):
        score, repeated = kind.score, place > 0 and kinds[place - 1].task == kind.task and kinds[place - 1].by == kind.by
        style = STYLES.get(score.verdict, "")
        table.add_row(
            Text("" if repeated else plain(kind.task)),
            Text("" if repeated else plain(kind.by), style="dim"),
            Text(plain(kind.value)),
            value_text(score.before, score.unit),
            value_text(score.after, score.unit),
            Text(facts.signed(score.difference, score.unit), style=style),
            facts.flips(score.lost, score.gained),
            f"{score.items:,}",
            Text(score.verdict, style=style),
        )
    return table


def _others(comparison: Comparison) -> Table:
    """The scores that decide no verdict."""
    table = _grid(Text("Other scores", style="bold"))
    table.add_column("task", overflow="fold")
    table.add_column("metric", overflow="fold")
    for heading in ("before", "after", "change", "95 % interval", "p (Holm)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in comparison.tasks:
        others = [score for score in task.scores.values() if not score.headline]
        for place, score in enumerate(others):
            table.add_row(
                Text("" if place else plain(task.name)),
                Text(facts.metric(score)),
                value_text(score.before, score.unit),
                value_text(score.after, score.unit),
                facts.signed(score.difference, score.unit),
                Text(facts.signed_interval(score.low, score.high, score.unit), style="dim"),
                "" if score.p_holm is None else f"{score.p_holm:.4f}",
            )
    return table


def _item(task: TaskComparison, change: ItemChange, details: bool) -> list[RenderableType]:
    one = shown(task, change)
    return [Text(one.title, style="cyan"), Padding(_parts(one, details), (0, 0, 0, 2))]


def _parts(one: Shown, details: bool) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("prompt", Text(one.prompt if details else ending(one.prompt, _PROMPT)))
    table.add_row("before", _pieces(one.before, "red", details))
    table.add_row("after", _pieces(one.after, "green", details))
    table.add_row("right", Text(one.reference if details else beginning(one.reference, _ANSWER)))
    return table


def _pieces(pieces: Sequence[Piece], style: str, details: bool) -> Text:
    text, left = Text(), _ANSWER
    for piece in pieces:
        shown_text = piece.text if details else beginning(piece.text, left) if left > 0 else ""
        text.append(shown_text, f"{style} underline" if piece.own else "")
        left -= len(piece.text)
        if left <= 0 and not details:
            break
    return text if text.plain.strip() else Text("(nothing)", style="dim")


def _grid(title: Text | None) -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")
