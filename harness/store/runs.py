"""Runs on disk: write, read, merge and find `results.json`."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from harness.errors import InputError, StorageError
from harness.store import digests
from harness.store.records import RunRecord
from harness.util.atomic import write_text

SCHEMA_VERSION = 2
_UNVERIFIED_VERSION = 1
"""This version recorded no digests; it can be read but not verified."""
FILE_NAME = "results.json"
NOISE_FOLDER = "noise"
"""Folder of a second evaluation of the same system in other batches."""
_EDITED = (
    "Results are not meant to be edited: restore the file, or remove it and run the evaluation again; cached responses make that fast."
)


def write(record: RunRecord, folder: Path) -> Path:
    """Write `results.json` into `folder`, replacing an earlier one; `saving.save` writes a run together with its samples.

    Raises:
        StorageError: it cannot be written; an earlier file stays.
    """
    path = folder / FILE_NAME
    write_text(path, text(record))
    return path


def text(record: RunRecord) -> str:
    """The content of `results.json`: the record, and a digest over all of it."""
    content = record.model_dump(mode="json")
    sealed = {"schema_version": content["schema_version"], digests.DIGEST: digests.digest(digests.canonical(content))}
    return json.dumps(sealed | content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> RunRecord:
    """Read a run from its folder or its `results.json`. Files of schema 1 have no digest; their tasks are `unverified`.

    Raises:
        StorageError: the file is missing or truncated, has an unknown schema or an invalid field, or changed after it was written.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        written = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StorageError(f"There is no run at {file}.", "Give the folder of a finished run, the one passed with --output.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"Cannot read {file}: {error}.", "Check the file's permissions, or run the evaluation again.") from error
    content = _parsed(file, written)
    version = _version(content, file)
    if version == _UNVERIFIED_VERSION:
        if digests.later_fields(content):
            raise StorageError(f"{file} has schema_version 1, but also fields that only later versions wrote: it was changed.", _EDITED)
        content = digests.upgraded(content)
    body = digests.canonical(content)
    try:
        record = RunRecord.model_validate_json(digests.canonical(digests.renamed(content)), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the whole file"
        raise StorageError(f"{file}, field {field}: {first['msg']}.", _EDITED) from error
    if version != _UNVERIFIED_VERSION and content.get(digests.DIGEST) != digests.digest(body):
        raise StorageError(f"{file} was changed after it was written: its content does not match its digest.", _EDITED)
    return record


def merge(old: RunRecord | None, new: RunRecord) -> RunRecord:
    """The new run, plus the tasks and groups of an earlier run of the same system that it did not evaluate.

    An earlier group is dropped if the result of one of its tasks changed: its aggregate would no longer match its tasks.

    Raises:
        StorageError: the earlier run evaluated another system.
    """
    if old is None:
        return new
    if old.system.digest != new.system.digest:
        raise StorageError(
            f"The output folder holds the run of {old.system.name}, another system than {new.system.name}.",
            "Choose another folder with --output, or remove that one.",
        )
    tasks = {**old.tasks, **new.tasks}
    unchanged = {name: group for name, group in old.groups.items() if all(tasks.get(task) == old.tasks.get(task) for task in group.tasks)}
    return new.model_copy(update={"tasks": tasks, "groups": {**unchanged, **new.groups}})


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """All `results.json` at or below the given paths, each once, sorted by path below a folder; noise folders are skipped.

    Raises:
        InputError: a path does not exist or has no run.
    """
    unique: dict[Path, Path] = {}
    for path in paths:
        files = [path] if path.is_file() else _below(path)
        if not files:
            what = f"{path} has no {FILE_NAME}." if path.exists() else f"{path} does not exist."
            raise InputError(what, "Give folders of finished runs, or a folder above them.")
        for file in files:
            unique.setdefault(file.resolve(), file)
    return list(unique.values())


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of `results.json`."""
    schema = RunRecord.model_json_schema(mode="serialization")
    digest = {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "SHA-256 of all other fields as compact ASCII JSON, in order.",
    }
    schema["properties"] = {digests.DIGEST: digest, **schema["properties"]}
    schema["required"] = [digests.DIGEST, *schema["required"]]
    schema["$defs"]["TaskRecord"]["required"].append("files")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _below(folder: Path) -> list[Path]:
    results = []
    for parent, inner, files in os.walk(folder):
        if FILE_NAME in files:
            inner[:] = [name for name in inner if name != NOISE_FOLDER]
            results.append(Path(parent) / FILE_NAME)
    return sorted(results)


def _parsed(file: Path, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_not_a_number)
    except RecursionError as error:
        raise StorageError(f"{file} is nested too deeply to be a results file.", "Give the folder of a finished run.") from error
    except json.JSONDecodeError as error:
        raise StorageError(
            f"{file}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg}).",
            "The file is truncated or changed: remove it and run again; cached responses make that fast.",
        ) from error
    except ValueError as error:
        raise StorageError(f"{file}: {error}.", "Remove it and run again; cached responses make that fast.") from error


def _not_a_number(token: str) -> NoReturn:
    raise ValueError(f"contains {token}, which is not valid JSON")


def _version(content: Any, file: Path) -> int:
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version is None:
        raise StorageError(f"{file} is not a results file: it has no schema_version.", "Give the folder of a finished run.")
    for known in (_UNVERIFIED_VERSION, SCHEMA_VERSION):
        if type(version) is int and version == known:
            return known
    raise StorageError(
        f"{file} has schema_version {version!r}; this version of harness reads {_UNVERIFIED_VERSION} and {SCHEMA_VERSION}.",
        "Use the version of harness that wrote it, or run the evaluation again.",
    )
