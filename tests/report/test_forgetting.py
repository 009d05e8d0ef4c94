"""What the report on forgetting says, and how it stands at terminals of every width."""

from __future__ import annotations

import dataclasses
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from harness import metrics
from harness.compare import highlights
from harness.compare.comparison import RunComparison, compare_runs
from harness.compare.noise import Noise
from harness.compare.overall import Estimate
from harness.compare.selection import choose, names
from harness.report.forgetting import phrases
from harness.report.forgetting.bars import bar, reach
from harness.report.forgetting.items import shown
from harness.report.forgetting.terminal import forgetting_view
from harness.stats.verdict import Verdict
from tests.compare.forgotten import PLAN, comparisons, folders, noise


def drawn(
    *given: RunComparison,
    width: int = 160,
    colours: bool = False,
    noise: dict[str, Noise] | None = None,
    details: bool = False,
    items: int = 10,
) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, force_terminal=colours, _environ={})
    console.print(forgetting_view(given or comparisons()[:1], width, noise=noise, details=details, items=items))
    return out.getvalue()


def line(text: str, start: str) -> str:
    """The line that begins so."""
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_rows_hold_every_headline_the_targets_last() -> None:
    found = highlights.rows(comparisons()[0], noise())
    assert [row.task.name for row in found] == ["exam", "quiz", "read", "said"]
    exam, quiz, read, said = found
    assert (exam.verdict, exam.lost, exam.gained) == ("forgot", 75, 6)
    assert (quiz.verdict, quiz.lost, quiz.gained) == ("retained", 0, 0)
    assert (read.verdict, read.lost, read.gained) == ("forgot", 60, 0)
    assert said.verdict == "improved"
    assert (said.lost or 0) + (said.gained or 0) == len(said.task.changes)
    assert exam.noise == Noise(6, 1.5, 0.0)
    assert [phrases.noise_text(row) for row in found[:3]] == ["6 flips, 1.5", "0 flips, 0", "0 flips, 0"]
    assert re.fullmatch(r"\d+ changed, 0\.\d+", phrases.noise_text(said))
    assert set(noise()) == {"exam", "exam_0", "exam_1", "exam_2", "quiz", "read", "said"}
    assert noise()["exam_0"].flips == 2


def test_targets_are_last_wherever_the_results_have_them() -> None:
    first = compare_runs(folders()[0], folders()[1], metrics.load, dataclasses.replace(PLAN, targets=("exam",)))
    assert [row.task.name for row in highlights.rows(first, None)] == ["quiz", "read", "said", "exam"]


def test_on_a_target_nothing_is_forgotten_but_it_can_be_worse() -> None:
    reverse = compare_runs(folders()[1], folders()[0], metrics.load, PLAN)
    said = highlights.rows(reverse, None)[-1]
    assert (said.score.verdict, said.verdict) == ("forgot", "worse")
    assert reverse.overall.verdict != "forgot"


@pytest.mark.parametrize("width", [80, 100, 120, 140, 200])
def test_every_width_holds_every_fact(width: int) -> None:
    text = drawn(width=width, noise=noise())
    assert max(map(len, text.splitlines())) <= width
    for part in (
        "exam",
        "quiz",
        "read",
        "said",
        "forgot",
        "retained",
        "improved",
        "-75 +6",
        "6 flips",
        "-0.230",
        "Taken together",
        "fine-tuned on",
    ):
        assert part in text, part
    assert text.index("fine-tuned on") > text.index("read")
    row = line(text, "exam")
    assert ("●" in row) == (width >= 98)
    assert "[-0.2" in text


def test_five_tasks_take_less_than_two_screens() -> None:
    for width in (80, 120):
        assert len(drawn(width=width).splitlines()) <= 80
        assert len(drawn(*comparisons(), width=width).splitlines()) <= 80


