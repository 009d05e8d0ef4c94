"""Read the rows of a dataset from its files each time, without a cache between the files and the rows that are scored.

`datasets` caches a folder under its name and config, and a file under its path and modification time, so it would not notice other rows in
their place. Here it only finds the files (the card's `configs`, file name patterns) and decodes them; what it writes goes to a temporary
folder. Files in the Hub's cache are compared with the digests in their names.
"""

from __future__ import annotations

import glob
import logging
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ContentError
from harness.util import contents, paths

if TYPE_CHECKING:
    from datasets import Dataset

_SHARD = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\..*)$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")


class MissingFilesError(Exception):
    """Files of a dataset are missing, or do not hold what its card says."""


@dataclass
class DataSource:
    """The files of one config of a dataset.

    Args:
        builder: of `datasets`; decodes the files.
        revision: Hub commit of the files.
        folder: of the snapshot, if it is one.
    """

    builder: Any
    revision: str | None
    folder: Path | None = None
    _files: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        named = self.builder.config.data_files
        if not named:
            raise MissingFilesError("it has no data files")
        self._files = {str(split): list(files) for split, files in named.items()}

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits."""
        return tuple(self._files)

    def dataset(self, split: str) -> Dataset:
        """Read the rows of a split into memory.

        Raises:
            ContentError: a file cannot be read, changed while it was read, or does not match its digest in the Hub's cache.
            MissingFilesError: one of several numbered files is missing, or the card states another number of rows.
            Exception: raised by `datasets` for files that it cannot decode.
        """
        if self.folder is not None:
            _check_patterns(self.folder, self.builder.config.name, split)
        with _temporary_folder() as scratch:
            manager = _manager(self.builder, scratch)
            files = [Path(manager.download(file)) for file in self._files[split]]
            _check_shards(files)
            readings = [contents.read(path) for path in files]
            rows = self._decoded(split, manager, scratch)
        for path, reading in zip(files, readings, strict=True):
            if contents.State.of(path) != reading.state:
                raise ContentError(f"The file {path} changed while its rows were read.", "Run again when nothing writes to it.")
        stated = self.builder.info.splits
        if stated and split in stated and stated[split].num_examples != len(rows):
            raise MissingFilesError(f"its card states {stated[split].num_examples:,} rows of {split}, but its files hold {len(rows):,}")
        return rows

    def _decoded(self, split: str, manager: Any, scratch: Path) -> Dataset:
        """The rows that `load_dataset` would give with an empty cache, with the same features.

        The features are the card's, or those of the first table of the first split, whose files are then read as well.
        """
        datasets, builder = datasets_library(), self.builder
        if not isinstance(builder, datasets.ArrowBasedBuilder):  # folders of images and the like
            builder.download_and_prepare(output_dir=str(scratch / "rows"), verification_mode="no_checks")
            examples: Dataset = datasets.Dataset.from_list(list(builder.as_dataset(split)), features=builder.info.features)
            return examples
        first = self.splits[0]
        whole, builder.config.data_files = builder.config.data_files, self._only(first, split)
        try:
            generators = {str(generator.name): generator for generator in builder._split_generators(manager)}
            if builder.info.features is None and split != first:
                builder.info.features = _features(next(_tables(builder, generators[first]), None))
            tables = list(_tables(builder, generators[split]))
        finally:
            builder.config.data_files = whole
        if builder.info.features is None:
            builder.info.features = _features(next(iter(tables), None))
        return _dataset(tables, builder.info.features)

    def _only(self, *splits: str) -> Any:
        named = self.builder.config.data_files
        return type(named)({split: named[split] for split in dict.fromkeys(splits)})


def open_folder(folder: Path, config: str | None, **options: Any) -> DataSource:
    """A config of a snapshot.

    Raises:
        MissingFilesError: its card names files that are missing, or it is a script.
        ValueError: it has no such config.
        Exception: any other error of `datasets`.
    """
    if (script := folder / f"{folder.name}.py").is_file():
        raise MissingFilesError(f"it is a script ({script.name}), and scripts are never run")
    if broken := sorted(path for path in folder.rglob("*") if path.is_symlink() and not path.exists()):
        raise MissingFilesError(f"{broken[0]} is a link to a missing file")
    revision = folder.name if folder.parent.name == "snapshots" and _COMMIT.match(folder.name) else None
    try:
        return DataSource(_builder(str(folder), config, options), revision, folder)
    except FileNotFoundError as error:
        patterns = _patterns(folder, config)  # `datasets` looks for the first config's files, whichever config is requested
        if patterns is None:
            raise MissingFilesError(_first_line(error)) from error
    try:
        return DataSource(_builder(str(folder), config, options | {"data_files": patterns}), revision, folder)
    except FileNotFoundError as error:
        raise MissingFilesError(_first_line(error)) from error


def open_file(builder: str, path: Path, **options: Any) -> DataSource:
    """One file as the split `train`, read by a builder of `datasets`: csv, json or parquet."""
    return open_files(builder, data_files=glob.escape(str(path)), **options)


def open_files(builder: str, **options: Any) -> DataSource:
    """The files in the option `data_files`, read by a builder of `datasets`."""
    return DataSource(_builder(builder, None, options), None)


def open_hub(hub: str, config: str | None, revision: str | None, *, answered: bool, **options: Any) -> DataSource:
    """A config of a Hub dataset: its files are fetched if the Hub has `answered`, and read from the Hub's local cache.

    Args:
        hub: id of the dataset.
        config: its name, None for the default.
        revision: the commit; if the Hub has not answered, also a branch or tag, or None for any cached revision.
        answered: whether the Hub answers.
        options: of `datasets`.

    Raises:
        FileNotFoundError: it is not in the Hub's local cache.
        MissingFilesError: some of its files are missing.
        ValueError: it has no such config.
        Exception: any other error of `datasets`.
    """
    if answered:
        return DataSource(_builder(hub, config, options | {"revision": revision}), revision)
    return open_folder(_cached(hub, revision), config, **options)


def datasets_library() -> Any:
    """The library `datasets`, with progress bars and log messages off."""
    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # an error reports unreadable files
    return datasets


@contextmanager
def hub_silent(silent: bool) -> Iterator[None]:
    """While active, `datasets` sends no request to the Hub if the Hub is `silent` or offline mode is on."""
    config = datasets_library().config
    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or silent or paths.offline()
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


def remember_name(hub: str, revision: str | None) -> None:
    """Record in the Hub's cache which commit a branch or tag points to: files are fetched by commit, and offline the name is needed."""
    from huggingface_hub import hf_hub_download

    if revision is None or not _COMMIT.match(revision):
        with suppress(Exception):  # only the name is missing offline
            hf_hub_download(hub, "README.md", repo_type="dataset", revision=revision)


