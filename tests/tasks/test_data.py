from __future__ import annotations

import hashlib
import json
import os
import shutil
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
    assert "unknown format" in reading("rows.xlsx")
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
    assert "you are offline" in message
    assert "hf download --repo-type dataset palette/colours" in message
    assert ("It is not in the data folder" in message) is folder


@pytest.mark.parametrize("revision", [None, "0123456789abcdef"])
def test_a_missing_dataset_is_told_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None) -> None:
    """Nothing answers; one look at the hub must be enough, since `datasets` alone would try for half a minute."""
    import datasets
    from huggingface_hub import HfApi

    looks, loads = [], []
    load = datasets.load_dataset_builder

    def no_network(self: HfApi, repo_id: str, **rest: Any) -> None:
        looks.append(repo_id)
        raise ConnectionError("no route to host")

    def spied(*args: Any, **options: Any) -> Any:
        loads.append(args)
        return load(*args, **options)

    monkeypatch.setattr(HfApi, "dataset_info", no_network)
    monkeypatch.setattr(datasets, "load_dataset_builder", spied)
    message = refusal(lambda: hub(tmp_path, revision=revision))
    assert "the Hub does not answer" in message
    assert "and pass --data DIR" in message
    assert looks == ["palette/colours"]
    assert loads == []