def test_the_tasks_taken_together() -> None:
    found = {name: (value, meaning) for name, value, meaning in phrases.overall_lines(comparisons()[0])}
    over = comparisons()[0].overall
    assert found["forgotten"] == ("2 of 3 (67 %)", "of the tasks that are not targets: 2 forgot, 1 retained")
    assert over.mean_change is not None
    assert found["mean change"][0].startswith(f"{over.mean_change.value:.3f} [")
    assert found["worst task"] == ("exam", "accuracy_macro ↑ -0.230")
    assert found["target gain"][0].startswith("+")
    assert found["traded"][0].endswith(" on the targets for 0.115 lost elsewhere")
    assert "[" in found["retention"][0]
    untuned = compare_runs(folders()[0], folders()[1], metrics.load, dataclasses.replace(PLAN, targets=()))
    assert "target gain" not in {name for name, *_ in phrases.overall_lines(untuned)}
    alone = compare_runs(folders()[0], folders()[1], metrics.load, dataclasses.replace(PLAN, tasks=("said",)))
    assert [name for name, *_ in phrases.overall_lines(alone)] == ["target gain"]


def test_an_inconclusive_verdict_says_what_would_settle_it() -> None:
    few = compare_runs(folders()[0], folders()[2], metrics.load, dataclasses.replace(PLAN, tasks=("exam",), targets=()))
    (row,) = highlights.rows(few, None)
    assert row.score.verdict == "inconclusive"
    needed = f"{row.score.items_needed:,}"
    assert phrases.undecided(row) == (
        f"exam: with 300 items, a loss of {row.score.detectable_loss:.3f} or more is called forgot with 80 % power; "
        f"'retained' within the margin of 0.010 needs about {needed} items."
    )
    near = dataclasses.replace(row, score=dataclasses.replace(row.score, items_needed=200))
    stays = f"if it stays, a verdict needs about {row.score.items_beyond(-0.01):,} items."
    assert f"This change is too close to the margin of 0.010 for a verdict; {stays}" in (phrases.undecided(near) or "")
    likely = dataclasses.replace(row, score=dataclasses.replace(row.score, verdict="likely forgot", p_holm=0.02, items_for_change=1_234))
    text = phrases.undecided(likely) or ""
    assert "exam: lost beyond the margin of 0.010; the adjusted p is 0.0200, and the verdict forgot needs 0.01 or less." in text
    assert text.endswith("with 80 % power; this loss would be called forgot with about 1,234 items.")
    assert (likely.verdict, phrases.adjusted_p(likely), phrases.adjusted_p(row)) == ("likely forgot", "p 0.0200", "")
    tuned = dataclasses.replace(likely, task=dataclasses.replace(likely.task, target=True))
    assert tuned.verdict == "likely worse"
    reason = dataclasses.replace(row, score=dataclasses.replace(row.score, reason="the two differ"))
    assert phrases.undecided(reason) == "exam accuracy_macro: the two differ."
    assert [phrases.undecided(one) for one in highlights.rows(comparisons()[0], None)] == [None] * 4
    text = " ".join(drawn(few).split())
    assert f"needs about {needed} items." in text


def test_what_was_lost_by_kind() -> None:
    found = highlights.lost_kinds([task for task in comparisons()[0].tasks if not task.target])
    assert {(kind.task, kind.by) for kind in found} == {("exam", "task")}
    assert [kind.score.change for kind in found] == sorted(kind.score.change or 0.0 for kind in found)
    kinds = {(kind.by, kind.value) for task in comparisons()[0].tasks for kind in highlights.item_kinds(task)}
    assert kinds >= {("task", "exam_0"), ("topic", "law"), ("template", "plain"), ("template", "other")}
    text = drawn(details=True, items=1)
    for part in ("Every kind of items", "topic", "law", "template", "other", "Other scores", "bleu ↑"):
        assert part in text, part
    assert "Other scores" not in drawn()


def test_items_take_turns_and_texts_that_were_only_scored_are_left_out() -> None:
    tasks = list(comparisons()[0].tasks)
    chosen = highlights.worst_items(tasks, 4)
    assert [task.name for task, _ in chosen] == ["exam", "said", "exam", "said"]
    assert all(change.change < 0 for _, change in chosen)
    assert highlights.worst_items([tasks[2]], 5) == []


