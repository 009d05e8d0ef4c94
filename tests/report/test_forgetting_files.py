"""The report on forgetting as Markdown and as JSON."""

from __future__ import annotations

import json
import re

import pytest
from markdown_it import MarkdownIt
from pydantic import ValidationError

from harness.report.forgetting.markdown import forgetting_markdown
from harness.report.forgetting.record import ForgettingRecord, as_json, json_schema, record
from tests.compare.forgotten import comparisons, noise


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark").enable("table").enable("strikethrough").render(text))


def test_tables_first_then_what_is_folded() -> None:
    eager, _ = comparisons()
    html = rendered(forgetting_markdown([eager], noise=noise(), items=2))
    assert html.startswith("<h3>base+eager against base</h3>\n<table>")
    head, _, rest = html.partition("<details>")
    assert head.count("<table>") == 2
    assert "<strong>forgot</strong>" in head
    assert "<td>said (target)</td>" in head
    assert "6 flips, 1.5" in head
    assert "<td>mean change</td>" in head
    assert rest.count("</details>") == 1 + 2, "kinds of items, and the items of exam and said"
    assert "75 items got worse, the worst 2 shown" in rest
    assert "<del>choice" in rest
    assert "<ins>choice" in rest


def test_every_row_has_every_cell() -> None:
    text = forgetting_markdown(comparisons(), noise=noise())
    tables = [block.splitlines() for block in text.split("\n\n") if block.lstrip().startswith("| ")]
    assert len(tables) >= 5
    html = rendered(text)
    assert html.count("<tr>") == sum(len(table) - 1 for table in tables)
    for table in tables:
        cells = table[1].count("|")
        assert all(row.replace("\\|", "").count("|") == cells for row in table), table


def test_several_systems_begin_with_which_to_keep() -> None:
    html = rendered(forgetting_markdown(comparisons(), items=0))
    assert html.startswith("<h2>Fine-tuned from base</h2>\n<table>")
    assert "<p>Keep <strong>base+careful</strong>: it forgot the fewest tasks (0 of 3)" in html
    assert "got worse" not in html


def test_what_a_model_says_is_shown_and_does_nothing() -> None:
    text = forgetting_markdown(comparisons(), items=40)
    html = rendered(text)
    assert "<script" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;/details&gt; @someone" in re.sub("</?(ins|del)>", "", text)
    assert html.count("<details>") == html.count("</details>") == text.count("\n<details>\n")
    outside = "".join(part.partition("</pre>")[2] for part in ("</pre>" + text).split("<pre>"))
    assert "@someone" not in outside, "names outside of pre would be told of it"
    assert html.count("<pre>") == html.count("</pre>") == text.count("<pre>")


def test_a_comment_on_github_has_room_for_it() -> None:
    eager, careful = comparisons()
    text = forgetting_markdown([eager, careful] * 4, items=1_000)
    assert 50_000 < len(text) < 65_536
    assert rendered(text).count("</details>") == text.count("\n<details>\n")


def test_the_json_holds_everything_and_follows_the_schema() -> None:
    found = json.loads(as_json(comparisons(), noise()))
    eager, careful = found["comparisons"]
    assert (eager["before"]["name"], eager["after"]["name"], careful["after"]["name"]) == ("base", "base+eager", "base+careful")
    tasks = {task["name"]: task for task in eager["tasks"]}
    exam = tasks["exam"]
    assert (exam["verdict"], exam["target"], tasks["said"]["target"]) == ("forgot", False, True)
    assert [part["name"] for part in exam["parts"]] == ["exam_0", "exam_1", "exam_2"]
    score = exam["scores"]["accuracy_macro"]
    made = comparisons()[0].tasks[0].scores["accuracy_macro"]
    assert {name: score[name] for name in ("before", "low", "p_holm", "change", "items_needed")} == {
        name: getattr(made, name) for name in ("before", "low", "p_holm", "change", "items_needed")
    }
    assert len(exam["changes"]) == 81
    assert set(exam["changes"][0]["before"]) == {"id", "prompt", "target", "prediction", "logprobs", "text", "choices"}
    assert tasks["quiz"]["template_variants"].keys() == {"plain", "other"}
    assert {(one["label"], one["value"]) for one in tasks["quiz"]["slices"]} == {("topic", "law"), ("topic", "art")}
    assert eager["overall"]["backward_transfer"] == eager["overall"]["mean_change"] is not None
    assert eager["options"]["targets"] == ["said"]
    assert found["noise"]["exam"] == {"flips": 6, "largest": 1.5, "difference": 0.0}
    assert ForgettingRecord.model_validate(found) == record(comparisons(), noise())
    schema = json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["required"]) <= set(found) <= set(schema["properties"])
    described = schema["$defs"]["ScoreRecord"]
    assert set(score) == set(described["properties"]) == set(described["required"])


def test_unknown_fields_are_refused() -> None:
    content = json.loads(as_json(comparisons()[:1]))
    content["comparisons"][0]["tasks"][0]["colour"] = "red"
    with pytest.raises(ValidationError, match="colour"):
        ForgettingRecord.model_validate(content)
