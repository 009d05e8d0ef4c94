"""The page of what was forgotten as a person uses it, in Chromium."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from harness import metrics
from harness.compare.comparison import ComparisonOptions, RunComparison, compare_runs
from harness.contract import ChoiceOutcome, LikelihoodOutcome, TextOutcome
from harness.report.html.forgetting import Noise, forgetting_page
from harness.tasks.schema import Aggregate, Group
from harness.util.text import value_text
from tests.compare.comparing import Made, choices, folder
from tests.report.html.conftest import Show

Wanted = dict[str, tuple[str, dict[str, Any]]]

ACCURACY: Wanted = {"accuracy": ("accuracy", {})}
ROUGE: Wanted = {"rougeL": ("rougeL", {})}
NASTY = '<script>alert(1)</script><img src=x onerror="alert(2)">'
GROUP = {
    "exam": Group(
        group="exam", title="Exam", tasks=("x", "y"), aggregate=(Aggregate.model_validate({"metric": "accuracy", "average": "macro"}),)
    )
}


def hits(wrong: set[int], items: int = 60, prompts: str = "prompt") -> Made:
    labels = [{"length": ("short", "long")[number % 2]} for number in range(items)]
    return Made(choices([number not in wrong for number in range(items)], labels=labels), ACCURACY, prompts=prompts)


def said(*texts: str, prompts: str = "Summarise:") -> Made:
    return Made([TextOutcome(text, ("the cat sat on the mat",)) for text in texts], ROUGE, prompts=prompts)


def ppl(logprob: float, items: int = 20) -> Made:
    answers = [LikelihoodOutcome(logprob * (1 + number / 100), 10, 8, 40) for number in range(items)]
    return Made(answers, {"word_perplexity": ("word_perplexity", {})})


BASE = {
    "x": hits(set(range(3))),
    "y": hits(set(range(5))),
    "quiz": hits({1, 2}),
    "texts": said("the cat sat on the mat", "the cat sat", "the dog", "the cat"),
    "corpus": ppl(-20.0),
}
WORSE = {
    "x": hits(set(range(30))),
    "y": hits(set(range(25))),
    "quiz": hits({2, 7}),
    "texts": said("the cat ran on the mat", "the cat sat", f"a {NASTY} dog", "the cat sat on the mat"),
    "corpus": ppl(-26.0),
}
OTHER = WORSE | {"x": hits(set()), "y": hits(set()), "quiz": hits(set())}


def compared(place: Path, *after: dict[str, Made], before: dict[str, Made] | None = None, **plan: Any) -> list[RunComparison]:
    before = before or BASE
    groups = {name: group for name, group in GROUP.items() if set(group.tasks) <= set(before)}
    base = folder(place / "base", before, groups, system="base")
    names = [("worse", "other", "third")[number] for number in range(len(after))]
    sides = [folder(place / name, tasks, groups, system=name) for name, tasks in zip(names, after, strict=True)]
    return [compare_runs(base, side, metrics.load, ComparisonOptions(resamples=200, **plan)) for side in sides]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> list[RunComparison]:
    return compared(tmp_path_factory.mktemp("one"), WORSE, targets=("texts",))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> list[RunComparison]:
    return compared(tmp_path_factory.mktemp("several"), WORSE, OTHER)


def options(page: Page) -> list[str]:
    return page.locator("#items .option .where").all_inner_texts()


def item_tools(page: Page, label: str) -> Any:
    return page.locator("#items .tools").first.get_by_label(label, exact=True)


def forest(page: Page) -> dict[str, str]:
    """Label of each line to what its drawing says."""
    lines = page.locator(".forest tbody tr")
    words = lines.locator("svg").evaluate_all("list => list.map((one) => one.ariaLabel)")
    return dict(zip(lines.locator("th button").all_inner_texts(), words, strict=True))


def test_the_page_opens_with_the_verdict(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    assert page.locator("h1").inner_text() == "Forgetting: base → worse"
    cards = dict(zip(page.locator(".card h3").all_inner_texts(), page.locator(".card .main").all_inner_texts(), strict=True))
    assert cards["Verdict"] == "▼ forgot"
    assert cards["Items"] == "−48 +1"
    assert cards["Worst task"] == "exam"
    assert page.locator("#candidates").count() == 0
    mean = one[0].overall.mean_change
    assert mean
    assert cards["Mean change, points"] == f"−{-100 * mean.value:.2f}"


def test_the_forest_has_a_line_for_each_task_on_axes_of_their_units(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    found = forest(page)
    assert list(found) == ["exam", "quiz", "texts", "corpus"]
    assert found["exam"].startswith("exam: −39.17 [")
    assert found["exam"].endswith("], forgot")
    assert found["corpus"].startswith("corpus: −")
    assert [text.partition(";")[0] for text in page.locator(".forest caption").all_inner_texts()] == [
        "Change in points, hundredths of the scale",
        "Change in perplexity per word",
    ]
    assert "target" in page.locator(".forest tr.target").inner_text()
    page.get_by_label("Tasks of groups").check()
    assert list(forest(page)) == ["exam", "x", "y", "quiz", "texts", "corpus"]
    page.locator("#forest-tools").get_by_label("Order").select_option("change")
    assert list(forest(page))[:3] == ["x", "exam", "y"]


def test_shares_and_points_fill_one_axis(show: Show, tmp_path: Path) -> None:
    """BLEU counts to 100 and accuracy to 1: on their common axis neither is stretched by the other's factor."""

    def bleu(text: str) -> Made:
        return Made([TextOutcome(text, ("the cat sat on the mat by the door",))] * 20, {"bleu": ("bleu", {})})

    before = {"quiz": hits({1, 2}), "words": bleu("the cat sat on the mat by the door")}
    after = {"quiz": hits({2, 7}), "words": bleu("the cat sat on the mat near a door")}
    page = show(forgetting_page(compared(tmp_path, after, before=before)))
    ticks = page.locator("table.forest .axis text").all_text_contents()
    lowest = min(float(tick.replace("−", "-").replace(",", "")) for tick in ticks)
    assert -100 <= lowest <= -40, "the fall of BLEU, about 50 points, sets the axis"


