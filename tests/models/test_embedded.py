"""What was made of a package is used only as it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.models import embedded
from harness.models.embedded import Package, unpack

PACKAGE = Package(name="some-model", version="1", module="some_model", file="some_model/model.gguf", file_sha256="a" * 64, sha256="b" * 64)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Conversions, counted, of a package that is at hand."""
    conversions: list[Path] = []

    def convert(file: Path, target: Path) -> None:
        conversions.append(target)
        target.mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (target / name).write_text(f"{name} of {file}")

    def here(*_: Any) -> Path:
        return Path("model.gguf")

    monkeypatch.setattr(embedded, "_convert", convert)
    monkeypatch.setattr(embedded, "_gguf_file", here)
    monkeypatch.setattr("importlib.util.find_spec", here)
    return conversions


def test_a_package_is_converted_once(made: list[Path]) -> None:
    assert unpack("some", PACKAGE) == unpack("some", PACKAGE)
    assert len(made) == 1


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_conversion_that_was_changed_or_cut_off_is_made_again(made: list[Path], name: str) -> None:
    folder = unpack("some", PACKAGE)
    whole = (folder / name).read_text()
    for content in (whole[:-1], whole[:-1] + "?", None):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_text(content)
        assert (unpack("some", PACKAGE) / name).read_text() == whole
    assert len(made) == 4


def test_a_conversion_of_another_file_or_without_a_record_is_made_again(made: list[Path]) -> None:
    folder = unpack("some", PACKAGE)
    unpack("some", PACKAGE.model_copy(update={"file_sha256": "c" * 64}))
    assert len(made) == 2
    for record in ("", "{}", "[]", '{"made": 3}'):
        (folder / embedded.RECORD).write_text(record)
        unpack("some", PACKAGE)
    assert len(made) == 6
