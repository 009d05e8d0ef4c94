from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from harness.errors import DataError, TaskError
from harness.tasks.data import DataReader, Split, digest
from tests.tasks.cases import ROWS, task, write_rows


def local(folder: Path, rows: list[dict[str, Any]] | None = None, **data: Any) -> Split:
    """Split `test` of rows in a local file, as the task's data settings make it."""
    write_rows(folder / "rows.jsonl", ROWS if rows is None else rows)
    return DataReader().split(task(data={"files": {"test": "rows.jsonl"}, "split": "test", **data}), "test", folder)


def rows_of(split: Split) -> list[dict[str, Any]]:
    return [dict(one.row) for one in split.items]


def refusal(read: Callable[[], Split]) -> str:
    with pytest.raises((DataError, TaskError)) as caught:
        read()
    assert caught.value.remedy
    assert caught.value.what.startswith("Task colours")
    return str(caught.value)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_local_files_of_every_format_give_the_same_items(tmp_path: Path, ending: str) -> None:
    path, table = tmp_path / f"rows.{ending}", Dataset.from_list(ROWS)
    if ending == "jsonl":
        write_rows(path, ROWS)
    elif ending == "json":
        path.write_text(json.dumps(ROWS))
    elif ending == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if ending == "tsv" else ",")
    split = DataReader().split(task(data={"files": {"test": path.name}, "split": "test"}), "test", tmp_path)
    assert rows_of(split) == ROWS
    assert [one.id for one in split.items] == ["0", "1", "2"]
    assert [one.digest for one in split.items] == [digest(row) for row in ROWS]
    assert split.revision is None


def test_rows_are_renamed(tmp_path: Path) -> None:
    assert rows_of(local(tmp_path, rename={"object": "thing"}))[0] == {"object": "the sky", "label": 1}
    swapped = rows_of(local(tmp_path, rename={"thing": "label", "label": "thing"}))
    assert swapped[0] == {"thing": 1, "label": "the sky"}


def test_rows_are_filtered_and_keep_their_numbers(tmp_path: Path) -> None:
    split = local(tmp_path, filter="label == 1")
    assert [(one.id, one.row["thing"]) for one in split.items] == [("0", "the sky"), ("2", "the sea")]


def test_columns_are_derived_in_order(tmp_path: Path) -> None:
    split = local(tmp_path, derive={"loud": "thing | upper", "louder": "loud ~ '!'", "letters": "thing | list | unique | list | length"})
    assert split.items[0].row["louder"] == "THE SKY!"
    assert split.items[1].row["letters"] == len(set("blood"))


def test_rows_are_merged_and_the_first_gives_the_rest(tmp_path: Path) -> None:
    rows = [{"key": "a_1", "text": "x", "summary": "s1"}, {"key": "b_1", "text": "y", "summary": "s2"}]
    rows.append({"key": "a_2", "text": "z", "summary": "s3"})
    split = local(tmp_path, rows, merge={"by": "key.split('_')[0]", "collect": ["summary"]}, id="key.split('_')[0]")
    assert rows_of(split) == [{"key": "a_1", "text": "x", "summary": ["s1", "s3"]}, {"key": "b_1", "text": "y", "summary": ["s2"]}]
    assert [one.id for one in split.items] == ["a", "b"]


def test_the_order_is_rename_filter_derive_id(tmp_path: Path) -> None:
    split = local(tmp_path, rename={"what": "thing"}, filter="what != 'blood'", derive={"name": "what[4:]"}, id="name")
    assert [one.id for one in split.items] == ["sky", "sea"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rename": {"object": "thng"}}, ["data.rename", "no column 'thng'", "thing, label"]),
        ({"filter": "lable == 1"}, ["data.filter, item 0: 'lable' is undefined", "thing, label"]),
        ({"derive": {"x": "label + thing"}}, ["data.derive.x, item 0", "TypeError"]),
        ({"derive": {"x": "[thing, colour]"}}, ["data.derive.x, item 0", "'colour' is undefined"]),
        ({"id": "number"}, ["data.id, item 0: 'number' is undefined"]),
        ({"id": "label"}, ["two items of split 'test' have the id '1'"]),
        ({"merge": {"by": "label", "collect": ["sumary"]}}, ["data.merge", "no column 'sumary'"]),
        ({"merge": {"by": "key", "collect": ["thing"]}}, ["data.merge.by, item 0: 'key' is undefined"]),
        ({"filter": "label == 7"}, ["has no rows"]),
    ],
)
def test_settings_that_do_not_fit_the_rows_are_told(tmp_path: Path, settings: dict[str, Any], told: list[str]) -> None:
    message = refusal(lambda: local(tmp_path, **settings))
    assert all(part in message for part in told), message


def test_a_split_that_is_not_listed_is_told(tmp_path: Path) -> None:
    message = refusal(lambda: DataReader().split(task(), "dev", tmp_path))
    assert "no split 'dev'" in message
    assert "Its splits: test." in message


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    def reading(name: str) -> str:
        return refusal(lambda: DataReader().split(task(data={"files": {"test": name}, "split": "test"}), "test", tmp_path))

    assert "does not exist" in reading("absent.jsonl")
    assert "no known format" in reading("rows.xlsx")
    (tmp_path / "broken.jsonl").write_text('{"a": 1}\n{"a": \n')
    assert f"{tmp_path / 'broken.jsonl'} cannot be read: " in reading("broken.jsonl")
    (tmp_path / "broken.parquet").write_text("not parquet")
    assert "cannot be read" in reading("broken.parquet")
    (tmp_path / "empty.jsonl").write_text("")
    assert "cannot be read" in (empty := reading("empty.jsonl")) or "has no rows" in empty


