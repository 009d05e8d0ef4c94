from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import StorageError
from harness.store import samples
from harness.store.samples import SampleRecord

from .written import write

if TYPE_CHECKING:
    from pathlib import Path

CHOSEN = SampleRecord("1", "d1", "Which one?", 2, 0, {"acc": 0.0}, logprobs=[-0.1, -2.5, -1e-300])
WRITTEN = SampleRecord("2", "d2", "Sum \u2028 up\r\n:", ["a", "b\n"], "ü", {"rouge": 0.25, "corr": None}, text=" ü \ud83d")
any_text = st.text()
records = st.builds(
    SampleRecord,
    id=any_text,
    digest=any_text,
    prompt=st.text(st.characters(exclude_categories=())),
    target=st.one_of(any_text, st.integers(), st.lists(any_text)),
    prediction=st.one_of(any_text, st.integers()),
    metrics=st.dictionaries(any_text, st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    logprobs=st.none() | st.lists(st.floats(allow_nan=False, allow_infinity=False)),
    text=st.none() | any_text,
    choices=st.none() | st.lists(any_text),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(records, max_size=3))
def test_samples_come_back_as_they_were_written(tmp_path: Path, kept: list[SampleRecord]) -> None:
    write(kept, tmp_path, "quiz")
    assert samples.read(tmp_path, "quiz", None) == kept


def test_one_line_an_item_in_a_fixed_order(tmp_path: Path) -> None:
    path = write([CHOSEN, WRITTEN], tmp_path, "quiz")
    assert path == tmp_path / "samples" / "quiz.jsonl"
    first, second = path.read_bytes().decode().removesuffix("\n").split("\n")
    assert list(json.loads(first)) == ["id", "digest", "prompt", "target", "prediction", "logprobs", "metrics"]
    assert list(json.loads(second)) == ["id", "digest", "prompt", "target", "prediction", "text", "metrics"]


def test_a_metric_that_has_no_value_for_an_item_is_null(tmp_path: Path) -> None:
    path = write([SampleRecord("1", "d", "p", 0, 0, {"corr": math.nan, "ppl": math.inf})], tmp_path, "quiz")
    assert json.loads(path.read_text())["metrics"] == {"corr": None, "ppl": None}


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_file_cut_short_is_named_with_its_line(tmp_path: Path, cut: int) -> None:
    path = write([CHOSEN, CHOSEN], tmp_path, "quiz")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(StorageError, match=r"quiz\.jsonl, line 2: "):
        samples.read(tmp_path, "quiz", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 1.5}, "'target'"),
        ({"prediction": None}, "'prediction'"),
        ({"logprobs": ["x"]}, "'logprobs'"),
        ({"metrics": {"acc": "high"}}, "'metrics'"),
        ({"colour": "blue"}, "'colour'"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write([CHOSEN], tmp_path, "quiz")
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(StorageError, match=f"line 1: .*{message}"):
        samples.read(tmp_path, "quiz", None)


def test_lines_that_are_no_objects_and_missing_files_are_reported(tmp_path: Path) -> None:
    path = write([CHOSEN], tmp_path, "quiz")
    path.write_text("[1]\n")
    with pytest.raises(StorageError, match="line 1: not an object"):
        samples.read(tmp_path, "quiz", None)
    path.write_bytes(b"\xff\n")
    with pytest.raises(StorageError, match="Cannot read"):
        samples.read(tmp_path, "quiz", None)
    with pytest.raises(StorageError, match="no samples of other"):
        samples.read(tmp_path, "other", None)


def test_a_failure_while_writing_keeps_the_old_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write([CHOSEN], tmp_path, "quiz")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StorageError, match="No space left"):
        write([WRITTEN], tmp_path, "quiz")
    assert samples.read(tmp_path, "quiz", None) == [CHOSEN]