def test_intervals_are_drawn_where_they_lie(show: Show, one: list[RunComparison]) -> None:
    """The drawn ends of an interval are as far from 0 as its numbers."""
    page = show(forgetting_page(one))
    places = page.evaluate(
        """() => {
          const line = [...document.querySelectorAll(".forest tbody tr")].find((row) => row.textContent.includes("exam"));
          const at = (selector, name) => Number(line.querySelector(selector).getAttribute(name));
          return {zero: at(".zero", "x1"), low: at(".mark line", "x1"), high: at(".mark line", "x2"), margin: at(".margin", "x")};
        }"""
    )
    score = one[0].tasks[0].headlines[0]
    assert score.low is not None
    assert score.high is not None
    unit = (places["margin"] - places["zero"]) / -score.margin
    assert places["low"] - places["zero"] == pytest.approx(score.low * unit, rel=1e-4)
    assert places["high"] - places["zero"] == pytest.approx(score.high * unit, rel=1e-4)


def test_changes_and_intervals_are_turned_so_that_more_is_better(show: Show, one: list[RunComparison]) -> None:
    """Perplexity rose: the drawing and the table say that it got worse, ends in order."""
    score = one[0].tasks[3].headlines[0]
    assert score.low is not None
    assert score.high is not None
    assert 0 < score.low < score.high
    page = show(forgetting_page(one))
    unit = score.unit
    interval = f"[{value_text(-score.high, unit)}, {value_text(-score.low, unit)}]".replace("-", "−")
    assert interval in forest(page)["corpus"]
    page.locator("#scores .scroller tbody tr", has_text="corpus").locator("td").nth(4).hover()
    assert interval in page.locator("#tip").inner_text()


