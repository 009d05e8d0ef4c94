"""Shards: one run computed by several processes that share nothing, such as the tasks of a Slurm array, and merged afterwards.

Each shard plans all requests and computes whole batches of that plan, so that its responses equal those of one process. It keeps them in a
cache of its own; SQLite must not be shared over a network drive. Merging copies the caches into one, and scores what they hold.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness import __version__
from harness.contract import Moments, Usage, add_usage
from harness.engine.pieces import Shard
from harness.errors import InputError, StorageError
from harness.evaluation.options import Options, option_fields
from harness.store.records import system_record
from harness.util.atomic import write_text
from harness.util.libraries import computing_versions, differences

if TYPE_CHECKING:
    from harness.contract import System
    from harness.evaluation.response_cache import ResponseCache

FILE_NAME = "shard.json"
CACHE_NAME = "responses.sqlite"
_OF_THE_SHARD = {"output", "fresh", "device", "workers"}
"""Options that may differ between the shards of a run, and are not recorded."""

_PLACES = {"model", "adapter", "data"}
"""Options that may say where files are on a machine; what those files hold is compared by digests."""


class UsageRecord(BaseModel):
    """`contract.Usage` in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    counts: dict[str, int | float]
    moments: dict[str, tuple[float, ...]]

    @classmethod
    def of(cls, usage: Usage) -> UsageRecord:
        """The record of what was spent."""
        values = {field.name: getattr(usage, field.name) for field in dataclasses.fields(Usage)}
        return cls(
            counts={name: value for name, value in values.items() if not isinstance(value, Moments)},
            moments={name: dataclasses.astuple(value) for name, value in values.items() if isinstance(value, Moments)},
        )

    @property
    def usage(self) -> Usage:
        """What was spent."""
        moments: dict[str, Any] = {name: Moments(int(values[0]), *values[1:]) for name, values in self.moments.items()}
        counts: dict[str, Any] = dict(self.counts)
        return Usage(**counts, **moments)


class ShardSystem(BaseModel):
    """One system of a shard.

    Attributes:
        name: of the system.
        digest: identifies the system.
        requests: SHA-256 (hex) over the keys of all unique requests of the run, not of this shard alone.
        computed: number of requests that this shard computed.
        usage: what this shard spent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    digest: str
    requests: str
    computed: int
    usage: UsageRecord


class ShardRecord(BaseModel):
    """The content of `shard.json`, written when a shard is finished."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shard_schema: int = Field(1, ge=1, le=1)
    number: int
    count: int
    harness_version: str
    versions: dict[str, str]
    options: dict[str, Any]
    systems: list[ShardSystem]

    @property
    def shard(self) -> Shard:
        """Which part it is."""
        return Shard(self.number, self.count)


def record(shard: Shard, options: Options, systems: Sequence[ShardSystem]) -> ShardRecord:
    """The record of a finished shard."""
    return ShardRecord(
        shard_schema=1,
        number=shard.number,
        count=shard.count,
        harness_version=__version__,
        versions=computing_versions(),
        options=_plain(options),
        systems=list(systems),
    )


def write(finished: ShardRecord, folder: Path) -> Path:
    """Write `shard.json` into a folder.

    Raises:
        StorageError: it cannot be written.
    """
    path = folder / FILE_NAME
    write_text(path, finished.model_dump_json(indent=2) + "\n")
    return path


