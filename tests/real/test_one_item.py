"""The values in docs/architecture.md come from a script, which shows no benchmark text in full."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.one_item import walk

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"


def test_one_item_is_followed_through_every_room(minimind2: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HARNESS_CACHE", "HARNESS_OFFLINE"):
        monkeypatch.setenv(name, str(tmp_path))
    stages = dict(walk(minimind2, data, 8, tmp_path))
    page = PAGE.read_text(encoding="utf-8")
    assert list(stages) == re.findall(r"<!-- begin benchmarks\.one_item (\w+) -->", page)
    digest = re.search(r"digest='(\w{16})'", stages["item"])
    assert digest is not None
    assert digest[1] in page, "the page follows another item"
    shown = re.findall(r"… \(\d+ characters\)", "\n".join(stages.values()))
    assert len(shown) == 3, "the item, its prompt and its sample"
    assert all(len(text) < 2000 for text in stages.values())
