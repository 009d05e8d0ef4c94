"""Read a task's rows from local snapshots, from files next to the task file, or from the Hub, all through `datasets`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.contract import Item
from harness.errors import DataError, HarnessError, TaskError, UnavailableError
from harness.tasks import reading
from harness.tasks.schema import Data, Task
from harness.tasks.templates import Where, evaluate
from harness.util import paths
from harness.util.libraries import require

_BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


@dataclass(frozen=True)
class Split:
    """The items of one split.

    Attributes:
        items: after rename, explode, filter, derive and merge.
        digest: SHA-256 (hex) over the items' digests, in order.
        revision: Hub commit of the rows; None for local files.
    """

    items: Sequence[Item]
    digest: str
    revision: str | None


@dataclass
class DataReader:
    """Reads each split once: few-shot examples and scored items often share a split.

    Args:
        folder: local snapshots of datasets (`<folder>/<namespace>/<name>`), checked before the Hub; None for the Hub alone.
    """

    folder: Path | None = None
    _raw: dict[tuple[str, str | None, str | None, str], tuple[list[dict[str, Any]], str | None]] = field(default_factory=dict)
    _sources: dict[tuple[str, str | None, str | None], reading.DataSource] = field(default_factory=dict)
    _splits: dict[tuple[str, str, Path, str], Split] = field(default_factory=dict)
    _hub_silent: bool = False

    def forget(self) -> None:
        """Drop the rows read so far; whether the Hub answers is remembered."""
        self._raw.clear()
        self._sources.clear()
        self._splits.clear()

    def split(self, task: Task, name: str, beside: Path) -> Split:
        """The items of the split `name`; `beside` is the folder of the task file, which local files are relative to.

        Raises:
            DataError: the dataset, config, split or a column is missing or unreadable.
            TaskError: an expression of the task fails.
            MissingLibraryError: the library datasets is not installed.
        """
        key = (task.task, task.data.model_dump_json(), beside, name)
        if key not in self._splits:
            require("datasets")
            rows, revision = self._rows(task, name, beside)
            items = _items(task, name, rows)
            digest = hashlib.sha256("".join(item.digest for item in items).encode()).hexdigest()
            self._splits[key] = Split(items, digest, revision)
        return self._splits[key]

    def _rows(self, task: Task, name: str, beside: Path) -> tuple[list[dict[str, Any]], str | None]:
        data = task.data
        if data.files is not None:
            if name not in data.files:
                raise DataError(f"Task {task.task}: data.files has no split {name!r}.", f"Its splits: {', '.join(data.files)}.")
            path = (beside / data.files[name]).resolve()
            key: tuple[str, str | None, str | None, str] = (str(path), None, None, name)
        else:
            assert data.path is not None
            key = (data.path, data.config, data.revision, name)
        if key not in self._raw:
            if data.files is not None:
                self._raw[key] = (read_file(task.task, Path(key[0])), None)
            else:
                self._raw[key] = self._read_dataset(task, name)
        return self._raw[key]

    def _read_dataset(self, task: Task, name: str) -> tuple[list[dict[str, Any]], str | None]:
        data = task.data
        assert data.path is not None
        if self.folder is not None:
            if not self.folder.is_dir():
                raise DataError(f"The data folder {self.folder} does not exist.", "Set another one with --data or HARNESS_DATA.")
            local = self.folder / data.path
            if local.is_dir():
                opened = self._opened((str(local), data.config, None), lambda: reading.open_folder(local, data.config))
                return _rows_of(task.task, str(local), data, name, opened, declared=name in task.about.rows)
        looked = f" It is not in the data folder {self.folder}." if self.folder is not None else ""
        revision, answered = (data.revision, False) if self._hub_silent else _hub_revision(task.task, data, looked)
        self._hub_silent = not answered
        hub = data.path
        opened = self._opened((hub, data.config, revision), lambda: reading.open_hub(hub, data.config, revision, answered=answered))
        rows = _rows_of(task.task, hub, data, name, opened, looked, answered=answered)
        if answered:
            reading.remember_name(hub, data.revision)
        return rows

    def _opened(
        self, key: tuple[str, str | None, str | None], opening: Callable[[], reading.DataSource]
    ) -> Callable[[], reading.DataSource]:
        """A function that opens a config's source on the first call; its splits share the source."""

        def opened() -> reading.DataSource:
            if key not in self._sources:
                self._sources[key] = opening()
            return self._sources[key]

        return opened


