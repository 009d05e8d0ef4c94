from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from harness.compare.leaderboard import View, leaderboard
from harness.compare.leaderboard_table import Leaderboard
from harness.report.comma_separated import leaderboard_csv
from harness.report.json_report import leaderboard_json
from harness.report.markdown import leaderboard_markdown
from harness.report.terminal import leaderboard_view
from harness.store.records import system_record
from tests.signed import signed
from tests.store.records import group, metric, run, system, task

if TYPE_CHECKING:
    from harness.store.records import RunRecord, TaskRecord


def board_of(*runs: RunRecord, columns: View = "groups") -> Leaderboard:
    return leaderboard([(Path("results") / str(n), record) for n, record in enumerate(runs)], columns)


def perplexity(value: float | None) -> TaskRecord:
    return task(metrics={"ppl": metric(value, higher_is_better=False, high=None, unit="perplexity", signature=signed("ppl|v:1"))})


def shown(board: Leaderboard, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(leaderboard_view(board, width))
    return console.export_text()


def rates(board: Leaderboard) -> dict[str, float | None]:
    return {row.system: row.win_rate for row in board.rows}


def best(board: Leaderboard, column: int) -> set[str]:
    return {row.system for row in board.rows if (cell := row.cells[column]) is not None and cell.best}


def test_mean_win_rate_by_hand() -> None:
    """Column x: a 0.9, b 0.5, c 0.5. Column ppl (lower is better): a 30, b 20. Column z: a alone, which ranks nobody.

    x: a beats 2 of 2 = 1; b ties one and beats none = 0.25; c likewise. ppl: a 0, b 1.
    """
    board = board_of(
        run("a", {"x": task(0.9), "ppl": perplexity(30.0), "z": task(0.1)}),
        run("b", {"x": task(0.5), "ppl": perplexity(20.0)}),
        run("c", {"x": task(0.5)}),
    )
    assert rates(board) == {"a": 0.5, "b": (0.25 + 1) / 2, "c": 0.25}
    assert [row.system for row in board.rows] == ["b", "a", "c"]
    assert best(board, 0) == {"a"}
    assert best(board, 1) == {"b"}
    assert best(board, 2) == set()


def test_ties_are_all_best_and_rows_of_one_rate_go_by_name() -> None:
    board = board_of(run("z"), run("m"), run("a"))
    assert [row.system for row in board.rows] == ["a", "m", "z"]
    assert rates(board) == {"a": 0.5, "m": 0.5, "z": 0.5}
    assert best(board, 0) == {"a", "m", "z"}


def test_one_system_has_no_win_rate() -> None:
    board = board_of(run("alone"))
    assert rates(board) == {"alone": None}
    assert "win rate" not in leaderboard_markdown(board)


def test_a_number_of_another_signature_is_shown_but_not_ranked() -> None:
    board = board_of(run("a", {"x": task(0.5)}), run("odd", {"x": task(0.9, shots=0)}), run("b", {"x": task(0.4)}))
    assert rates(board) == {"a": 1.0, "b": 0.0, "odd": None}
    assert best(board, 0) == {"a"}
    (note,) = board.footnotes
    assert note.text == "† not ranked: odd on x: shots: 0 instead of 5"
    assert "0.900†" in leaderboard_markdown(board)
    assert note.text in shown(board, 100)


def test_of_equally_common_signatures_the_first_seen_leads() -> None:
    board = board_of(run("first", {"x": task(0.1, shots=0)}), run("second", {"x": task(0.9, shots=5)}))
    assert board.footnotes[0].text == "† not ranked: second on x: shots: 5 instead of 0"


@pytest.mark.parametrize(
    ("odd", "differs"),
    [
        (task(0.5, items=10), ("items: 10 instead of 100",)),
        (task(metrics={"acc": metric(0.5, signature=signed("acc|v:2"))}), ("version: 2 instead of 1",)),
        (task(metrics={"acc": metric(0.5, signature=signed("acc|v:1|norm:bytes"))}), ("norm: bytes instead of none",)),
        (
            task(0.5, signature=signed("task|template:other|shots:5")),
            ("template: other instead of dddddddddddddddd", "seed: none instead of 0"),
        ),
    ],
)
def test_differences_are_named(odd: TaskRecord, differs: tuple[str, ...]) -> None:
    board = board_of(run("a"), run("b"), run("odd", {"quiz": odd}))
    assert [note.differs for note in board.footnotes] == [differs]


def test_numbers_that_differ_alike_share_a_footnote() -> None:
    usual = {f"t{n}": task(0.5) for n in range(6)}
    odd = {f"t{n}": task(0.5, shots=0) for n in range(6)}
    board = board_of(run("a", usual), run("b", usual), run("c", usual), run("odd", odd), run("odder", odd))
    assert [note.text for note in board.footnotes] == ["† not ranked: odd, odder on t0, t1, t2, t3 and 2 more: shots: 0 instead of 5"]


def test_a_group_hides_its_tasks_unless_tasks_are_requested() -> None:
    one = run("a", {"x": task(0.1), "y": task(0.2), "other": task(0.3)}, {"g": group(["x", "y"], 0.15)})
    two = run("b", {"x": task(0.3)})
    assert [column.name for column in board_of(one, two).columns] == ["g", "other"]
    assert [column.name for column in board_of(one, two, columns="tasks").columns] == ["x", "y", "other"]


def test_a_group_is_marked_when_its_tasks_differ() -> None:
    members = ["x", "y", "z"]

    def with_group(name: str, **odd: TaskRecord) -> RunRecord:
        return run(name, {member: task(0.5) for member in members} | odd, {"g": group(members)})

    board = board_of(with_group("a"), with_group("b"), with_group("some", y=task(0.5, shots=0)))
    assert board.footnotes[0].differs == ("shots: 0 instead of 5 in 1 of 3 tasks",)
    board = board_of(with_group("a"), with_group("b"), with_group("all", **{m: task(0.5, shots=0) for m in members}))
    assert board.footnotes[0].differs == ("shots: 0 instead of 5",)
    fewer = run("few", {"x": task(0.5)}, {"g": group(["x"])})
    assert board_of(with_group("a"), with_group("b"), fewer).footnotes[0].differs == ("tasks: 1 instead of 3",)


def test_the_headline_metric_of_each_task_makes_the_column() -> None:
    two = {"bleu": metric(20.0, unit="points", signature=signed("bleu|v:1")), "rouge": metric(0.3)}
    board = board_of(run("a", {"x": task(metrics=two)}), run("b", {"x": task(metrics=dict(reversed(two.items())))}))
    assert [(column.name, column.metric) for column in board.columns] == [("x", "bleu"), ("x", "rouge")]
    assert all(cell is not None for row in board.rows for cell in row.cells)


def test_a_null_is_neither_ranked_nor_noted() -> None:
    board = board_of(run("a", {"x": task(0.5)}), run("b", {"x": task(0.4)}), run("none", {"x": task(None, shots=0)}))
    assert rates(board) == {"a": 1.0, "b": 0.0, "none": None}
    assert board.footnotes == ()


def test_runs_of_one_name_are_told_apart_by_folder() -> None:
    records = [
        (Path("results/first"), run("same")),
        (Path("results/deep/second"), run("same")),
        (Path("results/first/third"), run("same", system=system_record(system("same", dtype="bfloat16")))),
        (Path("results/other"), run("other")),
    ]
    labels = {row.label for row in leaderboard(records).rows}
    assert labels == {"same (first)", "same (deep/second)", "same (first/third)", "other"}
    nested = [(Path("r/base"), run("same")), (Path("r/base/again"), run("same"))]
    assert {row.label for row in leaderboard(nested).rows} == {"same (base)", "same (base/again)"}


def test_markdown_by_hand() -> None:
    board = board_of(
        run("a|b", {"x_y": task(0.5)}), run("c", {"x_y": task(None), "bleu": task(metrics={"bleu": metric(12.0, unit="points")})})
    )
    assert leaderboard_markdown(board) == (
        "| system | x\\_y acc ↑ | bleu bleu ↑ |\n"
        "| --- | ---: | ---: |\n"
        "| a\\|b | 0.500 [0.450, 0.550] | — |\n"
        "| c | — | 12.00 [11.95, 12.05] |\n"
        "\n"
        "— no value: c on x\\_y: no item\n"
    )


def test_best_is_bold_in_markdown() -> None:
    assert "| **0.500** [0.450, 0.550] |" in leaderboard_markdown(board_of(run("a", {"x": task(0.5)}), run("b", {"x": task(0.4)})))


def test_csv_has_a_line_for_each_number_in_full_precision() -> None:
    board = board_of(run("a", {"x": task(1 / 3), "y": task(0.2)}), run('b,"', {"x": task(0.5, shots=0), "y": task(None)}))
    lines = list(csv.DictReader(io.StringIO(leaderboard_csv(board))))
    assert len(lines) == 4
    by_key = {(line["system"], line["name"]): line for line in lines}
    first, odd, null = by_key["a", "x"], by_key['b,"', "x"], by_key['b,"', "y"]
    assert (float(first["value"]), float(first["low"]), float(first["high"])) == (1 / 3, 1 / 3 - 0.05, 1 / 3 + 0.05)
    assert (first["ranked"], odd["ranked"], null["ranked"]) == ("True", "False", "False")
    assert odd["differs"] == "shots: 0 instead of 5"
    assert (null["value"], null["reason"]) == ("", "no item")


def test_json_holds_everything() -> None:
    content = json.loads(leaderboard_json(board_of(run("a", {"x": task(0.5)}), run("b", {"x": task(0.4, shots=0)}))))
    assert [column["name"] for column in content["columns"]] == ["x"]
    cells = {row["system"]: row["cells"][0] for row in content["rows"]}
    assert cells["a"]["ranked"] is True
    assert cells["b"]["ranked"] is False
    assert cells["a"]["low"] == 0.45
    assert content["footnotes"][0]["differs"] == ["shots: 0 instead of 5"]


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize(("systems", "tasks"), [(1, 1), (2, 19), (5, 4), (5, 20), (30, 3), (12, 12)])
def test_the_table_shows_every_number_at_every_width(systems: int, tasks: int, width: int) -> None:
    values = {(s, t): 0.1 + (s * tasks + t) / 1000 for s in range(systems) for t in range(tasks)}
    records = [run(f"model-{s}+adapter_{s}", {f"some_task_{t}": task(values[s, t]) for t in range(tasks)}) for s in range(systems)]
    text = shown(board_of(*records), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for value in values.values():
        assert f"{value:.3f}" in text
        assert f"[{value - 0.05:.3f}, {value + 0.05:.3f}]" in text


def test_best_is_bold_and_intervals_dim_at_a_terminal() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="standard", _environ={})
    console.print(leaderboard_view(board_of(run("a", {"x": task(0.5)}), run("b", {"x": task(0.4)})), 80))
    out = console.file
    assert isinstance(out, io.StringIO)
    assert "\x1b[1m0.500\x1b[0m" in out.getvalue()
    assert "\x1b[1m0.400" not in out.getvalue()
    assert "\x1b[2m [0.450, 0.550]\x1b[0m" in out.getvalue()


def test_names_are_not_markup_and_cannot_move_the_cursor() -> None:
    text = shown(board_of(run("[red]a[/red]", {"[bold]x": task()}), run("b\x1b[2J\n", {"[bold]x": task()})), 100)
    assert "[red]a[/red]" in text
    assert "[bold]x" in text
    assert "\x1b" not in text
    assert "b\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}" in text


def test_nothing_to_compare_is_said() -> None:
    assert "No scores to compare" in shown(leaderboard([]), 80)
    assert "No scores to compare" in shown(board_of(run("a", {})), 80)


def test_a_large_table_is_complete() -> None:
    tasks = {f"t{n}": task(n / 200) for n in range(100)}
    board = board_of(*(run(f"s{n}", tasks) for n in range(200)))
    assert len(board.rows) == 200
    assert {row.win_rate for row in board.rows} == {0.5}
    assert len(leaderboard_csv(board).splitlines()) == 1 + 200 * 100
