"""Samples, the items of a run (`samples/<task>.jsonl`), and sufficient statistics (`samples/<task>.statistics.json`)."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from harness.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Files: TypeAlias = "Mapping[str, str] | None"
"""SHA-256 (hex) of files by path relative to the results folder; None if an earlier version recorded none, so nothing is verified."""

_AGAIN = "Run the task again with this folder as --output."
_RESTORE = (
    "It was changed or replaced, or a run was stopped while writing it. Restore it, or run the same command again: "
    "cached responses are not computed twice. `harness results verify` checks whole folders."
)
_UNSAFE = str.maketrans(dict.fromkeys('/\\:*?"<>|', "."))


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One item of a run.

    Attributes:
        id: the item's id within its task and split.
        digest: the item's content digest; runs pair their items by it.
        prompt: the model's input.
        target: index of the correct choice, or indices of several; the reference text, or all reference texts.
        prediction: index of the chosen answer, or the text that was scored.
        metrics: score of this item by metric; None if a single item has no score.
        logprobs: natural-log probability of each choice; choices form only.
        choices: their texts.
        cluster: name of the cluster that is resampled together; None if the item is independent.
        text: the generated text before it was cut to the prediction; generated texts only.
        labels: the task's labels of the item.
    """

    id: str
    digest: str
    prompt: str
    target: str | int | list[str] | list[int]
    prediction: str | int
    metrics: dict[str, float | None]
    logprobs: list[float] | None = None
    text: str | None = None
    labels: dict[str, Any] | None = None
    choices: list[str] | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class StatisticsRecord:
    """Sufficient statistics of a metric, from which its score over any of the rows can be computed.

    Attributes:
        metric: the metric's registered name.
        options: its options.
        table: [rows, statistics], float64; a row is a sample, or a group of samples that the metric scores together.
        clusters: cluster number of each row [rows], the same for all metrics of a task; None if rows are independent.
    """

    metric: str
    options: dict[str, Any]
    table: NDArray[np.float64]
    clusters: NDArray[np.intp] | None = None


def folder_of(folder: Path) -> Path:
    """The folder of samples and statistics in a results folder."""
    return folder / "samples"


def path_of(folder: Path, task: str) -> Path:
    """The file of a task's samples in a results folder; characters that some file systems refuse become dots."""
    return folder_of(folder) / f"{task.translate(_UNSAFE)}.jsonl"


def lines(samples: Iterable[SampleRecord]) -> Iterator[str]:
    """The lines of a samples file; metric values that are not finite become null."""
    return map(_line, samples)


def read(folder: Path, place: str, files: Files) -> list[SampleRecord]:
    """Read the samples of a task, in the order in which they were written.

    Args:
        folder: the results folder.
        place: the task; `task@template` if it has several templates, `task~perturbation` for perturbed copies.
        files: digests of the task's files (`TaskRecord.files`).

    Raises:
        StorageError: the file is missing, is not the recorded one, is truncated, or has invalid content; names the line.
    """
    path = path_of(folder, place)
    try:
        return list(_records(path, checked(folder, path, place, files).decode()))
    except FileNotFoundError as error:
        if _is_recorded(folder, path, files):
            raise missing(path, place) from error
        raise StorageError(f"There are no samples of {place} in {folder}.", _AGAIN) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"Cannot read {path}: {error}.", _AGAIN) from error


def statistics_path_of(folder: Path, task: str) -> Path:
    """The file of a task's statistics, next to its samples."""
    return path_of(folder, task).with_suffix(".statistics.json")


def statistics_lines(statistics: Mapping[str, StatisticsRecord]) -> Iterator[str]:
    """The text of a statistics file, without metrics whose statistics are not finite."""
    packed = [
        f"{json.dumps(name)}: {json.dumps(_packed(record), allow_nan=False, default=str)}"
        for name, record in statistics.items()
        if np.isfinite(record.table).all()
    ]
    yield "{\n" + ",\n".join(packed) + "\n}\n"


def read_statistics(folder: Path, place: str, files: Files) -> dict[str, StatisticsRecord]:
    """Read the statistics of a task by metric; empty if the run wrote no file.

    Args:
        folder: the results folder.
        place: the task; `task@template` if it has several templates.
        files: digests of the task's files (`TaskRecord.files`).

    Raises:
        StorageError: the file was recorded and is missing, cannot be read, is not the recorded one, or has invalid content.
    """
    path = statistics_path_of(folder, place)
    try:
        content = json.loads(checked(folder, path, place, files))
        return {name: _unpacked(packed) for name, packed in content.items()}
    except FileNotFoundError as error:
        if _is_recorded(folder, path, files):
            raise missing(path, place) from error
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise StorageError(f"Cannot read {path}: {error}.", _AGAIN) from error