def read(folder: Path) -> ShardRecord:
    """Read the record of a finished shard.

    Raises:
        StorageError: it is missing or invalid.
    """
    path = folder / FILE_NAME
    try:
        return ShardRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        unfinished = " It was not finished: run it again to resume." if (folder / CACHE_NAME).exists() else ""
        raise StorageError(
            f"There is no finished shard in {folder}.{unfinished}", "Give the --output of each `harness run --shard`."
        ) from error
    except NotADirectoryError as error:
        raise StorageError(f"{folder} is a file.", "Give the folder of the shard: the --output of its run.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"Cannot read {path}: {error}.", "Check its permissions, or run the shard again.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the whole file"
        raise StorageError(
            f"{path}, field {field}: {first['msg']}.", "Run the shard again; its cached responses make that fast."
        ) from error


def complete(folders: Sequence[Path]) -> dict[Path, ShardRecord]:
    """The records of all shards of one run, by folder, in the order of their numbers.

    Raises:
        StorageError: a shard is missing, given twice, or belongs to another run: other options, systems, requests or versions.
    """
    records = {folder: read(folder) for folder in folders}
    if not records:
        raise InputError("There is no shard to merge.", "Give the --output of each `harness run --shard`.")
    first_folder, first = next(iter(records.items()))
    numbers: dict[int, Path] = {}
    for folder, other in records.items():
        if difference := _difference(first, other):
            raise StorageError(f"{folder} is a shard of another run than {first_folder}: {difference}.", "Merge the shards of one run.")
        if other.number in numbers:
            raise StorageError(f"{folder} and {numbers[other.number]} are both shard {other.shard}.", "Give each shard once.")
        numbers[other.number] = folder
    missing = [f"{number}/{first.count}" for number in range(1, first.count + 1) if number not in numbers]
    if missing:
        listed = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise StorageError(f"{len(missing)} of {first.count} shards are missing: {listed}.", "Run them, or give their folders too.")
    return {numbers[number]: records[numbers[number]] for number in sorted(numbers)}


def options_of(finished: ShardRecord, output: Path | None, data: Path | None, command: Sequence[str]) -> Options:
    """The options of the whole run.

    Args:
        finished: one of its shards.
        output: folder for the results.
        data: folder of local datasets and models; None for that of the shard.
        command: recorded in the results.

    Raises:
        InputError: an option is invalid, or a folder that it names is missing here.
    """
    known = {field.name for field in option_fields()}
    given = {name: value for name, value in finished.options.items() if name in known} | ({} if data is None else {"data": data})
    return Options(**given, output=output, command=tuple(command))


@dataclass(frozen=True)
class MergedShards:
    """All shards of one run.

    Attributes:
        records: of each shard.
    """

    records: Sequence[ShardRecord]

    def usage(self, system: System, cache: ResponseCache) -> Usage:
        """What all shards spent on a system, whose responses the cache then holds.

        Raises:
            StorageError: the system or its requests are others here than where the shards ran, or responses are missing.
        """
        total, computed = Usage(), 0
        for finished in self.records:
            part = next((entry for entry in finished.systems if entry.name == system.name), None)
            if part is None or part.digest != system_record(system).digest:
                raise StorageError(
                    f"{system.name} is another system here than in shard {finished.shard}.", "Merge where the same model and adapters are."
                )
            if part.requests != cache.digest:
                raise StorageError(
                    f"{system.name} gets other prompts here than in shard {finished.shard}.",
                    "Merge where the same data and task files are.",
                )
            computed += part.computed
            add_usage(total, part.usage.usage)
        if not cache.complete:
            raise StorageError(
                f"{system.name}: {cache.missing:,} of {cache.unique:,} responses are missing or damaged in the shards.",
                "Run the shards again, which computes only what is missing there.",
            )
        cache.computed = computed
        return total


def _difference(first: ShardRecord, other: ShardRecord) -> str:
    """How two shards differ where they must not, in words; empty where they do not."""
    if other.count != first.count:
        return f"{other.count} shards instead of {first.count}"
    for name in _changed(*({name: value for name, value in record.options.items() if name not in _PLACES} for record in (first, other))):
        return f"the option {name} is {other.options.get(name)!r} instead of {first.options.get(name)!r}"
    if versions := differences(first.versions, other.versions):
        return versions
    systems = [{system.name: (system.digest, system.requests) for system in record.systems} for record in (first, other)]
    if systems[0] != systems[1]:
        name = next(iter(_changed(systems[0], systems[1])))
        return f"the system {name} or its requests differ"
    return ""


def versions_differ(finished: ShardRecord) -> str:
    """How the versions of a shard differ from those installed here, in words; empty where they do not."""
    return differences(computing_versions(), finished.versions)


def _changed(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*first, *other} if first.get(name) != other.get(name))


def _plain(options: Options) -> dict[str, Any]:
    """The options as JSON, with whole paths, without those that may differ between shards."""
    values = {field.name: _whole(getattr(options, field.name)) for field in option_fields() if field.name not in _OF_THE_SHARD}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def _whole(value: Any) -> Any:
    """A value of an option, or several, with the whole path in place of one that is there."""
    if isinstance(value, (tuple, list)):
        return [_whole(entry) for entry in value]
    named = isinstance(value, Path) or (isinstance(value, str) and os.sep in value)
    if named and Path(value).exists():
        return str(Path(value).resolve())
    return value
