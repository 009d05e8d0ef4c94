"""Results of schema 1, in the fields of schema 2: `version_1.json` is what the code of schema 1 wrote, with every field in use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import StorageError
from harness.store import digests, runs
from harness.store.records import RunRecord, SpreadRecord
from harness.store.signature import Signature

WRITTEN = Path(__file__).with_name("version_1.json")


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    shutil.copy(WRITTEN, tmp_path / runs.FILE_NAME)
    return runs.read(tmp_path)


def test_template_variants(record: RunRecord) -> None:
    variants = record.tasks["quiz"].template_variants
    assert {name: variant.metrics["accuracy"].value for name, variant in variants.items()} == {"plain": 0.5, "polite": 0.62}
    assert [entry.perturbation.name for entry in variants["polite"].perturbations] == ["typos|v:1|rate:0.05", "worst"]


def test_perturbations(record: RunRecord) -> None:
    entry = record.tasks["essay"].perturbations[0]
    assert (entry.before.value, entry.after.value, entry.drop.value, entry.changed) == (0.6, 0.5, 0.1, 80)
    assert record.tasks["quiz"].perturbations == []


def test_spreads(record: RunRecord) -> None:
    spread = SpreadRecord(template_variants=2, lowest=0.5, highest=0.62, spread=0.12, ci=(0.01, 0.2))
    assert record.tasks["quiz"].metrics["accuracy"].spread == spread
    assert record.groups["all"].metrics["score_macro"].spread == spread
    assert record.tasks["quiz"].metrics["ece"].spread is None


def test_requests_and_tokens(record: RunRecord) -> None:
    assert record.efficiency.requests.model_dump() == {"unique": 100, "cached": 40, "computed": 60}
    assert record.efficiency.tokens.model_dump() == {"requested": 5000, "prefill": 3000, "decode": 200, "padding": 100}


def test_signatures_are_the_texts_that_were_written(record: RunRecord) -> None:
    assert record.tasks["quiz"].signature == Signature("task|template:plain,polite")
    assert record.tasks["quiz"].metrics["accuracy"].signature == Signature("accuracy|v:1|norm:bytes")


def test_everything_else_stays(record: RunRecord) -> None:
    """Every value of the old file stands in the new form, under its old name or the new one."""
    names = {"wordings": "template_variants", "disturbances": "perturbations"}
    requests = {"asked": "unique", "from_store": "cached"}

    def held(old: object, new: object, parent: str) -> None:
        if isinstance(old, dict):
            assert isinstance(new, dict)
            for name, value in old.items():
                renamed = requests if parent == "requests" else {"asked": "requested"} if parent == "tokens" else names
                held(value, new[renamed.get(name, name)], name)
        elif isinstance(old, list):
            assert isinstance(new, list)
            assert len(old) == len(new)
            for value, same in zip(old, new, strict=True):
                held(value, same, parent)
        elif parent in ("signature", "perturbation"):
            assert new == {"name": old}
        elif parent != "schema_version":
            assert new == old

    held(json.loads(WRITTEN.read_text()), record.model_dump(mode="json"), "")


def test_it_is_unverified_and_written_as_schema_2(record: RunRecord, tmp_path: Path) -> None:
    assert record.unverified == ["quiz", "essay"]
    runs.write(record, tmp_path)
    content = json.loads((tmp_path / runs.FILE_NAME).read_text())
    assert content["schema_version"] == 2
    assert runs.read(tmp_path) == record


def early(value: object, parent: str = "") -> object:
    """A document of schema 2 with the field names that the first files of schema 2 had."""
    names = {"template_variants": "wordings", "perturbations": "disturbances"}
    counts = {"requests": {"unique": "asked", "cached": "from_store"}, "tokens": {"requested": "asked"}}
    if isinstance(value, dict):
        return {(names | counts.get(parent, {})).get(name, name): early(part, name) for name, part in value.items()}
    return [early(part, parent) for part in value] if isinstance(value, list) else value


def test_the_first_files_of_schema_2_are_read_and_verified(record: RunRecord, tmp_path: Path) -> None:
    content = early(json.loads(runs.text(record)))
    assert isinstance(content, dict)
    assert "wordings" in content["tasks"]["quiz"]
    assert "asked" in content["efficiency"]["requests"]
    content["digest"] = digests.digest(digests.canonical(content))
    path = tmp_path / runs.FILE_NAME
    path.write_text(json.dumps(content))
    assert runs.read(tmp_path) == record
    content["tasks"]["quiz"]["items"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(StorageError, match="was changed after it was written"):
        runs.read(tmp_path)


@pytest.mark.parametrize("field", ["wordings", "disturbances"])
def test_a_file_of_schema_2_has_no_field_of_schema_1(record: RunRecord, tmp_path: Path, field: str) -> None:
    path = runs.write(record, tmp_path)
    content = json.loads(path.read_text())
    content["tasks"]["quiz"][field] = {}
    path.write_text(json.dumps(content))
    with pytest.raises(StorageError, match=field):
        runs.read(tmp_path)


@pytest.mark.parametrize("part", ["tasks", "groups", "efficiency"])
def test_a_damaged_part_is_named(tmp_path: Path, part: str) -> None:
    content = json.loads(WRITTEN.read_text())
    content[part] = 3
    (tmp_path / runs.FILE_NAME).write_text(json.dumps(content))
    with pytest.raises(StorageError, match=part):
        runs.read(tmp_path)
