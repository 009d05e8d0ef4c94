"""What was asked and answered, item by item: `samples/<task>.jsonl`; and what it adds up to: `samples/<task>.statistics.json`."""

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
"""SHA-256 (hex) of files by their path below the results folder; None where an earlier version recorded none: then nothing is verified."""

_AGAIN = "Run the task again with this folder as --output."
_RESTORE = (
    "It was changed, exchanged, or a run was stopped while it wrote. Restore it, or run the same command again: "
    "cached responses are not computed twice. `harness results verify` checks whole folders."
)
_UNSAFE = str.maketrans(dict.fromkeys('/\\:*?"<>|', "."))


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One item of a run.

    Attributes:
        id: the item's id within its task and split.
        digest: the item's content digest; runs pair their items by it.
        prompt: what the model read.
        target: index of the right choice, or indices of several; the reference text, or all reference texts.
        prediction: index of the chosen answer, or the text that was judged.
        metrics: score of this item alone by metric; None where a single item has none.
        logprobs: natural-log probability of each choice; choices form only.
        choices: their texts.
        cluster: what it shares with other items, with which it is resampled; None where it stands alone.
        text: the generated text before it was cut to the prediction; other forms only.
        labels: what the task says about the item.
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
    """One metric's sufficient statistics, from which its score can be computed again over any of the rows.

    Attributes:
        metric: the metric's registered name.
        options: its options.
        table: [rows, statistics], float64; a row is a sample, or a group of samples that the metric judges as one.
        clusters: number of each row's cluster [rows], the same in all metrics of a task; None where rows stand alone.
    """

    metric: str
    options: dict[str, Any]
    table: NDArray[np.float64]
    clusters: NDArray[np.intp] | None = None


def folder_of(folder: Path) -> Path:
    """Where samples and statistics lie in a results folder."""
    return folder / "samples"


def path_of(folder: Path, task: str) -> Path:
    """Where the samples of `task` lie in a results folder; characters that not every file system takes become dots."""
    return folder_of(folder) / f"{task.translate(_UNSAFE)}.jsonl"


def lines(samples: Iterable[SampleRecord]) -> Iterator[str]:
    """The lines of a samples file. Metric values that are not finite become null."""
    return map(_line, samples)


def read(folder: Path, place: str, files: Files) -> list[SampleRecord]:
    """The samples of one task, in the order in which they were written.

    Args:
        folder: the results folder.
        place: the task; `task@wording` where it has several, `task~perturbation` for copies of its items.
        files: what the task's record says of its files (`TaskRecord.files`).

    Raises:
        StorageError: the file is missing, is not the one that was recorded, is cut short, or holds something else; names the line.
    """
    path = path_of(folder, place)
    try:
        return list(_records(path, checked(folder, path, place, files).decode()))
    except FileNotFoundError as error:
        raise StorageError(f"There are no samples of {place} in {folder}.", _AGAIN) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"Cannot read {path}: {error}.", _AGAIN) from error


def statistics_path_of(folder: Path, task: str) -> Path:
    """Where the statistics of `task` lie, beside its samples."""
    return path_of(folder, task).with_suffix(".statistics.json")


def statistics_lines(kept: Mapping[str, StatisticsRecord]) -> Iterator[str]:
    """The text of a statistics file; metrics whose statistics are not finite are left out."""
    packed = [
        f"{json.dumps(name)}: {json.dumps(_packed(record), allow_nan=False, default=str)}"
        for name, record in kept.items()
        if np.isfinite(record.table).all()
    ]
    yield "{\n" + ",\n".join(packed) + "\n}\n"


def read_statistics(folder: Path, place: str, files: Files) -> dict[str, StatisticsRecord]:
    """The statistics of one task by metric; none where the run wrote no file.

    Args:
        folder: the results folder.
        place: the task; `task@wording` where it has several.
        files: what the task's record says of its files (`TaskRecord.files`).

    Raises:
        StorageError: the file was recorded and is missing, cannot be read, is not the one that was recorded, or holds something else.
    """
    path = statistics_path_of(folder, place)
    try:
        content = json.loads(checked(folder, path, place, files))
        return {name: _unpacked(packed) for name, packed in content.items()}
    except FileNotFoundError as error:
        if path.relative_to(folder).as_posix() in (files or {}):
            raise missing(path, place) from error
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise StorageError(f"Cannot read {path}: {error}.", _AGAIN) from error


def missing(path: Path, place: str) -> StorageError:
    """The error for a file that was recorded and is not there."""
    return StorageError(f"{path} ({place}) is missing, and the results.json beside it records it.", _RESTORE)


def checked(folder: Path, path: Path, place: str, files: Files) -> bytes:
    """The bytes of a file in a results folder, after they were compared with the recorded SHA-256.

    Raises:
        OSError: the file cannot be read.
        StorageError: it is not the file that was recorded, or none was.
    """
    content = path.read_bytes()
    if files is None:
        return content
    recorded = files.get(path.relative_to(folder).as_posix())
    if recorded is None:
        raise StorageError(f"{path} ({place}) is not recorded in the results.json beside it.", _RESTORE)
    if hashlib.sha256(content).hexdigest() != recorded:
        raise StorageError(f"{path} ({place}) is not the file that the results.json beside it records.", _RESTORE)
    return content


def _packed(record: StatisticsRecord) -> dict[str, Any]:
    """Equal rows once, with the places where they stand, and without columns of zeros: a cell of a large matrix is one number."""
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
                raise ValueError("the line is cut short")
            yield _parsed(line)
        except ValueError as error:
            raise StorageError(
                f"{path}, line {number}: {error}.",
                "The file was cut or changed after it was written: run the task again with this folder as --output.",
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
    except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8 form, but a JSON escape
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
            raise ValueError(f"field {name!r} is missing or of a wrong type")
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
