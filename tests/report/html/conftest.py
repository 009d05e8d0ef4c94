"""Pages in headless Chromium: nothing may be said on the console, and nothing may be asked of a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
READY = "html[data-ready]"

Show = Callable[..., Page]


def find_chromium() -> str:
    """Path of a Chromium; a missing one fails continuous integration and skips elsewhere."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        message = "Chromium is not installed (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module. Not for the session: while it is open, no other test of the process may run an event loop."""
    with sync_playwright() as player:
        made = player.chromium.launch(executable_path=find_chromium())
        yield made
        made.close()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Open a page's text from a file: `show(html, fragment="", **context options)`."""
    complaints: list[str] = []
    asked: set[str] = set()
    opened: list[Page] = []

    def refuse(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open_page(html: str, fragment: str = "", **options: Any) -> Page:
        path = tmp_path / f"page{len(opened)}.html"
        path.write_text(html, encoding="utf-8")
        page = browser.new_context(**({"viewport": {"width": 1400, "height": 900}} | options)).new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", refuse)
        page.on("request", lambda request: asked.add(request.url.partition("#")[0]))
        page.goto(f"{path.as_uri()}{fragment}")
        page.wait_for_selector(READY, timeout=20_000)
        opened.append(page)
        return page

    yield open_page
    own = {page.url.partition("#")[0] for page in opened}
    for page in opened:
        page.context.close()
    assert complaints == []
    assert asked == own
