from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.report.html.page import embedded, number, render

HERE = Path(__file__).resolve().parents[3] / "harness" / "report" / "html"
NASTY = '</script><script>alert(1)</script><!-- \u2028 \u2029 & \ud800 "quoted" \\ \x00'


class Parts(HTMLParser):
    """Text of each script and style, and the policy."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.policy = ""
        self._tag: tuple[str, dict[str, str | None]] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._tag = tag, dict(attributes)
        if dict(attributes).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attributes)["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._tag = None

    def handle_data(self, text: str) -> None:
        if self._tag and self._tag[0] == "script":
            self.scripts.append((self._tag[1], text))
        if self._tag and self._tag[0] == "style":
            self.styles.append(text)


def page() -> str:
    words = {"base": "b", "names": ["n"], "comparisons": [], "shown": 0, "total": 0, "shortened": 0, "budget": "", "longest": 1}
    words |= {"noise": None, "levels": (0.01, 0.05), "differing": [NASTY], "advice": None, "measures": None}
    return render("forgetting", {"text": NASTY}, scripts=("forest",), vendors=("d3", "diff"), styles=("table",), **words)


def source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_data_come_back_as_they_went_in_whatever_they_say() -> None:
    text = embedded({"text": NASTY})
    assert json.loads(text) == {"text": NASTY}
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", text)
    assert text.encode("utf-8")


def test_numbers_in_data_are_finite() -> None:
    assert number(math.inf) is number(math.nan) is number(None) is None
    assert number(1 / 3) == 0.3333333
    assert number(12_345_678_901) == 12_345_678_901
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"value": math.nan})


def test_the_policy_allows_the_pages_own_scripts_and_style_alone() -> None:
    parts = Parts(page().replace("\ud800", ""))
    programs = [text for attributes, text in parts.scripts if attributes.get("type") != "application/json"]
    assert len(programs) == 3
    rules = dict(rule.strip().split(" ", 1) for rule in parts.policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == [source(program) for program in programs]
    assert rules["style-src"].split() == [source(style) for style in parts.styles]
    assert rules["require-trusted-types-for"] == "'script'"


def test_texts_in_the_template_are_escaped() -> None:
    html = page()
    assert "alert(1)" in html
    assert "<script>alert" not in html
    assert "<!--" not in html


def test_nothing_in_a_page_names_a_place_to_load_from() -> None:
    html = page()
    assert not re.search(r"<(link|img|iframe|script[^>]* src|object|embed)", html)
    assert "@import" not in html
    assert "url(" not in "".join(Parts(html.replace("\ud800", "")).styles)


def test_no_script_of_ours_parses_strings_as_html_or_code() -> None:
    for path in (HERE / "assets").glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.html\(", path.read_text()), (
            path
        )


def test_vendored_files_are_those_of_the_list() -> None:
    rows = re.findall(r"^\| `(\S+)` \| .* `(\S+\.LICENSE)` \| `(\w{64})` \|$", (HERE / "vendor" / "README.md").read_text(), re.MULTILINE)
    assert {name for name, _, _ in rows} == {path.name for path in (HERE / "vendor").glob("*.js")}
    for name, licence, digest in rows:
        assert hashlib.sha256((HERE / "vendor" / name).read_bytes()).hexdigest() == digest
        assert "permission" in (HERE / "vendor" / licence).read_text().lower()