def test_digests_name_the_content(tmp_path: Path) -> None:
    """The hash of the row's canonical JSON, fixed: runs kept by an earlier version must still pair with new ones."""
    canonical = hashlib.sha256('{"a":1,"b":["ü",null,1.5]}'.encode()).hexdigest()
    assert digest({"a": 1, "b": ["ü", None, 1.5]}) == digest({"b": ["ü", None, 1.5], "a": 1}) == canonical[:16]
    assert digest({"a": "\ud800"}) != digest({"a": "?"})
    first = local(tmp_path / "one")
    assert first.digest == local(tmp_path / "two").digest
    assert first.digest != local(tmp_path / "three", list(reversed(ROWS))).digest
    assert local(tmp_path / "four", filter="label == 0").items[0].digest == first.items[1].digest


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    before = local(tmp_path)
    after = local(tmp_path, [{"thing": "grass", "label": 0}])
    assert (len(before.items), len(after.items)) == (3, 1)


def test_a_reader_reads_once_and_keeps_tasks_of_one_name_apart(tmp_path: Path) -> None:
    reader = DataReader()
    for name in ("one", "two"):
        write_rows(tmp_path / name / "rows.jsonl", [{"thing": name, "label": 0}])
    splits = [reader.split(task(), "test", tmp_path / name) for name in ("one", "two", "one")]
    assert [split.items[0].row["thing"] for split in splits] == ["one", "two", "one"]
    assert splits[0] is splits[2]


CARD = """\
---
configs:
- config_name: warm
  data_files:
  - {split: train, path: warm/train-*}
  - {split: test, path: warm/test-*}
- config_name: cold
  data_files:
  - {split: test, path: cold/test-*}
---
# Colours
"""


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    """A folder of snapshots that holds one dataset, laid out as on the hub."""
    root = tmp_path / "snapshots" / "palette" / "colours"
    for config, split, rows in (("warm", "train", ROWS), ("warm", "test", ROWS[:2]), ("cold", "test", ROWS[2:])):
        path = root / config / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(rows).to_parquet(path)
    (root / "README.md").write_text(CARD)
    return tmp_path / "snapshots"


def hub(folder: Path | None, name: str = "test", **data: Any) -> Split:
    made = task(data={"path": "palette/colours", "config": "warm", "split": "test", **data})
    return DataReader(folder).split(made, name, Path())


def test_a_snapshot_is_read_by_config_and_split(snapshots: Path) -> None:
    assert rows_of(hub(snapshots)) == ROWS[:2]
    assert rows_of(hub(snapshots, "train")) == ROWS
    cold = hub(snapshots, config="cold")
    assert rows_of(cold) == ROWS[2:]
    assert cold.revision is None


@pytest.mark.parametrize("offline", ["", "1"])
def test_a_wrong_config_or_split_is_told_with_the_right_ones(snapshots: Path, monkeypatch: pytest.MonkeyPatch, offline: str) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", offline)
    message = refusal(lambda: hub(snapshots, config="wram"))
    assert "has no config 'wram'" in message
    assert "warm" in message.splitlines()[1]
    assert "cold" in message.splitlines()[1]
    message = refusal(lambda: hub(snapshots, config=None))
    assert "has no config None" in message
    message = refusal(lambda: hub(snapshots, "validation"))
    assert "has no split 'validation'" in message
    assert "train" in message.splitlines()[1]


def test_a_data_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data folder .* does not exist"):
        hub(tmp_path / "absent")


@pytest.mark.parametrize("folder", [True, False])
def test_a_missing_dataset_is_told_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    message = refusal(lambda: hub(tmp_path if folder else None))
    assert "offline mode is on" in message
    assert "hf download --repo-type dataset palette/colours" in message
    assert ("It is not in the data folder" in message) is folder


@pytest.mark.parametrize("revision", [None, "0123456789abcdef"])
def test_a_missing_dataset_is_told_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None) -> None:
    """Nothing answers; one look at the hub must be enough, since `datasets` alone would try for half a minute."""
    import datasets
    from huggingface_hub import HfApi

    looks, asked = [], []
    load = datasets.load_dataset_builder

    def no_network(self: HfApi, repo_id: str, **rest: Any) -> None:
        looks.append(repo_id)
        raise ConnectionError("no route to host")

    def spied(*args: Any, **options: Any) -> Any:
        asked.append(args)
        return load(*args, **options)

    monkeypatch.setattr(HfApi, "dataset_info", no_network)
    monkeypatch.setattr(datasets, "load_dataset_builder", spied)
    message = refusal(lambda: hub(tmp_path, revision=revision))
    assert "the hub did not answer" in message
    assert "and give --data DIR" in message
    assert looks == ["palette/colours"]
    assert asked == []
