"""The response cache on disk: every computed response, by request and system.

Each row has a checksum over key and payload, and each response is validated against its request: a row that is damaged, or whose
response does not fit the request, is not returned. A row with a damaged key is never found.

The SQLite file is in write-ahead mode: several processes on one machine can share it. (Write-ahead mode needs shared memory, so two
machines must not write to a file on a network drive.)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

from harness.contract import ChoiceScores, Generate, Generation, Request, Response, ScoreChoices, ScoreText, TextScore
from harness.errors import NumericError, StorageError
from harness.store.validity import expected, fault
from harness.util.atomic import storage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

Number = TypeVar("Number", int, float)
Answer: TypeAlias = tuple[bytes, Request, Response]
"""A key, its request and its response."""

SCHEMA = 2
"""Version of the table. Schema 1 had no checksums."""

_KEYS = 1
"""Version of keys and payloads; increased whenever their meaning changes."""

_UNCHECKED = 1
_CHUNK = 500
_CHECKSUM = "checksum BLOB CHECK (length(checksum) = 16)"
_CREATE = f"""CREATE TABLE responses (
    key BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 32),
    payload TEXT NOT NULL,
    times INTEGER NOT NULL DEFAULT 1,
    {_CHECKSUM}
) WITHOUT ROWID"""
_PUT = """INSERT INTO responses (key, payload, checksum) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET
    times = times + 1,
    payload = CASE WHEN checksum IS NULL THEN excluded.payload ELSE payload END,
    checksum = coalesce(checksum, excluded.checksum)"""
_DELETE = "DELETE FROM responses WHERE key = ?"


@dataclass(frozen=True, slots=True)
class Cached:
    """Cached responses to some requests.

    Attributes:
        responses: by key, with the ids of the requests.
        damaged: keys whose row is damaged, or whose response does not fit the request.
        unchecked: keys whose row has no checksum, because an earlier version wrote it. Damage would go unnoticed, so these responses
            are not returned.
    """

    responses: dict[bytes, Response]
    damaged: frozenset[bytes]
    unchecked: frozenset[bytes]


class ResponseStore:
    """A file of cached responses; use it as a context manager.

    Args:
        path: the SQLite file; created with its folder if missing.
        timeout: seconds to wait for another writer.

    Raises:
        StorageError: the file cannot be opened, is damaged, or belongs to another version.
    """

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        self.path = path
        self.timeout = timeout
        self._damaged_keys: set[bytes] = set()
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
            self._connection.text_factory = bytes  # a damaged payload may not be UTF-8; the checksum detects it
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    @staticmethod
    def key(system_key: str, request: Request) -> bytes:
        """SHA-256 (32 bytes) of everything that determines the response; the request's id is not part of it.

        Args:
            system_key: identifies the system exactly: weights, adapter, dtype, quantization, tokenizer.
            request: the request to the system.
        """
        name = system_key.encode()
        parts = [struct.pack("<IQ", _KEYS, len(name)), name]
        if isinstance(request, ScoreChoices):
            parts += [b"C", _packed(request.context), struct.pack("<Q", len(request.choices))]
            parts += [_packed(choice) for choice in request.choices]
        elif isinstance(request, ScoreText):
            parts += [b"T", struct.pack("<Q", len(request.windows))]
            parts += [_packed(ids) for window in request.windows for ids in window]
        else:
            parts += [b"G", _packed(request.context), _settings(request)]
        return hashlib.sha256(b"".join(parts)).digest()

    def get_many(self, requests: Mapping[bytes, Request]) -> Cached:
        """The valid cached responses to some requests.

        Args:
            requests: by key.

        Raises:
            StorageError: the file cannot be read.
        """
        responses: dict[bytes, Response] = {}
        damaged, unchecked = set(), set()
        keys = list(requests)
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            for key, payload, checksum in self._rows(chunk):
                request = requests.get(key)
                if request is None:  # damaged pages can return other rows
                    continue
                if checksum is None:
                    unchecked.add(key)
                elif (response := _valid(key, payload, checksum, request)) is None:
                    damaged.add(key)
                else:
                    responses[key] = response
        self._damaged_keys |= damaged
        return Cached(responses, frozenset(damaged), frozenset(unchecked))

    def put(self, batch: Sequence[Answer], engine: str = "the engine") -> None:
        """Save a batch in one transaction; it is on disk when this returns.

        A known key keeps its first payload, and `times` counts the repetition; a row that is damaged or has no checksum is replaced.

        Args:
            batch: keys, requests and responses.
            engine: the engine that computed them, for messages.

        Raises:
            StorageError: the batch cannot be written; none of it is saved, earlier batches are.
            NumericError: a response does not fit its request; none of the batch is saved.
        """
        rows = [_row(answer, engine) for answer in batch]
        replaced = [(key,) for key, _, _ in rows if key in self._damaged_keys]

        def write() -> None:
            self._connection.executemany(_DELETE, replaced)
            self._connection.executemany(_PUT, rows)

        with self._errors():
            self._transaction(write)
        self._damaged_keys.difference_update(key for (key,) in replaced)

    def absorb(self, path: Path) -> None:
        """Copy all responses of another file into this one; a known key keeps its payload.

        Raises:
            StorageError: that file is missing, damaged, or belongs to another version.
        """
        if not path.is_file():
            raise StorageError(f"There is no response cache at {path}.", "Give the folder that a run wrote.")
        ResponseStore(path, self.timeout).close()
        with self._errors():
            self._connection.execute("ATTACH DATABASE ? AS other", (str(path),))
            try:
                copy = "INSERT OR IGNORE INTO responses SELECT key, payload, times, checksum FROM other.responses"
                self._transaction(lambda: self._connection.execute(copy))
            finally:
                self._connection.execute("DETACH DATABASE other")

    def forget(self, keys: Sequence[bytes]) -> None:
        """Delete the responses of these keys.

        Raises:
            StorageError: the file cannot be written.
        """
        with self._errors():
            self._transaction(lambda: self._connection.executemany(_DELETE, [(key,) for key in keys]))

    def times(self, key: bytes) -> int:
        """How often the response of `key` was computed; 0 if it is not cached.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._errors():
            row = self._connection.execute("SELECT times FROM responses WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Close the file; the store cannot be used after this."""
        with self._errors():
            self._connection.close()

    def __enter__(self) -> ResponseStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _rows(self, keys: Sequence[bytes]) -> list[tuple[bytes, object, object]]:
        marks = ",".join("?" * len(keys))
        with self._errors():
            return self._connection.execute(f"SELECT key, payload, checksum FROM responses WHERE key IN ({marks})", keys).fetchall()

    def _prepare(self) -> None:
        self._write_ahead()
        self._connection.execute("PRAGMA synchronous = FULL")
        if self._version() == SCHEMA:
            return
        self._transaction(self._create)

    def _write_ahead(self) -> None:
        """Switch to write-ahead mode, waiting for other processes, since SQLite does not wait here."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _create(self) -> None:
        """Create the table, or add the checksums that schema 1 lacks, unless another process just did; the caller holds the write lock."""
        version = self._version()
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables == 0:
            self._connection.execute(_CREATE)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA}")
        elif version == _UNCHECKED:
            self._connection.execute(f"ALTER TABLE responses ADD COLUMN {_CHECKSUM}")
            self._connection.execute(f"PRAGMA user_version = {SCHEMA}")
        elif version != SCHEMA:
            raise StorageError(
                f"{self.path} holds responses of schema {version}; this version of harness reads schema {SCHEMA}.",
                "Use the version of harness that wrote it, or move the file away: its responses will be computed again.",
            )

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _transaction(self, work: Callable[[], object]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            work()
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(self.path, error, "HARNESS_CACHE") from error
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> StorageError:
        text = str(error)
        if "disk is full" in text:
            return StorageError(
                f"The disk is full: {self.path} cannot take more responses.",
                "Free some space and run the same command again; saved responses are not computed twice.",
            )
        if "locked" in text or "busy" in text:
            return StorageError(
                f"{self.path} was locked by another process for more than {self.timeout:g} seconds.",
                "Wait until it has finished, then run the same command again; saved responses are not computed twice.",
            )
        if "unable to open" in text or "readonly" in text:
            return StorageError(f"{self.path} cannot be opened for writing ({text}).", "Check that you have permission to write it.")
        if "not a database" in text or "malformed" in text or "no such table" in text or "no such column" in text:
            return self._damaged(text)
        return StorageError(f"{self.path} cannot be used ({text}).", "Check the disk, then run the same command again.")

    def _damaged(self, reason: str) -> StorageError:
        return StorageError(
            f"{self.path} is damaged or not a response cache: {reason}.",
            "Move it away (with its -wal and -shm files, if any) and run the same command again; its responses will be computed again.",
        )


def _packed(ids: Sequence[int]) -> bytes:
    return struct.pack(f"<Q{len(ids)}q", len(ids), *ids)


def _settings(request: Generate) -> bytes:
    parts = [struct.pack("<qddQ", request.max_new_tokens, request.temperature, request.top_p, len(request.stop))]
    for stop in request.stop:
        text = stop.encode("utf-8", "surrogatepass")
        parts += [struct.pack("<Q", len(text)), text]
    if request.temperature > 0:
        parts.append(str(request.seed).encode())
    if request.beams > 1:
        parts.append(f"beams:{request.beams}".encode())
    return b"".join(parts)


def _checksum(key: bytes, payload: bytes) -> bytes:
    return hashlib.blake2b(key + payload, digest_size=16).digest()


def _row(answer: Answer, engine: str) -> tuple[bytes, str, bytes]:
    key, request, response = answer
    if reason := fault(request, response):
        infinite = reason.endswith("not finite")
        advice = "Half precision can overflow: try --dtype float32." if infinite else "Correct the backend, or report this to its authors."
        raise NumericError(
            f"{engine} returned an invalid response to request {request.id!r}: {reason}.",
            f"Expected {expected(request)}. It was not saved; earlier responses were. {advice}",
        )
    payload = _encode(response)
    return key, payload, _checksum(key, payload.encode())


def _valid(key: bytes, payload: object, checksum: object, request: Request) -> Response | None:
    """The response in a row; None if the row is damaged or the response does not fit the request."""
    if not isinstance(payload, bytes) or checksum != _checksum(key, payload):
        return None
    try:
        response = _decode(payload, request.id)
    except (ValueError, KeyError, TypeError):
        return None
    return None if fault(request, response) else response


def _encode(response: Response) -> str:
    """A response without its id, as ASCII JSON."""
    content: dict[str, Any]
    if isinstance(response, ChoiceScores):
        content = {"logprobs": list(map(float, response.logprobs)), "greedy": list(map(int, response.greedy))}
    elif isinstance(response, TextScore):
        content = {"windows": list(map(float, response.logprobs)), "greedy": list(map(int, response.greedy))}
    else:
        content = {"text": response.text, "tokens": list(map(int, response.tokens)), "finish": response.finish}
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def _decode(payload: bytes, request_id: str) -> Response:
    content = json.loads(payload)
    if "logprobs" in content:
        return ChoiceScores(request_id, _all(float, content["logprobs"]), tuple(map(bool, _all(int, content["greedy"]))))
    if "windows" in content:
        return TextScore(request_id, _all(float, content["windows"]), tuple(map(bool, _all(int, content["greedy"]))))
    finish = cast("Literal['eos', 'stop', 'length']", content["finish"])
    if not isinstance(content["text"], str):
        raise TypeError("the text is missing")
    return Generation(request_id, content["text"], _all(int, content["tokens"]), finish)


def _all(kind: type[Number], values: Iterable[object]) -> tuple[Number, ...]:
    """The values as a tuple; raises TypeError unless all have exactly this type."""
    checked = tuple(values)
    if any(type(value) is not kind for value in checked):
        raise TypeError(f"a value is not of type {kind.__name__}")
    return cast("tuple[Number, ...]", checked)
