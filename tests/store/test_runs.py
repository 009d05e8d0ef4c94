from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from harness.errors import InputError, StorageError
from harness.store import runs
from harness.store.records import system_record
from harness.store.signature import Signature

from .records import group, metric, run, system, task
from .written import as_version_1

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = run(
        tasks={"z": task(0.1 + 0.2), "a": task(None), "ppl": task(metrics={"ppl": metric(23.4, high=math.inf, higher_is_better=False)})},
        groups={"all": group(["z", "a"])},
    )
    path = runs.write(record, tmp_path / "out")
    assert path == tmp_path / "out" / "results.json"
    assert runs.read(path) == record
    assert runs.read(path.parent) == record
    assert list(runs.read(path).tasks) == ["z", "a", "ppl"]


def test_the_file_is_stable_strict_json(tmp_path: Path) -> None:
    path = runs.write(run(tasks={"ppl": task(metrics={"ppl": metric(2.0, high=math.inf, low=-math.inf)})}), tmp_path)
    text = path.read_text()
    assert text.endswith("}\n")
    assert not re.search(r"NaN|Infinity", text)
    assert json.loads(text)["tasks"]["ppl"]["metrics"]["ppl"]["high"] is None
    runs.write(runs.read(path), tmp_path)
    assert path.read_text() == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_is_a_finite_number_or_null(value: float) -> None:
    with pytest.raises(ValidationError):
        metric(value, ci=None)
    with pytest.raises(ValidationError):
        metric(0.5, ci=(0.0, value))


def test_a_null_needs_a_reason_and_no_interval() -> None:
    with pytest.raises(ValidationError, match="needs a reason"):
        metric(None, reason=None)
    with pytest.raises(ValidationError, match="no interval"):
        metric(None, ci=(0.0, 1.0))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_a_file_cut_short_is_named_with_its_line(tmp_path: Path, share: float) -> None:
    path = runs.write(run(), tmp_path)
    text = path.read_text()
    path.write_text(text[: int(len(text) * share)])
    with pytest.raises(StorageError, match=r"results\.json, line \d+, column \d+") as caught:
        runs.read(tmp_path)
    assert caught.value.remedy


def changed(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema_version=3), "schema_version 3"),
        (lambda c: c.update(schema_version="2"), "schema_version '2'"),
        (lambda c: c["tasks"]["quiz"].update(files={"samples/../../x.jsonl": "0" * 64}), r"tasks\.quiz\.files"),
        (lambda c: c.pop("schema_version"), "no schema_version"),
        (lambda c: c["tasks"]["quiz"]["metrics"]["acc"].update(value="0.5"), r"tasks\.quiz\.metrics\.acc\.value"),
        (lambda c: c["tasks"]["quiz"].pop("shots"), r"tasks\.quiz\.shots"),
        (lambda c: c["system"].update(colour="blue"), r"system\.colour"),
        (lambda c: c["tasks"]["quiz"]["metrics"]["acc"].update(value=None), r"tasks\.quiz\.metrics\.acc.*reason"),
        (lambda c: c["tasks"]["quiz"]["metrics"]["acc"].update(value=math.nan), "NaN"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: Any, message: str) -> None:
    changed(runs.write(run(), tmp_path), change)
    with pytest.raises(StorageError, match=message):
        runs.read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["tasks"]["quiz"]["metrics"]["acc"].update(value=0.51),
        lambda c: c["tasks"]["quiz"]["metrics"]["acc"].update(ci=[0.49, 0.5]),
        lambda c: c["tasks"]["quiz"]["metrics"]["acc"].update(n=1000),
        lambda c: c["tasks"]["quiz"].update(shots=0),
        lambda c: c["tasks"]["quiz"].update(files={"samples/quiz.jsonl": "0" * 64}),
        lambda c: c["tasks"]["quiz"].update(files=None),
        lambda c: c["tasks"]["quiz"].update(metrics=dict(reversed(c["tasks"]["quiz"]["metrics"].items()))),
        lambda c: c["system"].update(name="another"),
        lambda c: c["system"].update(digest="0" * 64),
        lambda c: c["efficiency"].update(peak_memory_bytes=1),
        lambda c: c.update(created="2027-01-01T00:00:00+00:00"),
        lambda c: c.update(digest="0" * 64),
        lambda c: c.pop("digest"),
    ],
)
def test_an_edited_file_is_refused(tmp_path: Path, change: Any) -> None:
    two = {"acc": metric(0.5), "f1": metric(0.4)}
    changed(runs.write(run(tasks={"quiz": task(metrics=two)}), tmp_path), change)
    with pytest.raises(StorageError, match=r"results\.json was changed after it was written") as caught:
        runs.read(tmp_path)
    assert "run the evaluation again" in caught.value.remedy


def test_another_layout_of_the_same_content_is_accepted(tmp_path: Path) -> None:
    path = runs.write(run(), tmp_path)
    whole = runs.read(path)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=None))
    assert runs.read(path) == whole
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert runs.read(path) == whole