def _cached(hub: str, revision: str | None) -> Path:
    """The folder of a revision in the Hub's cache; by default of the branch `main`, or of the last fetched commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub, repo_type="dataset", revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        commits = [path for path in (Path(HF_HUB_CACHE) / f"datasets--{hub.replace('/', '--')}" / "snapshots").glob("*") if path.is_dir()]
        if revision is not None or not commits:
            raise FileNotFoundError(str(error)) from error
        return max(commits, key=lambda path: path.stat().st_mtime)


def _builder(path: str, config: str | None, options: Mapping[str, Any]) -> Any:
    with _temporary_folder() as scratch:
        return datasets_library().load_dataset_builder(path, config, cache_dir=str(scratch), **options)


def _patterns(folder: Path, config: str | None) -> dict[str, Any] | None:
    """File patterns of a config by split, from a snapshot's card; None if the card has none."""
    from datasets.data_files import sanitize_patterns

    try:
        entries = _configs((folder / "README.md").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    named = [entry for entry in entries if entry.get("config_name", "default") == (config or "default") and "data_dir" not in entry]
    return dict(sanitize_patterns(named[0]["data_files"])) if named and "data_files" in named[0] else None


@lru_cache(maxsize=8)
def _configs(card: str) -> tuple[Mapping[str, Any], ...]:
    """The configs that a card lists; cached, since tasks often use many configs of one dataset."""
    from huggingface_hub import DatasetCard

    settings: Any = DatasetCard(card, ignore_metadata_errors=True).data
    return tuple(settings.to_dict().get("configs") or ())


def _check_patterns(folder: Path, config: str, split: str) -> None:
    """Check that every file pattern of a split in the card matches a file; `datasets` skips patterns without files."""
    from datasets.data_files import resolve_pattern

    for pattern in (_patterns(folder, config) or {}).get(split, ()):
        try:
            resolve_pattern(pattern, str(folder))
        except FileNotFoundError as error:
            raise MissingFilesError(f"its card names {pattern}, but no file matches") from error


def _tables(builder: Any, generator: Any) -> Iterator[Any]:
    return (table for _, table in builder._generate_tables(**generator.gen_kwargs))


def _features(table: Any) -> Any:
    """The features of a table; None without a table."""
    return None if table is None else datasets_library().Features.from_arrow_schema(table.schema)


def _dataset(tables: list[Any], features: Any) -> Dataset:
    import pyarrow as pa

    datasets = datasets_library()
    if not tables:
        empty: Dataset = datasets.Dataset.from_dict({})
        return empty
    alike = [datasets.table.table_cast(table.combine_chunks(), features.arrow_schema) for table in tables]
    rows: Dataset = datasets.Dataset(datasets.table.InMemoryTable(pa.concat_tables(alike)), info=datasets.DatasetInfo(features=features))
    return rows


def _manager(builder: Any, scratch: Path) -> Any:
    """The download manager of a builder: Hub files go to the Hub's cache, unpacked files to the temporary folder."""
    datasets = datasets_library()
    config = datasets.DownloadConfig(cache_dir=str(scratch / "downloads"), token=builder.token, storage_options=builder.storage_options)
    return datasets.DownloadManager(dataset_name=builder.dataset_name, download_config=config, base_path=builder.base_path)


def _check_shards(files: Iterable[Path]) -> None:
    """Check that every file of a numbered series (`-00000-of-00003`) exists."""
    series: dict[tuple[str, str, str], set[int]] = {}
    for path in files:
        if match := _SHARD.match(path.name):
            series.setdefault((str(path.parent / match["stem"]), match["count"], match["ending"]), set()).add(int(match["number"]))
    for (stem, count, ending), numbers in series.items():
        if absent := sorted(set(range(int(count))) - numbers):
            raise MissingFilesError(f"{stem}-{absent[0]:05d}-of-{count}{ending} is missing")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "its files are missing").rstrip(".")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="harness-rows-") as folder:
        yield Path(folder)