def _rewrite(path: Path, rows: list[dict[str, Any]]) -> None:
    """Other rows in a parquet file, its time of change set back."""
    before = path.stat()
    Dataset.from_list(rows).to_parquet(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_snapshot_is_never_served_for_another(snapshots: Path, tmp_path: Path) -> None:
    """Copies of one name in two folders hold rows of their own, and a changed file is read."""
    before = hub(snapshots)
    copy = Path(shutil.copytree(snapshots, tmp_path / "copy"))
    parquet = copy / "palette" / "colours" / "warm" / "test-00000-of-00001.parquet"
    _rewrite(parquet, [{"thing": "coal", "label": 0}])
    after = hub(copy)
    assert rows_of(after) == [{"thing": "coal", "label": 0}]
    assert after.digest != before.digest
    assert rows_of(hub(snapshots)) == ROWS[:2]
    _rewrite(parquet, [{"thing": "milk", "label": 1}])
    assert rows_of(hub(copy)) == [{"thing": "milk", "label": 1}]


def test_a_snapshot_without_rows_or_with_a_broken_file_is_told(snapshots: Path) -> None:
    hub(snapshots)
    parquet = snapshots / "palette" / "colours" / "warm" / "test-00000-of-00001.parquet"
    whole = parquet.read_bytes()
    _rewrite(parquet, ROWS[:0] or [{"thing": "x", "label": 0}])
    parquet.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refusal(lambda: hub(snapshots))
    parquet.write_bytes(b"")
    assert "cannot be read" in refusal(lambda: hub(snapshots))
    Dataset.from_dict({"thing": [], "label": []}).to_parquet(parquet)
    assert "has no rows" in refusal(lambda: hub(snapshots))


def test_a_local_file_of_equal_size_and_time_is_read(tmp_path: Path) -> None:
    before = local(tmp_path)
    path = tmp_path / "rows.jsonl"
    stamp, text = path.stat(), path.read_text()
    path.write_text(text.replace("the sky", "the sty"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = DataReader().split(task(data={"files": {"test": "rows.jsonl"}, "split": "test"}), "test", tmp_path)
    assert path.stat().st_size == stamp.st_size
    assert rows_of(after)[0]["thing"] == "the sty"
    assert after.digest != before.digest
    path.write_text("")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(DataError):
        DataReader().split(task(data={"files": {"test": "rows.jsonl"}, "split": "test"}), "test", tmp_path)


@pytest.mark.parametrize("name", ["rows[1].jsonl", "rows*.jsonl", "ro?s.jsonl"])
def test_a_name_with_signs_of_patterns_is_one_file(tmp_path: Path, name: str) -> None:
    write_rows(tmp_path / "rows1.jsonl", [{"thing": "wrong", "label": 0}])
    write_rows(tmp_path / name, ROWS)
    assert rows_of(DataReader().split(task(data={"files": {"test": name}, "split": "test"}), "test", tmp_path)) == ROWS


def test_nothing_is_left_in_the_library_s_cache(snapshots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    hub(snapshots)
    local(tmp_path)
    assert not list((tmp_path / "library").rglob("*"))
    assert not list((tmp_path / "scratch").rglob("*"))


def test_what_is_missing_of_a_snapshot_is_told(snapshots: Path) -> None:
    root = snapshots / "palette" / "colours"
    shard = root / "warm" / "test-00000-of-00001.parquet"
    shard.rename(root / "warm" / "test-00000-of-00002.parquet")
    assert "test-00001-of-00002.parquet is missing" in refusal(lambda: hub(snapshots))
    (root / "warm" / "test-00000-of-00002.parquet").rename(shard)
    (root / "cold" / "test-00000-of-00001.parquet").unlink()
    assert rows_of(hub(snapshots)) == ROWS[:2]
    message = refusal(lambda: hub(snapshots, config="cold"))
    assert "its card names cold/test-*, but no file matches" in message
    (root / "warm" / "test-00000-of-00001.parquet").unlink()
    (root / "warm" / "test-00000-of-00001.parquet").symlink_to(root / "gone")
    assert "is a link to a missing file" in refusal(lambda: hub(snapshots))


def test_the_first_config_need_not_be_there(snapshots: Path) -> None:
    shutil.rmtree(snapshots / "palette" / "colours" / "warm")
    assert rows_of(hub(snapshots, config="cold")) == ROWS[2:]


def test_a_script_is_not_run(snapshots: Path) -> None:
    (snapshots / "palette" / "colours" / "colours.py").write_text("raise SystemExit('run')")
    assert "(colours.py), and scripts are never run" in refusal(lambda: hub(snapshots))


def test_a_card_that_states_another_number_of_rows_is_an_error(snapshots: Path) -> None:
    readme = snapshots / "palette" / "colours" / "README.md"
    promise = "dataset_info:\n- config_name: warm\n  splits:\n  - {name: test, num_examples: 3}\n---\n# Colours"
    readme.write_text(CARD.replace("---\n# Colours", promise))
    assert "its card states 3 rows of test, but its files hold 2" in refusal(lambda: hub(snapshots))


def test_linked_files_are_read(snapshots: Path, tmp_path: Path) -> None:
    parquet = snapshots / "palette" / "colours" / "warm" / "test-00000-of-00001.parquet"
    parquet.rename(tmp_path / "elsewhere.parquet")
    parquet.symlink_to(tmp_path / "elsewhere.parquet")
    assert rows_of(hub(snapshots)) == ROWS[:2]
    _rewrite(tmp_path / "elsewhere.parquet", ROWS[:1])
    assert rows_of(hub(snapshots)) == ROWS[:1]


COMMITS = ("1" * 40, "2" * 40)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with two commits of one dataset, `main` the second; offline."""
    root = tmp_path / "hub" / "datasets--palette--colours"
    for commit, rows in zip(COMMITS, (ROWS[:1], ROWS), strict=True):
        path = tmp_path / "made.parquet"
        Dataset.from_list(rows).to_parquet(path)
        for name, content in (("test-00000-of-00001.parquet", path.read_bytes()), ("README.md", b"# Colours\n")):
            blob = root / "blobs" / hashlib.sha256(content).hexdigest()
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            link = root / "snapshots" / commit / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMITS[1])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    return root


@pytest.mark.parametrize(("revision", "rows", "commit"), [(None, ROWS, 1), ("main", ROWS, 1), (COMMITS[0], ROWS[:1], 0)])
def test_rows_of_the_hubs_cache_are_of_the_revision_named(cached: Path, revision: str | None, rows: list[Any], commit: int) -> None:
    split = hub(None, config=None, revision=revision)
    assert rows_of(split) == rows
    assert split.revision == COMMITS[commit]


def test_a_revision_that_is_not_cached_is_not_replaced_by_another(cached: Path) -> None:
    assert "can't load the dataset" in refusal(lambda: hub(None, config=None, revision="3" * 40))


def test_without_a_branch_what_was_fetched_last_is_read_and_named(cached: Path) -> None:
    (cached / "refs" / "main").unlink()
    os.utime(cached / "snapshots" / COMMITS[0], ns=(2, 2**62))
    assert hub(None, config=None).revision == COMMITS[0]


def test_a_changed_file_of_the_hubs_cache_is_told(cached: Path) -> None:
    from harness.errors import ContentError

    blob = (cached / "snapshots" / COMMITS[1] / "test-00000-of-00001.parquet").resolve()
    _rewrite(blob, [{"thing": "coal", "label": 0}])
    with pytest.raises(ContentError, match=f"does not match its name {blob.name}"):
        hub(None, config=None)


def test_a_file_changed_while_its_rows_are_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.errors import ContentError
    from harness.util import contents

    read = contents.read

    def slow(path: Path) -> contents.Reading:
        found = read(path)
        write_rows(path, [{"thing": "coal", "label": 0}])
        return found

    monkeypatch.setattr(contents, "read", slow)
    with pytest.raises(ContentError, match=r"changed while its rows were read"):
        local(tmp_path)