def test_the_last_of_two_equal_keys_is_the_one_that_is_verified(tmp_path: Path) -> None:
    path = runs.write(run(), tmp_path)
    path.write_text(path.read_text().replace('"value": 0.5,', '"value": 0.9, "value": 0.5,'))
    assert runs.read(path).tasks["quiz"].metrics["acc"].value == 0.5
    path.write_text(path.read_text().replace('"value": 0.9, "value": 0.5,', '"value": 0.5, "value": 0.9,'))
    with pytest.raises(StorageError, match="was changed"):
        runs.read(path)


def test_version_1_is_read_but_not_verified(tmp_path: Path) -> None:
    runs.write(run(), tmp_path)
    as_version_1(tmp_path)
    old = runs.read(tmp_path)
    assert old.unverified == ["quiz"]
    now = run().tasks["quiz"].metrics["acc"]
    assert old.tasks["quiz"].metrics == {"acc": now.model_copy(update={"signature": Signature(now.signature.long)})}
    runs.write(old, tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    assert (content["schema_version"], content["tasks"]["quiz"]["files"]) == (2, None)
    assert runs.read(tmp_path).unverified == ["quiz"]
    merged = runs.merge(old, run(tasks={"other": task()}))
    assert merged.unverified == ["quiz"]


def test_the_schema_requires_the_digests() -> None:
    schema = runs.json_schema()
    assert "digest" in schema["required"]
    assert "files" in schema["$defs"]["TaskRecord"]["required"]


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b"\xff\xfe\x00"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"results\.json"):
        runs.read(tmp_path)


def test_a_missing_run_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="There is no run"):
        runs.read(tmp_path)
    with pytest.raises(StorageError, match="There is no run"):
        runs.read(tmp_path / "nowhere")


def test_merging_keeps_what_was_not_scored_again() -> None:
    old = run(tasks={"a": task(0.1), "b": task(0.2)}, groups={"g": group(["b"])})
    new = run(tasks={"a": task(0.9), "c": task(0.3)}, created="2026-02-02T00:00:00+00:00")
    merged = runs.merge(old, new)
    assert list(merged.tasks) == ["a", "b", "c"]
    assert merged.tasks["a"] == new.tasks["a"]
    assert merged.tasks["b"] == old.tasks["b"]
    assert merged.groups == old.groups
    assert merged.created == new.created
    assert runs.merge(None, new) is new
    assert runs.merge(new, new) == new


def test_merging_drops_a_group_whose_task_was_scored_anew() -> None:
    old = run(tasks={"a": task(0.1), "b": task(0.2)}, groups={"g": group(["a", "b"])})
    assert runs.merge(old, run(tasks={"a": task(0.1)})).groups == old.groups
    assert runs.merge(old, run(tasks={"a": task(0.1, shots=0)})).groups == {}
    again = run(tasks={"a": task(0.1, shots=0), "b": task(0.2)}, groups={"g": group(["a", "b"], 0.7)})
    assert runs.merge(old, again).groups == again.groups


def test_merging_refuses_another_system() -> None:
    with pytest.raises(StorageError, match="holds the run of one") as caught:
        runs.merge(run("one"), run("two"))
    assert "--output" in caught.value.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "seq2seq"},
        {"dtype": "bfloat16"},
        {"quantization": "4bit"},
        {"model_digest": "other"},
        {"adapter_digest": "some"},
        {"tokenizer_digest": "other"},
        {"chat_template_digest": "some"},
    ],
)
def test_the_digest_covers_what_decides_the_answers(changes: dict[str, Any]) -> None:
    assert system_record(system(**changes)).digest != system_record(system()).digest


@pytest.mark.parametrize("changes", [{"name": "other"}, {"model": "/elsewhere"}, {"notes": ("hm",)}, {"parameters": 7}])
def test_the_digest_ignores_names(changes: dict[str, Any]) -> None:
    one = system()
    fields = {name: getattr(one, name) for name in one.__dataclass_fields__} | changes
    assert system_record(type(one)(**fields)).digest == system_record(one).digest


def test_runs_are_found_below_folders_once(tmp_path: Path) -> None:
    for name in ("b", "a/deep", "a"):
        runs.write(run(), tmp_path / name)
    (tmp_path / "a" / ".results.json.0a0a.tmp").write_text("{")
    found = runs.find_runs([tmp_path, tmp_path / "b", tmp_path / "b" / "results.json"])
    assert found == [tmp_path / "a" / "deep" / "results.json", tmp_path / "a" / "results.json", tmp_path / "b" / "results.json"]


def test_a_path_without_runs_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no results\.json"):
        runs.find_runs([tmp_path / "empty"])
    with pytest.raises(InputError, match="gone does not exist"):
        runs.find_runs([tmp_path / "gone"])


def test_the_published_schema_describes_the_file() -> None:
    schema = runs.json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {*run().model_dump(), "digest"}
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_a_second_scoring_is_no_run_of_its_own(tmp_path: Path) -> None:
    for name in ("base", "base/noise", "noise", "tuned"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / runs.FILE_NAME).write_text("{}")
    assert [path.parent.name for path in runs.find_runs([tmp_path])] == ["base", "noise", "tuned"]
    assert [path.parent.name for path in runs.find_runs([tmp_path / "base" / "noise"])] == ["noise"]