def missing(path: Path, place: str) -> StorageError:
    """The error for a recorded file that does not exist."""
    return StorageError(f"{path} ({place}) is missing, although results.json records it.", _RESTORE)


def _is_recorded(folder: Path, path: Path, files: Files) -> bool:
    return path.relative_to(folder).as_posix() in (files or {})


def checked(folder: Path, path: Path, place: str, files: Files) -> bytes:
    """Read a file in a results folder and compare it with the recorded SHA-256.

    Raises:
        OSError: the file cannot be read.
        StorageError: it is not the recorded file, or it is not recorded at all.
    """
    content = path.read_bytes()
    if files is None:
        return content
    recorded = files.get(path.relative_to(folder).as_posix())
    if recorded is None:
        raise StorageError(f"{path} ({place}) is not recorded in the results.json next to it.", _RESTORE)
    if hashlib.sha256(content).hexdigest() != recorded:
        raise StorageError(f"{path} ({place}) is not the file that the results.json next to it records.", _RESTORE)
    return content


def _packed(record: StatisticsRecord) -> dict[str, Any]:
    """Distinct rows with their positions, without columns of zeros, so that a cell of a large matrix takes one number."""
    rows, places = np.unique(record.table, axis=0, return_inverse=True)
    columns = np.flatnonzero((rows != 0).any(axis=0))
    content: dict[str, Any] = {"metric": record.metric, "options": record.options, "width": record.table.shape[1]}
    content |= {"columns": columns.tolist(), "rows": rows[:, columns].tolist(), "places": places.ravel().tolist()}
    return content if record.clusters is None else content | {"clusters": record.clusters.tolist()}


def _unpacked(packed: dict[str, Any]) -> StatisticsRecord:
    rows = np.zeros((len(packed["rows"]), packed["width"]))
    rows[:, packed["columns"]] = np.array(packed["rows"], dtype=np.float64).reshape(len(rows), len(packed["columns"]))
    table = rows[np.array(packed["places"], dtype=np.intp)]
    clusters = np.array(packed["clusters"], dtype=np.intp) if packed.get("clusters") is not None else None
    if clusters is not None and clusters.shape != (len(table),):
        raise ValueError(f"{clusters.size} clusters for {len(table)} rows")
    return StatisticsRecord(packed["metric"], packed["options"], table, clusters)


def _records(path: Path, text: str) -> Iterator[SampleRecord]:
    *whole, rest = text.split("\n")
    for number, line in enumerate([*whole, rest] if rest else whole, start=1):
        try:
            if number > len(whole):
                raise ValueError("the line is truncated")
            yield _parsed(line)
        except ValueError as error:
            raise StorageError(
                f"{path}, line {number}: {error}.",
                "The file is truncated or changed: run the task again with this folder as --output.",
            ) from error


def _line(sample: SampleRecord) -> str:
    content: dict[str, Any] = {"id": sample.id, "digest": sample.digest, "prompt": sample.prompt}
    content |= {"target": sample.target, "prediction": sample.prediction}
    if sample.choices is not None:
        content["choices"] = sample.choices
    if sample.logprobs is not None:
        content["logprobs"] = sample.logprobs
    if sample.text is not None:
        content["text"] = sample.text
    if sample.labels is not None:
        content["labels"] = sample.labels
    if sample.cluster is not None:
        content["cluster"] = sample.cluster
    content["metrics"] = {name: value if value is None or math.isfinite(value) else None for name, value in sample.metrics.items()}
    line = json.dumps(content, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8 form, only a JSON escape
        line = json.dumps(content, allow_nan=False)
    return line + "\n"


def _parsed(line: str) -> SampleRecord:
    try:
        content = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(content, dict):
        raise ValueError("not an object")
    unknown = sorted(set(content) - set(SampleRecord.__dataclass_fields__))
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}")
    for name, fits in _FIELDS.items():
        if not fits(content.get(name)):
            raise ValueError(f"field {name!r} is missing or has an invalid type")
    return SampleRecord(**content)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_answer(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


_FIELDS: dict[str, Callable[[object], bool]] = {
    "id": _is_text,
    "digest": _is_text,
    "prompt": _is_text,
    "target": lambda value: _is_answer(value) or (isinstance(value, list) and all(map(_is_answer, value))),
    "prediction": _is_answer,
    "metrics": lambda value: isinstance(value, dict) and all(v is None or _is_number(v) for v in value.values()),
    "logprobs": lambda value: value is None or (isinstance(value, list) and all(map(_is_number, value))),
    "choices": lambda value: value is None or (isinstance(value, list) and all(map(_is_text, value))),
    "text": lambda value: value is None or _is_text(value),
    "labels": lambda value: value is None or isinstance(value, dict),
    "cluster": lambda value: value is None or _is_text(value),
}
