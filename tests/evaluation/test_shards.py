"""A run in shards: merged, it equals the run of one process; what does not fit together is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.engine.pieces import Shard
from harness.errors import HarnessError, InputError, StorageError
from harness.evaluation.options import Options
from harness.evaluation.run import run
from harness.evaluation.shard_run import merge, run_shard
from harness.evaluation.shards import CACHE_NAME, FILE_NAME
from tests.parts import model_and_tasks
from tests.silent import Recorder

ONLY_OF_A_RUN = {"created", "command", "digest", "efficiency"}
COUNT = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_and_tasks(
        tmp_path_factory.mktemp("shards"), [{"thing": f"thing {number % 23}", "label": number % 2} for number in range(40)]
    )


def options(root: Path, output: Path, **changes: Any) -> Options:
    chosen: dict[str, Any] = {
        "model": str(root / "model"),
        "adapter": (None, str(root / "tuned")),
        "tasks": (str(root / "pick.yaml"), str(root / "write.yaml")),
        "device": "cpu",
        "any_base": True,
        "batch_tokens": 64,
    }
    return Options(output=output, **chosen | changes)


@pytest.fixture(scope="module")
def shards(root: Path) -> list[Path]:
    """All shards of a run."""
    folders = [root / "shards" / str(number) for number in range(1, COUNT + 1)]
    for number, folder in enumerate(folders, 1):
        run_shard(options(root, folder), Shard(number, COUNT), Recorder())
    return folders


@pytest.fixture
def copied(shards: list[Path], tmp_path: Path) -> list[Path]:
    """The shards, to be changed."""
    return [Path(shutil.copytree(folder, tmp_path / "copied" / folder.name)) for folder in shards]


def files(folder: Path) -> dict[str, Any]:
    """Everything that a run saves, without what differs between two runs of the same."""
    saved: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = path.read_text(encoding="utf-8")
        fields = json.loads(text).items() if path.suffix == ".json" else ()
        saved[str(path.relative_to(folder))] = {key: value for key, value in fields if key not in ONLY_OF_A_RUN} if fields else text
    return saved


def test_merged_shards_equal_the_run_of_one_process(root: Path, shards: list[Path], tmp_path: Path) -> None:
    alone = run(options(root, tmp_path / "alone", fresh=True), Recorder(), cache=tmp_path / "alone.sqlite")
    merged = merge(list(reversed(shards)), tmp_path / "merged", Recorder())
    assert [finished.record.system.name for finished in merged] == ["model", "model+tuned"]
    assert files(tmp_path / "alone") == files(tmp_path / "merged")
    for one, other in zip(alone, merged, strict=True):
        assert one.record.efficiency.requests == other.record.efficiency.requests
        assert one.record.efficiency.tokens.requested == other.record.efficiency.tokens.requested
        assert other.record.efficiency.tokens.decode == one.record.efficiency.tokens.decode


def test_every_shard_computes_a_part(shards: list[Path]) -> None:
    computed = [[system["computed"] for system in json.loads((folder / FILE_NAME).read_text())["systems"]] for folder in shards]
    assert all(number > 0 for numbers in computed for number in numbers)
    assert [sum(numbers) for numbers in zip(*computed, strict=True)] == [2 * 23, 2 * 23]


def test_a_shard_resumes(root: Path, copied: list[Path], tmp_path: Path) -> None:
    run_shard(options(root, copied[0]), Shard(1, COUNT), Recorder())
    assert [system["computed"] for system in json.loads((copied[0] / FILE_NAME).read_text())["systems"]] == [0, 0]
    merge(copied, tmp_path / "merged", Recorder())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folders: folders.pop(), "1 of 3 shards are missing: 3/3"),
        (lambda folders: folders.append(folders[0].parent / "none"), "There is no finished shard"),
        (lambda folders: folders.__setitem__(2, Path(shutil.copytree(folders[0], folders[0].parent / "again"))), "are both shard 1/3"),
        (lambda folders: (folders[1] / FILE_NAME).unlink(), "There is no finished shard"),
        (lambda folders: (folders[1] / CACHE_NAME).unlink(), "There is no response cache"),
        (lambda folders: (folders[1] / CACHE_NAME).write_bytes(b"x" * 5000), "is damaged or not a response cache"),
        (lambda folders: edit(folders[1], "number", 9), "are missing|both shard"),
        (lambda folders: edit(folders[1], "count", 4), "4 shards instead of 3"),
        (lambda folders: edit(folders[1], "options", {"seed": 7}), "another run .* the option"),
        (lambda folders: edit(folders[1], "versions", {"torch": "1.0"}), "torch 1.0 instead of"),
        (lambda folders: (folders[1] / FILE_NAME).write_text("{"), "field the whole file"),
        (lambda folders: folders.__setitem__(1, folders[1] / FILE_NAME), "is a file"),
    ],
)
def test_what_does_not_fit_together_is_refused(copied: list[Path], tmp_path: Path, change: Any, words: str) -> None:
    folders = list(copied)
    change(folders)
    with pytest.raises(HarnessError, match=words):
        merge(folders, tmp_path / "merged", Recorder())
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"x" * 5000)])
def test_the_shard_whose_cache_is_lost_is_named(copied: list[Path], tmp_path: Path, damage: Any) -> None:
    damage(copied[1] / CACHE_NAME)
    with pytest.raises(StorageError) as caught:
        merge(copied, tmp_path / "merged", Recorder())
    assert "run shard 2/3 again" in str(caught.value.remedy)


def test_shards_may_have_run_in_other_places(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    here = {"model": "./model", "adapter": (None, "./tuned"), "tasks": ("./pick.yaml", "./write.yaml")}
    folders = [tmp_path / "1", tmp_path / "2"]
    for number, (folder, data) in enumerate(zip(folders, (tmp_path, root), strict=True), 1):
        run_shard(options(root, folder, data=data, **here), Shard(number, 2), Recorder())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match="gone"):
        merge(folders, tmp_path / "merged", Recorder(), data=tmp_path / "gone")
    merged = merge(folders, tmp_path / "merged", Recorder(), data=root)
    assert [finished.record.system.name for finished in merged] == ["model", "model+tuned"]


def edit(folder: Path, name: str, value: Any) -> None:
    path = folder / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))


def test_responses_that_are_missing_are_counted(copied: list[Path], tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(copied[1] / CACHE_NAME) as connection:
        connection.execute("DELETE FROM responses WHERE key IN (SELECT key FROM responses LIMIT 2)")
    connection.close()
    with pytest.raises(StorageError, match=r"[12] of 46 responses are missing or damaged"):
        merge(copied, tmp_path / "merged", Recorder())


def test_a_model_that_changed_since_is_another_system(root: Path, shards: list[Path], tmp_path: Path) -> None:
    config = root / "model" / "generation_config.json"
    before = config.read_text()
    try:
        config.write_text(json.dumps(json.loads(before) | {"max_length": 77}))
        with pytest.raises(StorageError, match="model is another system here than in shard 1/3"):
            merge(shards, tmp_path / "merged", Recorder())
    finally:
        config.write_text(before)


def test_rows_that_changed_since_are_other_prompts(root: Path, shards: list[Path], tmp_path: Path) -> None:
    rows = root / "rows.jsonl"
    before = rows.read_text()
    try:
        rows.write_text(before.replace("thing 7", "thing 77"))
        with pytest.raises(StorageError, match="model gets other prompts here than in shard 1/3"):
            merge(shards, tmp_path / "merged", Recorder())
    finally:
        rows.write_text(before)


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "1/0", "a/b", "-1/3", "1/99999999999", "1/20000"])
def test_shards_have_a_form(text: str) -> None:
    with pytest.raises(InputError, match="--shard"):
        Shard.parse(text)


def test_a_shard_needs_a_folder_of_its_own(root: Path) -> None:
    with pytest.raises(InputError, match="--shard needs --output"):
        run_shard(Options(model=str(root / "model"), tasks="demo"), Shard(1, 2), Recorder())
