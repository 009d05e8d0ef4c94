"""The report on forgetting for people at a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.compare import highlights
from harness.compare.comparison import RunComparison, TaskComparison
from harness.compare.items import ItemChange
from harness.compare.noise import NoiseByTask
from harness.compare.selection import choose, names
from harness.report.forgetting import phrases
from harness.report.forgetting.bars import bar, reach
from harness.report.forgetting.items import ShownItem, shown
from harness.report.texts import Piece, beginning, ending
from harness.util.text import plain, value_text

STYLES = {
    "forgot": "bold red",
    highlights.WORSE: "red",
    "likely forgot": "red",
    f"likely {highlights.WORSE}": "red",
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
    comparisons: Sequence[RunComparison], width: int, *, noise: NoiseByTask | None = None, details: bool = False, items: int = 10
) -> RenderableType:
    """What each system changed against the base; with several systems, first which of them to keep.

    Args:
        comparisons: of one base with each system, at least one.
        width: characters in a line.
        noise: what scoring the base again in other batches changed.
        details: whether to show all other scores, every kind of items, and more items.
        items: how many items to show of each task, with `details`.
    """
    parts: list[RenderableType] = []
    if len(comparisons) > 1:
        parts += [_summary(comparisons, width), Text()]
    for comparison, name in zip(comparisons, names(comparisons), strict=True):
        parts += [Text.assemble((name, "bold"), (f" against {plain(comparison.before.name)}", "dim"))]
        parts += _comparison(comparison, width, noise, details, items, brief=len(comparisons) > 1 and not details)
        parts.append(Text())
    legend = [phrases.LEGEND]
    if width >= _ROOMY:
        legend.append("Bars are in units of the margin, better to the right: │ no change, ┊ the margin.")
    if noise:
        legend.append(phrases.NOISE_LEGEND)
    return Group(*parts, Text(" ".join(legend), style="dim"))


def _comparison(
    comparison: RunComparison, width: int, noise: NoiseByTask | None, details: bool, items: int, *, brief: bool
) -> list[RenderableType]:
    rows = highlights.rows(comparison, noise)
    parts: list[RenderableType] = [_table(rows, width)]
    notes = [note for row in rows if (note := phrases.undecided(row))] + phrases.remarks(comparison)
    parts += [Text(note, style="dim") for note in notes]
    if brief:
        return parts
    parts += [Text(), _overall(comparison)]
    rest = [task for task in comparison.tasks if not task.target]
    kinds = highlights.lost_kinds(rest)
    if details:
        parts += [Text(), _others(comparison)] if any(len(task.scores) > len(task.headlines) for task in comparison.tasks) else []
        kinds = [kind for task in comparison.tasks for kind in highlights.item_kinds(task)]
    if kinds:
        title = "Every kind of items" if details else "Kinds of items that lost most"
        parts += [Text(), _kinds(kinds if details else kinds[:_FEW_KINDS], title)]
    chosen = highlights.worst_items(rest, items * len(rest) if details else _FEW_ITEMS)
    if chosen:
        parts += [Text(), Text("Items that got worse" if details else f"{len(chosen)} of the items that got worse", style="bold")]
        parts += [part for task, change in chosen for part in _item(task, change, details)]
    return parts


def _summary(comparisons: Sequence[RunComparison], width: int) -> RenderableType:
    """One line for each system: what it gained and what it forgot."""
    base = comparisons[0].before.name
    table = _grid(Text(f"Fine-tuned from {plain(base)}", style="bold"))
    roomy = width >= 100
    table.add_column("system", overflow="fold", min_width=12)
    for heading in ("target gain", "mean change\nelsewhere", "forgot", *(["likely\nforgot"] if roomy else []), "incon-\nclusive"):
        table.add_column(heading, justify="right", no_wrap=True)
    if roomy:
        table.add_column("worst task", overflow="fold")
    table.add_column("retention", justify="right", no_wrap=True)
    chosen, gap = choose(comparisons), " " if width >= _WIDE else "\n"
    for place, (comparison, name) in enumerate(zip(comparisons, names(comparisons), strict=True)):
        overall = comparison.overall
        forgot, likely, tasks = overall.verdicts["forgot"], overall.verdicts["likely forgot"], sum(overall.verdicts.values())
        forgotten, style = Text(f"{forgot} of {tasks}", style=STYLES["forgot"] if forgot else ""), STYLES["likely forgot"] if likely else ""
        if likely and not roomy:
            forgotten.append(f"\n+{likely} likely", style)
        table.add_row(
            Text(name.removeprefix(base)),
            phrases.estimate(overall.plasticity, gap=gap),
            phrases.estimate(overall.mean_change, gap=gap),
            forgotten,
            *([Text(str(likely), style=style)] if roomy else []),
            str(overall.verdicts["inconclusive"]),
            *([Text(phrases.worst_name(comparison))] if roomy else []),
            phrases.retained(comparison, gap),
            style="bold" if chosen and chosen.place == place else "",
        )
    if chosen is None:
        return table
    keep = Text.assemble("Keep ", (names(comparisons)[chosen.place], "bold green"), f": {chosen.reason}.")
    return Group(table, keep)


def _table(rows: Sequence[highlights.ForgettingRow], width: int) -> Table:
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
            table.add_row(Text("fine-tuned on", style="dim italic"))
        cells = _wide_cells(row, limit) if wide else _narrow_cells(row, limit if width >= _ROOMY else None)
        table.add_row(*cells, *([_noise(row, wide)] if noisy else []))
    return table


def _wide_cells(row: highlights.ForgettingRow, limit: float) -> list[Text]:
    score = row.score
    task = Text.assemble(plain(row.task.name) if row.first else "", (f" {phrases.metric(score)}", "dim"))
    style = STYLES.get(row.verdict, "")
    interval = Text(phrases.signed_interval(score.low, score.high, score.unit), style="dim")
    flips, items = Text(phrases.flips(row.lost, row.gained)), Text(f"{score.items:,}")
    return [task, *_values(row), interval, Text(bar(score, limit, _BAR), style=style), _verdict(row, " "), flips, items]


def _narrow_cells(row: highlights.ForgettingRow, limit: float | None) -> list[Text]:
    """The same in two lines, without a bar where there is no limit for it."""
    score, style = row.score, STYLES.get(row.verdict, "")
    task = Text.assemble(plain(row.task.name) if row.first else "", (f"\n{phrases.metric(score)} n={score.items:,}", "dim"))
    before, after, change = _values(row)
    change.append(f"\n{phrases.signed_interval(score.low, score.high, score.unit)}", "dim")
    bars = [] if limit is None else [Text(bar(score, limit, _SHORT_BAR), style=style)]
    verdict = _verdict(row, "\n").append(f"\n{phrases.flips(row.lost, row.gained)}")
    return [task, before, after, change, *bars, verdict]


def _verdict(row: highlights.ForgettingRow, gap: str) -> Text:
    """The verdict, with the adjusted p where that alone leaves it open."""
    text = Text(row.verdict, style=STYLES.get(row.verdict, ""))
    p = phrases.adjusted_p(row)
    return text.append(f"{gap}{p}", "dim") if p else text


def _values(row: highlights.ForgettingRow) -> list[Text]:
    score = row.score
    change = Text(phrases.signed(score.difference, score.unit), style=STYLES.get(row.verdict, ""))
    return [Text(value_text(score.before, score.unit)), Text(value_text(score.after, score.unit)), change]


def _noise(row: highlights.ForgettingRow, wide: bool) -> Text:
    text = phrases.noise_text(row)
    return Text(text if wide else text.replace(", ", "\n"), style="dim")


def _overall(comparison: RunComparison) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, title=Text("Taken together", style="bold"), title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for name, value, meaning in phrases.overall_lines(comparison):
        table.add_row(name, Text(value), Text(meaning))
    return table


def _kinds(kinds: Sequence[highlights.ItemKind], title: str) -> Table:
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
            Text(phrases.signed(score.difference, score.unit), style=style),
            phrases.flips(score.lost, score.gained),
            f"{score.items:,}",
            Text(score.verdict, style=style),
        )
    return table


def _others(comparison: RunComparison) -> Table:
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
                Text(phrases.metric(score)),
                value_text(score.before, score.unit),
                value_text(score.after, score.unit),
                phrases.signed(score.difference, score.unit),
                Text(phrases.signed_interval(score.low, score.high, score.unit), style="dim"),
                "" if score.p_holm is None else f"{score.p_holm:.4f}",
            )
    return table


def _item(task: TaskComparison, change: ItemChange, details: bool) -> list[RenderableType]:
    item = shown(task, change)
    return [Text(item.title, style="cyan"), Padding(_parts(item, details), (0, 0, 0, 2))]


def _parts(item: ShownItem, details: bool) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("prompt", Text(item.prompt if details else ending(item.prompt, _PROMPT)))
    table.add_row("before", _pieces(item.before, "red", details))
    table.add_row("after", _pieces(item.after, "green", details))
    table.add_row("correct", Text(item.reference if details else beginning(item.reference, _ANSWER)))
    return table


def _pieces(pieces: Sequence[Piece], style: str, details: bool) -> Text:
    text, left = Text(), _ANSWER
    for piece in pieces:
        shown_text = piece.text if details else beginning(piece.text, left) if left > 0 else ""
        text.append(shown_text, f"{style} underline" if piece.differs else "")
        left -= len(piece.text)
        if left <= 0 and not details:
            break
    return text if text.plain.strip() else Text("(nothing)", style="dim")


def _grid(title: Text | None) -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")