def _hub_revision(task: str, data: Data, looked: str) -> tuple[str | None, bool]:
    """The current commit on the Hub, and whether the Hub answered; without an answer, the requested revision, which may be cached.

    Without a network this request fails within seconds; `load_dataset` alone would retry for half a minute.
    """
    if paths.offline():
        return data.revision, False
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return str(HfApi().dataset_info(str(data.path), revision=data.revision, timeout=15).sha), True
    except GatedRepoError as error:
        raise UnavailableError(
            f"Task {task}: the dataset {data.path} is gated.{looked}", "Accept its terms on its page and log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise DataError(
            f"Task {task}: the dataset {data.path} has no revision {data.revision!r}.{looked}", "Check data.revision."
        ) from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"Task {task}: the Hub has no dataset {data.path!r}, or it is private.{looked}",
            "Check data.path, or log in with `hf auth login`.",
        ) from error
    except Exception:  # noqa: BLE001 - whatever the network does, the cache may still hold the dataset
        return data.revision, False


def _rows_of(
    task: str,
    path: str,
    data: Data,
    name: str,
    opened: Callable[[], reading.DataSource],
    looked: str = "",
    *,
    declared: bool = False,
    answered: bool = False,
) -> tuple[list[dict[str, Any]], str | None]:
    """All rows of a split, and their Hub commit.

    `declared` means that the official release has the split: if it is missing, the snapshot is incomplete. If the Hub has not `answered`,
    only its local cache is read.
    """
    missing = UnavailableError if declared else DataError
    try:
        with reading.hub_silent(not answered):
            source = opened()
            if name not in source.splits:
                raise missing(f"Task {task}: the dataset {path} has no split {name!r}.", f"Its splits: {', '.join(source.splits)}.")
            return list(source.dataset(name)), source.revision
    except HarnessError:
        raise
    except ValueError as error:
        raise _config_error(task, path, data, error) from error
    except reading.MissingFilesError as error:
        raise DataError(f"Task {task}: the dataset {path} cannot be read: {error}.", "Download the whole dataset again.") from error
    except Exception as error:
        if isinstance(error, (ConnectionError, FileNotFoundError)):
            state = "you are offline" if paths.offline() else "the Hub does not answer"
            raise UnavailableError(
                f"Task {task}: can't load the dataset {data.path}: {state} and it is not in the local cache.{looked}",
                f"Download it on a machine with a network (`hf download --repo-type dataset {data.path} --local-dir DIR/{data.path}`) "
                "and pass --data DIR.",
            ) from error
        raise DataError(f"Task {task}: the dataset {path} cannot be read: {type(error).__name__}: {error}.", "Check the files.") from error


def _config_error(task: str, path: str, data: Data, error: ValueError) -> DataError:
    """The error for a missing config, recognized by the message of `datasets`, or for another unreadable dataset."""
    text = str(error)
    if "BuilderConfig" in text or "Config name is missing" in text:
        try:
            names = ", ".join(reading.datasets_library().get_dataset_config_names(path))
        except Exception:  # noqa: BLE001 - the list is only a help
            names = "unknown"
        return DataError(f"Task {task}: the dataset {path} has no config {data.config!r}.", f"Its configs: {names}.")
    return DataError(f"Task {task}: the dataset {path} cannot be read: {text}.", "Check data.path, data.config and data.split.")