def test_items_show_the_prompt_both_responses_and_the_correct_answer() -> None:
    exam, _, read, said = comparisons()[0].tasks
    one = shown(exam, exam.changes[0])
    assert re.fullmatch(r"exam i\d+: correct before, incorrect after", one.title)
    assert [piece.differs for piece in (*one.before, *one.after)] == [True, True]
    assert re.fullmatch(r"choice \d of 4 \(0\.\d\d 0\.\d\d 0\.\d\d 0\.\d\d\)", one.before[0].text)
    assert one.reference in ("choice 1", "choice 2")
    change = exam.changes[0]
    kept = [replace(sample, choices=["red", "green", "blue", "grey"]) for sample in (change.before, change.after)]
    named = shown(exam, replace(change, before=kept[0], after=kept[1]))
    assert re.fullmatch(r"(red|green|blue|grey) \(0\.\d\d.*\)", named.before[0].text), "by their texts, where results keep them"
    assert named.reference in ("red", "green")
    worse = next(
        change for change in said.changes if change.change < 0 and str(change.before.prediction).startswith("Tom invites Ann to l")
    )
    text = shown(said, worse)
    assert "rougeL 0." in text.title
    assert text.reference == "Tom invites Ann to dinner at home"
    assert "\x1b" not in text.prompt
    assert shown(read, read.changes[0]).before[0].text.startswith("log-probability -")


def test_the_difference_is_marked_in_colour() -> None:
    text = drawn(colours=True, details=True, items=3)
    assert "\x1b[4;31m" in text
    assert "\x1b[4;32m" in text
    assert "\x1b[2J" not in text, "what a model says does not reach the terminal as a command"
    assert "\x1b[" not in drawn(details=True, items=3)


def test_several_systems_begin_with_which_to_keep() -> None:
    text = drawn(*comparisons())
    assert text.index("Fine-tuned from base") < text.index("Keep base+careful") < text.index("base+eager against base")
    assert "Keep base+careful: it forgot the fewest tasks (0 of 3)" in " ".join(text.split())
    assert line(text, "+eager").endswith("] over 2 of 3")
    assert "2 of 3" in line(text, "+eager")
    assert "Taken together" not in text
    assert "Taken together" in drawn(*comparisons(), details=True)


def with_overall(comparison: RunComparison, forgot: int, gain: float, likely: int = 0, unknown: int = 0) -> RunComparison:
    kept = 3 - forgot - likely - unknown
    verdicts: dict[Verdict, int] = {"forgot": forgot, "likely forgot": likely, "inconclusive": unknown, "retained": kept, "improved": 0}
    over = dataclasses.replace(comparison.overall, verdicts=verdicts, plasticity=Estimate(gain, gain - 0.01, gain + 0.01))
    return dataclasses.replace(comparison, overall=over, tasks=())


@pytest.mark.parametrize(
    ("forgot", "gains", "place", "reason"),
    [
        ((0, 0), (0.1, 0.2), 1, "it gained most on the targets"),
        ((1, 0), (0.9, 0.2), 1, "it forgot the fewest tasks (0 of 3)"),
        ((1, 1), (0.3, 0.2), 0, "it gained most on the targets"),
        ((0, 0), (0.2, 0.19), 0, "it gained most on the targets, though not significantly more than base+careful"),
    ],
)
def test_the_one_to_keep(forgot: tuple[int, int], gains: tuple[float, float], place: int, reason: str) -> None:
    given = [with_overall(*one) for one in zip(comparisons(), forgot, gains, strict=True)]
    chosen = choose(given)
    assert chosen is not None
    assert (chosen.place, chosen.reason) == (place, reason)


