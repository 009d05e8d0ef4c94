"""The leaderboard's page as a person uses it, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from harness import metrics
from harness.compare.leaderboard import leaderboard
from harness.report.html.leaderboard import leaderboard_page
from harness.store.records import EfficiencyRecord, MetricRecord, RequestsRecord, RunRecord, TaskRecord, system_record
from harness.util.text import value_text
from tests.report.html.conftest import Show
from tests.signed import signed
from tests.store.records import group, metric, run, system, task

NASTY = '<script>alert(1)</script><img src=x onerror="alert(2)">'


def page_of(*records: RunRecord) -> str:
    found = [(Path("results") / str(number), record) for number, record in enumerate(records)]
    return leaderboard_page(leaderboard(found), found, metrics.load, resamples=200)


def named(name: str, tasks: dict[str, TaskRecord], speed: float | None = 100.0, **changes: Any) -> RunRecord:
    spent = EfficiencyRecord(
        seconds={},
        prefill_tokens_per_second=speed,
        decode_tokens_per_second=speed and speed / 10,
        peak_memory_bytes=2**30,
        padding_share=None,
        requests=RequestsRecord(),
    )
    return run(name, tasks, system=system_record(system(name, **changes)), efficiency=spent)


def ppl(value: float | None) -> TaskRecord:
    return task(metrics={"ppl": metric(value, higher_is_better=False, high=None, unit="perplexity per word", signature=signed("ppl|v:1"))})


def bias(value: float) -> TaskRecord:
    return task(metrics={"bias": metric(value, higher_is_better=False, signature=signed("stereotype_preference|v:1"), family="bias")})


def usual() -> list[RunRecord]:
    return [
        named("beta", {"quiz": task(0.9), "corpus": ppl(30.0), "pairs": bias(0.6)}, parameters=10**6),
        named("alpha+lora", {"quiz": task(0.2), "corpus": ppl(9.5), "pairs": bias(0.5)}, adapter="lora", parameters=10**8, speed=900.0),
        named("gamma", {"quiz": task(0.5), "corpus": ppl(None), "pairs": bias(0.7)}, parameters=10**9, dtype="bfloat16"),
        named("odd", {"quiz": task(0.99, shots=0), "pairs": bias(0.9)}, parameters=10**7),
    ]


def names(page: Page) -> list[str]:
    return page.locator(".scroller tbody th button").all_inner_texts()


def head(page: Page, name: str) -> Any:
    return page.locator(".scroller thead tr.columns th, .scroller thead th.corner").filter(has=page.locator(".name", has_text=name)).first


def sort(page: Page, name: str) -> None:
    head(page, name).locator("button").click()


def cell(page: Page, system_name: str, column: str) -> Any:
    place = page.locator(".scroller thead tr.columns th .name").all_inner_texts().index(column)
    return page.locator(".scroller tbody tr").filter(has=page.locator("th", has_text=system_name)).locator("td").nth(place)


def test_systems_stand_by_win_rate_with_ranks_that_tie(show: Show) -> None:
    close = [named("one", {"t": task(0.50)}), named("two", {"t": task(0.51)}), named("far", {"t": task(0.1)})]
    page = show(page_of(*close))
    assert names(page) == ["two", "one", "far"]
    assert page.locator(".rank").all_inner_texts() == ["1–2", "1–2", "3"]
    assert head(page, "Win rate").get_attribute("aria-sort") == "descending"


def test_values_read_as_they_do_in_the_terminal(show: Show) -> None:
    page = show(page_of(*usual()))
    assert cell(page, "beta", "quiz").locator(".value").inner_text() == value_text(0.9, "share")
    assert cell(page, "beta", "corpus").locator(".value").inner_text() == value_text(30.0, "perplexity per word")
    assert cell(page, "alpha+lora", "corpus").locator(".value").inner_text() == value_text(9.5, "perplexity per word")
    assert "best" in cell(page, "beta", "quiz").locator(".value").get_attribute("class")
    assert "best" in cell(page, "alpha+lora", "corpus").locator(".value").get_attribute("class")


def test_a_head_sorts_best_first_then_worst_first_and_what_has_no_value_goes_last(show: Show) -> None:
    page = show(page_of(*usual()))
    sort(page, "corpus")
    assert names(page)[:2] == ["alpha+lora", "beta"]
    assert head(page, "corpus").get_attribute("aria-sort") == "ascending"
    assert page.locator(".status").first.inner_text() == "4 systems, by corpus ↓ ppl, best first"
    sort(page, "corpus")
    assert names(page)[:2] == ["beta", "alpha+lora"]
    assert page.locator(".status").first.inner_text().endswith("worst first")
    assert set(names(page)[2:]) == {"gamma", "odd"}
    sort(page, "System")
    assert names(page) == ["alpha+lora", "beta", "gamma", "odd"]
    sort(page, "quiz")
    assert names(page) == ["odd", "beta", "gamma", "alpha+lora"]


def test_a_leader_without_a_value_goes_last_in_that_column(show: Show) -> None:
    records = [named("leader", {"quiz": task(0.9), "corpus": ppl(None)})]
    records += [named(name, {"quiz": task(0.1), "corpus": ppl(value)}) for name, value in (("m", 20.0), ("n", 30.0))]
    page = show(page_of(*records))
    assert names(page)[0] == "leader"
    sort(page, "corpus")
    assert names(page) == ["m", "n", "leader"]
    sort(page, "corpus")
    assert names(page) == ["n", "m", "leader"]


def test_systems_and_columns_are_filtered(show: Show) -> None:
    page = show(page_of(*usual()))
    page.get_by_role("searchbox", name="Systems").fill("LORA")
    assert names(page) == ["alpha+lora"]
    assert page.locator(".status").first.inner_text().startswith("1 of 4 systems")
    page.get_by_role("searchbox", name="Systems").fill("nobody")
    assert page.locator(".scroller td.empty").inner_text() == "No systems match."
    page.get_by_role("searchbox", name="Systems").fill("")
    page.get_by_label("Tuning").select_option("base")
    assert set(names(page)) == {"beta", "gamma", "odd"}
    page.get_by_label("Precision").select_option("bfloat16")
    assert names(page) == ["gamma"]
    page.get_by_role("searchbox", name="Columns").fill("pairs bias")
    assert page.locator(".scroller tr.columns .name").all_inner_texts() == ["Rank", "Win rate", "pairs"]


def test_columns_stand_under_families_that_fold_into_their_win_rate(show: Show) -> None:
    page = show(page_of(*usual()))
    assert [text.replace("\n", "") for text in page.locator("th.family button").all_inner_texts()] == [
        "▾Standing2", "▾Accuracy2", "▾Bias1", "▾Efficiency4",
    ]  # fmt: skip
    button = page.locator("th.family button", has_text="Bias")
    button.click()
    assert page.locator("th.family button", has_text="Bias").get_attribute("aria-expanded") == "false"
    assert "pairs" not in page.locator(".scroller tr.columns .name").all_inner_texts()
    family = page.locator(".scroller tbody tr").filter(has=page.locator("th", has_text="alpha+lora")).locator("td").nth(4)
    assert family.locator(".value").inner_text() == "1.000"


def measured(name: str, good: float, **more: MetricRecord) -> RunRecord:
    """Better calibrated where it is less accurate."""
    own = {
        "acc": metric(good),
        "ece_10_bin": metric(good / 2, higher_is_better=False, signature=signed("ece_10_bin|v:1"), family="calibration"),
        "acc_robustness": metric(good / 2, signature=signed("acc|v:1|worst:mild_mix"), family="robustness"),
        "seconds_alone": metric(
            good, higher_is_better=False, high=None, unit="s", signature=signed("seconds_alone|v:1"), family="efficiency"
        ),
    }
    return named(name, {"quiz": task(metrics=own | more)})


def toxic(value: float | None) -> MetricRecord:
    return metric(
        value, higher_is_better=False, signature=signed("toxic_fraction|v:1"), family="toxicity", reason=None if value else "empty texts"
    )


def folded(page: Page, family: str) -> dict[str, str]:
    """By system, what stands for a family when its columns are folded."""
    page.locator("th.family button", has_text=family).click()
    groups = page.locator("th.family button").all_inner_texts()
    spans = page.locator("th.family").evaluate_all("list => list.map((one) => one.colSpan)")
    place = sum(spans[: next(number for number, text in enumerate(groups) if family in text)])
    lines = page.locator(".scroller tbody tr").filter(has=page.locator("th"))
    return {
        lines.nth(number).locator("th button").inner_text(): lines.nth(number).locator("td").nth(place).inner_text().strip()
        for number in range(lines.count())
    }


def test_measures_stand_under_their_families_and_rank_by_their_own_direction(show: Show) -> None:
    page = show(page_of(measured("clever", 0.9), measured("modest", 0.3)))
    assert [text.replace("\n", "") for text in page.locator("th.family button").all_inner_texts()] == [
        "▾Standing2", "▾Accuracy1", "▾Calibration1", "▾Robustness1", "▾Efficiency5",
    ]  # fmt: skip
    assert names(page) == ["clever", "modest"]
    assert folded(page, "Calibration") == {"clever": "0.000", "modest": "1.000"}
    assert folded(page, "Robustness") == {"clever": "1.000", "modest": "0.000"}
    notes = page.locator(".notes").last.inner_text()
    assert "Efficiency is not ranked: machines differ." in notes
    assert "for a family, over the family's columns" in notes


def test_measured_seconds_are_shown_and_not_ranked(show: Show) -> None:
    page = show(page_of(measured("clever", 0.9), measured("modest", 0.3)))
    place = page.locator(".scroller tr.columns th").evaluate_all("list => list.findIndex((one) => one.innerText.includes('seconds_alone'))")
    values = page.locator(".scroller tbody tr").filter(has=page.locator("th")).locator(f"td:nth-of-type({place + 1}) .value")
    assert values.all_inner_texts() == ["0.900", "0.300"]
    assert page.locator(f".scroller tbody td:nth-of-type({place + 1}) .best").count() == 0
    assert all(value.endswith("…") for value in folded(page, "Efficiency").values()), "no win rate"


def test_a_family_that_ranks_nobody_says_so(show: Show) -> None:
    page = show(page_of(measured("clever", 0.9, toxic_fraction=toxic(0.2)), measured("modest", 0.3, toxic_fraction=toxic(None))))
    button = page.locator("th.family button", has_text="Toxicity")
    assert button.get_attribute("title") == "Whether responses are toxic. Not ranked: no column has comparable numbers of two systems."
    notes = page.locator(".notes").last.inner_text()
    assert "Toxicity is not ranked: no column has comparable numbers of two systems." in notes
    assert "modest on quiz toxic_fraction: empty texts" in notes
    assert set(folded(page, "Toxicity").values()) == {"…"}


def test_what_is_not_comparable_is_marked_and_explained(show: Show) -> None:
    page = show(page_of(*usual()))
    odd = cell(page, "odd", "quiz")
    assert odd.locator(".value").inner_text() == "0.990†"
    odd.hover()
    assert "Not ranked: shots: 0 instead of 5" in page.locator("#tip").inner_text()
    assert "† not ranked: odd on quiz: shots: 0 instead of 5" in page.locator(".notes").last.inner_text()
    assert "gamma on corpus: no item" in page.locator(".notes").last.inner_text()


def test_the_keyboard_reaches_and_explains_every_cell(show: Show) -> None:
    page = show(page_of(*usual()))
    page.locator(".grid").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    page.wait_for_selector("#tip:not([hidden])")
    cursor = page.locator("td.cursor")
    assert page.locator(".grid").first.get_attribute("aria-activedescendant") == cursor.get_attribute("id")
    name = names(page)[1]
    assert page.locator("#tip").inner_text().startswith(name)
    page.keyboard.press("Enter")
    assert page.locator("#system-name").inner_text() == name
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_tab_goes_through_all_controls_in_order(show: Show) -> None:
    page = show(page_of(*usual()[:2]))
    seen = []
    for _ in range(24):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.dataset.focus ?? document.activeElement.id ?? document.activeElement.tagName"))
    wanted = ["theme", "print", "sort system", "group standing", "sort rank", "sort score 0", "choose alpha+lora", "open alpha+lora"]
    places = [seen.index(name) for name in wanted]
    assert places == sorted(places)


def test_focus_stays_on_a_head_that_sorts(show: Show) -> None:
    page = show(page_of(*usual()))
    head(page, "quiz").locator("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.focus") == "sort score 0"
    assert head(page, "quiz").get_attribute("aria-sort") == "ascending"


def test_a_system_tells_what_it_is(show: Show) -> None:
    page = show(page_of(*usual()))
    page.get_by_role("button", name="alpha+lora").click()
    text = page.locator("#system-facts").inner_text()
    for part in ("/models/alpha+lora", "lora", "float32", "100,000,000", "harness run --model alpha+lora", "prefill tokens/s 900"):
        assert part in text
    page.locator("#system-close").click()
    assert page.locator("dialog[open]").count() == 0


def test_scores_are_drawn_against_speed_and_size(show: Show) -> None:
    page = show(page_of(*usual()))
    assert page.locator("#speed .point").count() == 4
    assert page.locator("#size .point").count() == 4
    assert page.locator("#size .interval").count() == 4
    assert set(page.locator("#size .name").all_text_contents()) == {"beta", "alpha+lora", "gamma", "odd"}
    assert page.locator("#size .lead").count() == 2, "beta is smallest, alpha+lora wins more"
    page.get_by_label("Score").select_option(label="corpus ppl")
    assert page.locator("#size .point").count() == 2
    page.get_by_role("searchbox", name="Systems").fill("beta")
    assert page.locator("#size .point").count() == 1


def test_arrow_keys_go_from_point_to_point(show: Show) -> None:
    page = show(page_of(*usual()))
    page.locator("#size svg").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("beta")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("odd")
    page.keyboard.press("Enter")
    assert page.locator("#system-name").inner_text() == "odd"


def test_chosen_systems_are_kept_apart(show: Show) -> None:
    page = show(page_of(*usual()))
    page.get_by_label("Choose gamma").check()
    assert page.locator("#size .chosen").count() == 1
    page.get_by_label("Only chosen").check()
    assert names(page) == ["gamma"]
    page.get_by_label("Choose gamma").click()
    assert page.locator(".scroller td.empty").count() == 1


def test_names_that_are_markup_stay_text(show: Show) -> None:
    none = task(metrics={"acc": metric(None, reason=NASTY)})
    page = show(page_of(named(NASTY, {NASTY: task(0.5)}, adapter=NASTY), named("b", {NASTY: none})))
    assert NASTY in names(page)
    assert page.locator("main img, main script").count() == 0
    page.locator(".scroller tbody button").first.click()
    assert NASTY in page.locator("#system-facts").inner_text()
    assert f"b on {NASTY}: {NASTY}" in page.locator(".notes").last.inner_text()


def test_the_browser_runs_and_loads_nothing_but_the_pages_own(browser: Browser, tmp_path: Path) -> None:
    """Were markup to get in after all, the policy would stop it."""
    path = tmp_path / "page.html"
    path.write_text(page_of(*usual()), encoding="utf-8")
    page = browser.new_page()
    refused: list[tuple[str, str | None]] = []
    page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    ran = """() => {
      const script = document.createElement("script");
      try { script.textContent = "window.ran = true"; } catch {}
      document.body.append(script);
      const image = document.createElement("img");
      image.src = "https://example.invalid/x.png";
      document.body.append(image);
      let parsed = true;
      try { document.createElement("div").innerHTML = "<b>x</b>"; } catch { parsed = false; }
      return [window.ran === true, parsed];
    }"""
    assert page.evaluate(ran) == [False, False]
    assert refused == [("https://example.invalid/x.png", "csp")]
    page.close()


def test_one_system_is_not_ranked(show: Show) -> None:
    page = show(page_of(named("alone", {"quiz": task(0.5)}, speed=None)))
    assert page.locator("h1").inner_text() == "Leaderboard: 1 system"
    assert page.locator(".rank").count() == 0
    assert page.locator(".scroller tr.columns .name").all_inner_texts()[0] == "quiz"
    assert "There is nothing to rank" in page.locator(".notes").last.inner_text()
    assert page.locator("#speed .empty").inner_text() == "No run has both quiz acc and prefill tokens/s."
    assert page.locator("#size .point").count() == 1


def test_runs_without_scores_make_a_page_too(show: Show) -> None:
    page = show(page_of(run("bare", {})))
    assert names(page) == ["bare"]


def test_a_group_is_one_column(show: Show) -> None:
    records = [run(name, {"x": task(0.3), "y": task(0.4)}, {"g": group(["x", "y"], value)}) for name, value in (("a", 0.3), ("b", 0.6))]
    page = show(page_of(*records))
    assert page.locator(".scroller tr.columns .name").all_inner_texts()[2:3] == ["g"]
    assert names(page) == ["b", "a"]


def many(systems: int, tasks: int) -> str:
    return page_of(*(named(f"s{n:03}", {f"t{t:03}": task((n * 37 + t * 11) % 101 / 101) for t in range(tasks)}) for n in range(systems)))


def test_a_large_table_draws_what_is_seen_and_scrolls_to_the_rest(show: Show) -> None:
    page = show(many(120, 60))
    assert page.locator(".grid td").count() < 900
    assert page.locator(".grid").first.get_attribute("aria-rowcount") == "122"
    sort(page, "System")
    page.evaluate("document.querySelector('.scroller').scrollTo(1e6, 1e6)")
    page.wait_for_selector("text=s119")
    assert "parameters" in page.locator(".scroller tr.columns .name").all_inner_texts()
    last = page.locator(".scroller tbody tr[data-place='119']")
    assert last.get_attribute("aria-rowindex") == "122"
    box, row = page.locator(".scroller").bounding_box(), last.bounding_box()
    assert box
    assert row
    assert row["y"] + row["height"] <= box["y"] + box["height"] + 1, "the last row can be seen whole"
    sort(page, "parameters")
    assert page.evaluate("document.querySelector('.scroller').scrollTop") == 0


def test_a_cell_stands_under_its_head_wherever_the_table_is_scrolled(show: Show) -> None:
    page = show(many(60, 60))
    page.evaluate("document.querySelector('.scroller').scrollTo(2500, 600)")
    page.wait_for_selector("text=t025")
    left = "list => list.map((one) => one.getBoundingClientRect().left)"
    heads = page.locator(".scroller tr.columns th").evaluate_all(left)
    cells = page.locator(".scroller tbody tr[data-place='16'] td[data-column]").evaluate_all(left)
    assert heads == cells


def test_paper_holds_the_whole_table(show: Show) -> None:
    page = show(many(70, 40), color_scheme="dark")
    page.emulate_media(media="print")
    page.wait_for_selector(".paper", state="attached")
    assert page.locator(".scroller").is_hidden()
    assert set(page.locator(".paper").first.locator("tbody th").all_inner_texts()) == {f"s{n:03}" for n in range(70)}
    heads = [text.split("\n")[0] for text in page.locator(".paper thead th").all_inner_texts()]
    assert {f"t{n:03}" for n in range(40)} <= set(heads)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")
    page.wait_for_selector(".paper", state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_it_is_chosen(show: Show, scheme: Any) -> None:
    page = show(page_of(*usual()), color_scheme=scheme)
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(255, 255, 255)", "rgb(20, 23, 28)"
    assert page.evaluate(colour) == {"light": light, "dark": dark}[scheme]
    page.locator("#theme").click()
    assert page.evaluate(colour) == light
    page.locator("#theme").click()
    assert page.evaluate(colour) == dark
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate(colour) == dark


def test_nothing_lies_beside_the_window(show: Show) -> None:
    for width in (1400, 700, 380):
        page = show(page_of(*usual()), viewport={"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