def read_file(task: str, path: Path) -> list[dict[str, Any]]:
    """All rows of a csv, tsv, json(l) or parquet file; raises DataError where it cannot be read."""
    builder = _BUILDERS.get(path.suffix)
    if builder is None:
        raise DataError(f"Task {task}: {path} has an unknown format.", f"Supported file endings: {', '.join(_BUILDERS)}.")
    if not path.is_file():
        raise DataError(f"Task {task}: the data file {path} does not exist.", "Paths are relative to the task file.")
    options = {"sep": "\t"} if path.suffix == ".tsv" else {}
    try:
        return list(reading.open_file(builder, path, **options).dataset("train"))
    except HarnessError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        why = str(cause) or f"it holds no rows ({type(cause).__name__})"
        raise DataError(
            f"Task {task}: {path} cannot be read: {why}.", "Check the file; a .jsonl file has one JSON object per line."
        ) from error


def _items(task: Task, split: str, rows: Iterable[Mapping[str, Any]]) -> list[Item]:
    data = task.data
    selected: list[tuple[str, dict[str, Any]]] = []
    for number, row in _numbered(task, rows):
        if data.filter is not None and not evaluate(data.filter, row, Where(task.task, "data.filter", number)):
            continue
        for name, expression in data.derive.items():
            row[name] = evaluate(expression, row, Where(task.task, f"data.derive.{name}", number))
        item_id = number if data.id is None else str(evaluate(data.id, row, Where(task.task, "data.id", number)))
        selected.append((item_id, row))
    if data.merge is not None:
        selected = _merged(task, selected)
    if not selected:
        raise DataError(f"Task {task.task}: split {split!r} has no rows.", "Check data.split and data.filter.")
    seen: set[str] = set()
    for item_id, _ in selected:
        if item_id in seen:
            raise TaskError(f"Task {task.task}: two items of split {split!r} have the id {item_id!r}.", "Correct data.id.")
        seen.add(item_id)
    return [Item(item_id, row, digest(row)) for item_id, row in selected]


def _numbered(task: Task, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows after rename and explode, each with its id: the row number, or `number_place` after explode."""
    explode = task.data.explode
    for number, source in enumerate(rows):
        row = _renamed(task.task, dict(source), task.data)
        if explode is None:
            yield str(number), row
            continue
        where = Where(task.task, "data.explode", str(number))
        elements = evaluate(explode.over, row, where)
        if not isinstance(elements, (list, tuple)):
            raise TaskError(f"{where}: {explode.over!r} gives {type(elements).__name__}, not a list.", "Correct data.explode.over.")
        for place, element in enumerate(elements):
            yield f"{number}_{place}", row | {explode.name: element, explode.number: place}


def _renamed(task: str, row: dict[str, Any], data: Data) -> dict[str, Any]:
    for old in data.rename.values():
        if old not in row:
            raise DataError(f"Task {task}: data.rename: the data has no column {old!r}.", f"Its columns: {', '.join(row)}.")
    unchanged = {name: value for name, value in row.items() if name not in data.rename.values()}
    return unchanged | {new: row[old] for new, old in data.rename.items()}


def _merged(task: Task, rows: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    merge = task.data.merge
    assert merge is not None
    merged: dict[str, tuple[str, dict[str, Any]]] = {}
    for item_id, row in rows:
        missing = [column for column in merge.collect if column not in row]
        if missing:
            raise DataError(f"Task {task.task}: data.merge: the data has no column {missing[0]!r}.", f"Its columns: {', '.join(row)}.")
        key = str(evaluate(merge.by, row, Where(task.task, "data.merge.by", item_id)))
        if key not in merged:
            merged[key] = (item_id, row | {column: [] for column in merge.collect})
        for column in merge.collect:
            merged[key][1][column].append(row[column])
    return list(merged.values())


def digest(row: Mapping[str, Any]) -> str:
    """SHA-256 of a row's canonical JSON, its first 16 hex characters."""
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