def test_items_come_worst_first_best_first_or_as_they_are(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    item_tools(page, "Task").select_option("texts")
    changes = {}
    for order in ("worst", "best", "task"):
        item_tools(page, "Order").select_option(order)
        changes[order] = options(page)
    assert changes["best"] == changes["worst"][::-1]
    assert changes["best"][0] == "texts · i3"
    item_tools(page, "Task").select_option("quiz")
    item_tools(page, "Order").select_option("worst")
    assert options(page) == ["quiz · i7", "quiz · i1"]


def test_a_line_of_the_forest_leads_to_its_items(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    page.locator(".forest").get_by_role("button", name="quiz").click()
    assert set(options(page)) == {"quiz · i1", "quiz · i7"}
    page.locator(".forest").get_by_role("button", name="exam").click()
    assert len(options(page)) > 4


def test_an_item_shows_reference_base_and_candidate_with_their_difference(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    item_tools(page, "Task").select_option("texts")
    page.locator(".option", has_text="i0").click()
    panes = page.locator(".pane")
    assert panes.locator("h4").all_inner_texts() == ["Reference", "Base: base", "Candidate: worse"]
    assert panes.locator("pre").all_inner_texts() == ["the cat sat on the mat", "the cat sat on the mat", "the cat ran on the mat"]
    assert panes.nth(1).locator("del").all_inner_texts() == ["sat"]
    assert panes.nth(2).locator("ins").all_inner_texts() == ["ran"]
    assert page.locator(".prompt pre").inner_text() == "Summarise: 0"
    page.get_by_label("Mark where").select_option("reference")
    assert page.locator(".pane").nth(1).locator("ins, del").count() == 0
    assert page.locator(".pane").nth(2).locator("ins").all_inner_texts() == ["ran"]


def test_a_script_in_a_models_answer_stays_text(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    item_tools(page, "Task").select_option("texts")
    page.locator(".option", has_text="i2").click()
    assert page.locator(".pane pre").nth(2).inner_text() == f"a {NASTY} dog"
    assert page.locator("main img, main script").count() == 0


def test_a_choice_shows_its_log_probabilities(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    page.get_by_role("searchbox").last.fill("prompt 7")
    item_tools(page, "Task").select_option("quiz")
    assert options(page) == ["quiz · i7"]
    rows = [" ".join(text.split()) for text in page.locator(".choices tbody tr").all_inner_texts()]
    assert rows[:2] == ["choice 1 correct −0.500 chosen −2.000", "choice 2 −2.000 −0.500 chosen"]
    assert rows[2:] == ["choice 3 −2.000 −2.000", "choice 4 −2.000 −2.000"]
    assert "length: long" in page.locator(".about").inner_text()
    assert page.locator(".scores tbody").inner_text().split() == ["accuracy", "1.000", "0.000"]


def test_items_are_filtered_by_kind_task_and_words(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    assert page.locator("#items .status").inner_text() == "72 of 72 changed items"
    page.locator(".chip", has_text="gained").click()
    assert options(page) == ["quiz · i1"]
    page.locator(".chip", has_text="better").click()
    assert set(options(page)) == {"quiz · i1", "texts · i3"}
    page.locator(".chip", has_text="gained").click()
    assert options(page) == ["texts · i3"]
    page.locator(".chip", has_text="better").click()
    page.get_by_role("searchbox").last.fill("ran MAT")
    assert options(page) == ["texts · i0"]
    page.get_by_role("searchbox").last.fill("no such words")
    assert page.locator(".detail .empty").inner_text() == "No items match."


def test_arrow_keys_go_through_the_list_and_the_address_names_the_item(show: Show, one: list[RunComparison]) -> None:
    html = forgetting_page(one)
    page = show(html)
    page.locator(".list").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    title = page.locator(".detail h3").inner_text()
    assert title == options(page)[1]
    assert page.locator(".list").get_attribute("aria-activedescendant") == "open-item"
    assert page.locator("#open-item").get_attribute("aria-posinset") == "2"
    page.keyboard.press("End")
    last = page.locator(".detail h3").inner_text()
    assert page.locator("#open-item .where").inner_text() == last
    task, name = last.split(" · ")
    fragment = f"#item=worse/{task}//{name}"
    assert page.evaluate("location.hash") == fragment
    again = show(html, fragment)
    assert again.locator(".detail h3").inner_text() == last
    assert again.locator("#open-item").is_visible()
    wrong = show(html, "#item=worse/quiz//i999")
    assert wrong.locator("#items .status").inner_text() == "The item that this address links to is not in this page."


def test_next_and_previous_keep_the_focus(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.locator(".detail .count").inner_text() == "3 of 72"
    page.get_by_role("button", name="Previous").click()
    assert page.locator(".detail .count").inner_text() == "2 of 72"


def test_all_scores_sort_and_filter(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    table = page.locator("#scores")
    rows = table.locator(".scroller tbody th .clip")
    assert rows.all_inner_texts() == ["exam", "quiz", "texts", "corpus"]
    table.locator("thead").get_by_role("button", name="p (Holm)").click()
    holm = [score.headlines[0].p_holm for score in one[0].tasks]
    ordered = sorted(range(len(holm)), key=lambda place: holm[place] or 0.0)
    assert rows.all_inner_texts() == [one[0].tasks[place].name for place in ordered]
    page.locator("#score-tools").get_by_label("Kind").select_option("slice")
    assert "length = short" in table.locator(".scroller tbody").inner_text()
    page.locator("#score-tools").get_by_label("Kind").select_option("")
    page.locator("#score-tools").get_by_role("searchbox").fill("length = long quiz")
    assert rows.all_inner_texts() == ["quiz"]


def test_several_candidates_stand_side_by_side(show: Show, several: list[RunComparison]) -> None:
    page = show(forgetting_page(several))
    assert page.locator("#candidate-table .scroller tbody th").all_inner_texts() == ["worse", "other"]
    assert page.locator(".card .badge").inner_text() == "▼ forgot"
    page.locator("#candidate-table").get_by_role("button", name="other").click()
    assert page.locator(".candidate-name").first.inner_text() == "other"
    assert page.locator("#candidate-tools").get_by_label("Candidate").input_value() == "1"
    assert page.locator("#candidate-table tr.chosen th").inner_text() == "other"
    assert forest(page)["exam"].endswith("improved")
    assert page.locator(".advice").inner_text().startswith("Keep other: it forgot the fewest tasks (1 of 4)")
    assert all("gained" in text or "worse" in text or "better" in text for text in page.locator(".option .badge").all_inner_texts())
    page.locator("#forest-tools").get_by_label("Show").select_option(label="exam, all candidates")
    assert {name: text.rpartition(", ")[2] for name, text in forest(page).items()} == {"worse": "forgot", "other": "improved"}
    page.locator(".forest").get_by_role("button", name="worse").click()
    assert page.locator(".candidate-name").first.inner_text() == "worse"


def test_an_address_names_the_candidate_too(show: Show, several: list[RunComparison]) -> None:
    page = show(forgetting_page(several), "#item=other/quiz//i1")
    assert page.locator(".candidate-name").first.inner_text() == "other"
    assert page.locator(".detail h3").inner_text() == "quiz · i1"


def test_noise_has_columns_where_it_was_measured(show: Show, one: list[RunComparison]) -> None:
    noise: Noise = {"quiz": (2, 0.0123)}
    page = show(forgetting_page(one, noise=noise))
    assert page.locator("th.family", has_text="Noise").count() == 1
    quiz = page.locator("#scores .scroller tbody tr", has_text="quiz").locator("td").all_inner_texts()
    assert quiz[-2:] == ["2", "0.012"]
    exam = page.locator("#scores .scroller tbody tr", has_text="exam").locator("td").all_inner_texts()
    assert exam[-2:] == ["—", "—"]
    assert "Noise was not measured" not in page.content()
    plain = show(forgetting_page(one))
    assert plain.locator("th.family", has_text="Noise").count() == 0
    assert "Noise was not measured" in plain.locator(".notes").last.inner_text()


def test_nothing_changed(show: Show, tmp_path: Path) -> None:
    page = show(forgetting_page(compared(tmp_path, {"quiz": hits({1})}, before={"quiz": hits({1})})))
    assert page.locator(".detail .empty").inner_text() == "No item changed."
    assert "No item changed its score." in page.locator("section", has=page.locator("#items")).inner_text()
    assert forest(page)["quiz"].startswith("quiz: 0.00")


def test_a_score_that_cannot_be_compared_says_why(show: Show, tmp_path: Path) -> None:
    metric: Wanted = {"perplexity": ("perplexity", {})}
    before = folder(tmp_path / "before", {"corpus": Made(ppl(-20.0).answers, metric)}, system="base")
    after = folder(tmp_path / "after", {"corpus": Made(ppl(-21.0).answers, metric)}, system="other", tokenizer_digest="other")
    page = show(forgetting_page([compare_runs(before, after, metrics.load, ComparisonOptions(resamples=50))]))
    page.locator("#scores .badge").hover()
    assert "the systems have different tokenizers" in page.locator("#tip").inner_text()


def test_prompts_that_differ_stand_side_by_side(show: Show, tmp_path: Path) -> None:
    after = {"quiz": hits({3}, prompts="chat prompt")}
    page = show(forgetting_page(compared(tmp_path, after, before={"quiz": hits(set())})))
    assert page.locator(".prompt summary").all_inner_texts() == ["Prompt of base", "Prompt of worse, which differs"]
    assert [text.strip() for text in page.locator(".prompt ins").all_inner_texts()] == ["chat"]
    assert "60 items have different prompts in the two results" in page.locator(".notes").last.inner_text()


def test_a_base_that_may_have_guessed_is_told(show: Show, tmp_path: Path) -> None:
    page = show(forgetting_page(compared(tmp_path, {"quiz": hits({3})}, before={"quiz": hits(set(range(45)))})))
    notes = page.locator(".notes").last.inner_text()
    assert "Not significantly above guessing before, so there was little to forget: quiz (0.250)" in notes


def test_what_is_left_out_is_said(show: Show, tmp_path: Path) -> None:
    comparisons = compared(tmp_path, {"quiz": hits(set(range(50)))}, before={"quiz": hits(set())})
    page = show(forgetting_page(comparisons, budget=5_000))
    text = page.locator("section", has=page.locator("#items")).inner_text()
    kept = int(text.split(" of 50 changed items")[0].rpartition("\n")[2])
    assert 5 < kept < 50
    assert f"{kept} of {kept} changed items" in page.locator("#items .status").inner_text()


def test_ten_thousand_items_stay_in_reach(show: Show, tmp_path: Path) -> None:
    items = 10_000
    right = np.ones(items, dtype=bool)
    before = {"quiz": Made(choices(right), ACCURACY), "more": hits(set())}
    after = {"quiz": Made(choices(~right), ACCURACY), "more": hits({3})}
    page = show(forgetting_page(compared(tmp_path, after, before=before)))
    assert page.locator("#items .status").inner_text() == "10,001 of 10,001 changed items"
    assert page.locator(".option").count() < 60
    page.locator(".list").focus()
    page.keyboard.press("End")
    assert page.locator("#open-item").get_attribute("aria-posinset") == "10001"
    page.get_by_role("searchbox").last.fill("prompt 9876")
    assert options(page) == ["quiz · i9876"]
    page.evaluate("location.hash = '#item=worse/quiz//i5000'")
    page.wait_for_selector("h3:has-text('quiz · i5000')")
    assert page.locator("#open-item").is_visible()


def test_a_text_before_it_was_cut_can_be_opened(show: Show, tmp_path: Path) -> None:
    (comparison,) = compared(tmp_path, {"texts": said("the cat")}, before={"texts": said("the cat sat")})
    (task,) = comparison.tasks
    (change,) = task.changes
    raw = dataclasses.replace(change, after=dataclasses.replace(change.after, text="the cat\n\nQ: and then"))
    comparison = dataclasses.replace(comparison, tasks=(dataclasses.replace(task, changes=(raw,)),))
    page = show(forgetting_page([comparison]))
    page.locator(".pane details summary").click()
    assert page.locator(".pane details pre").inner_text() == "the cat\n\nQ: and then"


def test_paper_holds_all_scores_and_the_open_item(show: Show, one: list[RunComparison]) -> None:
    page = show(forgetting_page(one))
    page.emulate_media(media="print")
    page.wait_for_selector(".paper", state="attached")
    assert page.locator(".paper").first.locator("tbody th .clip").all_inner_texts() == ["exam", "quiz", "texts", "corpus"]
    assert page.locator(".list").is_hidden()
    assert page.locator(".detail").is_visible()


def test_nothing_lies_beside_the_window(show: Show, several: list[RunComparison]) -> None:
    for width in (1400, 700, 380):
        page = show(forgetting_page(several), viewport={"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_candidates_of_one_name_are_numbered(show: Show, tmp_path: Path) -> None:
    answers = [ChoiceOutcome((-1.0, -2.0), (0,), ("a", "b"), (1, 1))] * 5
    other = [ChoiceOutcome((-2.0, -1.0), (0,), ("a", "b"), (1, 1))] * 5
    base = folder(tmp_path / "base", {"quiz": Made(answers, ACCURACY)}, system="base")
    sides = [folder(tmp_path / name, {"quiz": Made(other, ACCURACY)}, system="twin") for name in ("a", "b")]
    page = show(forgetting_page([compare_runs(base, side, metrics.load, ComparisonOptions(resamples=50)) for side in sides]))
    names = page.locator("#candidate-table .scroller tbody th").all_inner_texts()
    assert names[0].startswith("twin (")
    assert names[1] == f"{names[0]} (2)"