def test_losses_that_are_open_are_said_with_the_advice() -> None:
    eager, careful = comparisons()
    given = [with_overall(eager, 0, 0.9, likely=1), with_overall(careful, 0, 0.2, unknown=2)]
    chosen = choose(given)
    assert chosen is not None
    reason = "it forgot the fewest tasks (0 of 3), and likely forgot the fewest (0); forgetting is inconclusive on 2 tasks"
    assert (chosen.place, chosen.reason) == (1, reason)
    given = [with_overall(eager, 0, 0.9, likely=1, unknown=1), with_overall(careful, 1, 0.2)]
    chosen = choose(given)
    assert chosen is not None
    reason = "it forgot the fewest tasks (0 of 3); but it likely forgot 1 task; forgetting is inconclusive on 1 task"
    assert (chosen.place, chosen.reason) == (0, reason)


def test_among_several_that_forgot_least_the_gain_decides() -> None:
    eager, careful = comparisons()
    given = [with_overall(eager, 2, 0.9), with_overall(careful, 0, 0.1), with_overall(eager, 0, 0.3)]
    chosen = choose(given)
    assert chosen is not None
    assert (chosen.place, chosen.reason) == (2, "it forgot the fewest tasks (0 of 3); of those that did, it gained most on the targets")
    untuned = [dataclasses.replace(one, overall=dataclasses.replace(one.overall, plasticity=None)) for one in given]
    without = choose(untuned[1:])
    assert without is not None
    assert (without.place, without.reason) == (0, "it lost least")
    assert choose(given[:1]) is None


def test_systems_of_one_name_are_told_apart() -> None:
    eager, _ = comparisons()
    other = dataclasses.replace(eager, after=eager.after.model_copy(update={"digest": "0123456789"}))
    assert names([eager, other]) == [f"base+eager ({eager.after.digest[:8]})", "base+eager (01234567)"]


def test_strays_and_prompts_that_differ_are_told() -> None:
    eager, _ = comparisons()
    task = dataclasses.replace(eager.tasks[1], only_after=("i1", "i2"), prompts_differ=3)
    found = phrases.remarks(dataclasses.replace(eager, tasks=(task,), only_before=("old",)))
    assert found == [
        "quiz: left out 2 items that only one of the results has.",
        "quiz: 3 prompts of 2,000 differ between the systems (chat template or shortening).",
        "Only in the results before, not compared: old.",
        "Not in any mean, because the scale has no bound: read.",
    ]


def test_a_base_that_may_have_guessed_is_told() -> None:
    eager, _ = comparisons()
    exam, quiz, read, said = eager.tasks
    unsure = (replace(exam, chance=0.25, retention=None), replace(quiz, chance=0.5, retention=None), read, said)
    told = "Not significantly above guessing before, so there was little to forget: exam (0.250), quiz (0.500)"
    assert phrases.guessing(replace(eager, tasks=unsure)) == told
    assert f"{told}." in phrases.remarks(replace(eager, tasks=unsure))
    assert told in " ".join(drawn(replace(eager, tasks=unsure)).split())
    tuned = replace(eager, tasks=tuple(replace(task, target=True) for task in unsure))
    assert phrases.guessing(tuned) is None
    assert phrases.guessing(eager) is None


def test_bars_stand_where_the_change_is() -> None:
    exam, quiz, read, said = (task.headlines[0] for task in comparisons()[0].tasks)
    assert reach([exam, quiz]) == 15.0
    assert reach([quiz]) == 3.0
    assert bar(exam, 15.0, 31).startswith("●━") or bar(exam, 15.0, 31).startswith("●")
    still = bar(quiz, 3.0, 13)
    assert still.index("●") == 6
    assert still.index("┊") == 4 or "━" in still
    lower = bar(read, 10.0, 41)
    assert lower.index("●") < lower.index("│"), "more bits are worse, so the point is at the left"
    assert bar(said, 3.0, 13).endswith("●") or bar(said, 3.0, 13).endswith("▸")
    assert bar(dataclasses.replace(quiz, low=None), 3.0, 13) == ""


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0312, "share", "+0.031"),
        (-0.0312, "share", "-0.031"),
        (0.0004, "share", "+0.0004"),
        (0.0, "share", "0.000"),
        (1.5, "points", "+1.50"),
        (None, "share", "—"),
    ],
)
def test_differences_have_signs(value: float | None, unit: str, text: str) -> None:
    assert phrases.signed(value, unit) == text
