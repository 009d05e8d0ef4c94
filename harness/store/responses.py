"""Every response that was ever computed, by what was asked and of whom.

SQLite in write-ahead mode: several processes of one machine may share a file. (Write-ahead mode needs shared memory, so
a file on a network drive must not be written from two machines.)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import struct
import time
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from harness.contract import ChoiceScores, Generate, Generation, Request, Response, ScoreChoices, ScoreText, TextScore
from harness.errors import NumericError, StorageError
from harness.store.atomic import storage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

Payload: TypeAlias = str
"""A response without its id, as JSON."""

SCHEMA = 1
"""Raised whenever keys or payloads change their meaning."""

_CHUNK = 500
_CREATE = """CREATE TABLE responses (
    key BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 32),
    payload TEXT NOT NULL,
    times INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID"""
_PUT = "INSERT INTO responses (key, payload) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET times = times + 1"


class ResponseStore:
    """A file of responses; use it as a context manager.

    Args:
        path: the SQLite file, made with its folder where missing.
        timeout: seconds to wait for another writer.

    Raises:
        StorageError: the file cannot be opened, is damaged, or belongs to another version.
    """

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        self.path = path
        self.timeout = timeout
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    @staticmethod
    def key(system_key: str, request: Request) -> bytes:
        """SHA-256 (32 bytes) of everything that decides the answer; the request's id is no part of it.

        Args:
            system_key: names the system exactly: weights, adapter, dtype, quantization, tokenizer.
            request: what is asked of it.
        """
        name = system_key.encode()
        parts = [struct.pack("<IQ", SCHEMA, len(name)), name]
        if isinstance(request, ScoreChoices):
            parts += [b"C", _packed(request.context), struct.pack("<Q", len(request.choices))]
            parts += [_packed(choice) for choice in request.choices]
        elif isinstance(request, ScoreText):
            parts += [b"T", struct.pack("<Q", len(request.windows))]
            parts += [_packed(ids) for window in request.windows for ids in window]
        else:
            parts += [b"G", _packed(request.context), _settings(request)]
        return hashlib.sha256(b"".join(parts)).digest()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Payload]:
        """The payloads of those keys that are known; `restore` turns one into a response.

        Raises:
            StorageError: the file cannot be read.
        """
        found: dict[bytes, Payload] = {}
        with self._errors():
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                found.update(self._connection.execute(f"SELECT key, payload FROM responses WHERE key IN ({marks})", chunk))
        return found

    def restore(self, payload: Payload, request_id: str) -> Response:
        """The kept response, with the id of the request that asks now.

        Raises:
            StorageError: the payload was not written by this store.
        """
        try:
            return _decode(payload, request_id)
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(f"an answer cannot be read ({error!r})") from error

    def put(self, batch: Sequence[tuple[bytes, Response]]) -> None:
        """Keep a batch in one transaction; it is on the disk when this returns.

        A key that is already known keeps its first payload, and `times` counts that it was computed again.

        Raises:
            StorageError: the batch cannot be written; nothing of it is kept, everything before it is.
            NumericError: a response holds a number that is not finite.
        """
        rows = [(key, _encode(response)) for key, response in batch]
        with self._errors():
            self._transaction(lambda: self._connection.executemany(_PUT, rows))

    def forget(self, keys: Sequence[bytes]) -> None:
        """Drop the responses of these keys.

        Raises:
            StorageError: the file cannot be written.
        """
        with self._errors():
            self._transaction(lambda: self._connection.executemany("DELETE FROM responses WHERE key = ?", [(key,) for key in keys]))

    def times(self, key: bytes) -> int:
        """How often the response of `key` was computed; 0 where it is unknown.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._errors():
            row = self._connection.execute("SELECT times FROM responses WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._errors():
            self._connection.close()

    def __enter__(self) -> ResponseStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _prepare(self) -> None:
        self._write_ahead()
        self._connection.execute("PRAGMA synchronous = FULL")
        if self._version() == SCHEMA:
            return
        self._transaction(self._create)

    def _write_ahead(self) -> None:
        """Switch to write-ahead mode. SQLite does not wait for other processes here, so this does."""
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
        """Make the table, unless another process just did; the caller holds the write lock."""
        version = self._version()
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables == 0:
            self._connection.execute(_CREATE)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA}")
        elif version != SCHEMA:
            raise StorageError(
                f"{self.path} holds responses of schema {version}; this version of harness reads schema {SCHEMA}.",
                "Move the file away, or use the version of harness that wrote it; its answers will be computed again.",
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
                "Free some space and run the same command again; what was finished is kept and will not be computed twice.",
            )
        if "locked" in text or "busy" in text:
            return StorageError(
                f"{self.path} was locked by another process for more than {self.timeout:g} seconds.",
                "Wait until it has finished, then run the same command again; what was finished is kept.",
            )
        if "unable to open" in text or "readonly" in text:
            return StorageError(f"{self.path} cannot be opened for writing ({text}).", "Check that it is a file that you may write.")
        if "not a database" in text or "malformed" in text or "no such table" in text or "no such column" in text:
            return self._damaged(text)
        return StorageError(f"{self.path} cannot be used ({text}).", "Check the disk, then run the same command again.")

    def _damaged(self, reason: str) -> StorageError:
        return StorageError(
            f"{self.path} is damaged or no store of responses: {reason}.",
            "Move it away (with its -wal and -shm files, if any) and run the same command again; its answers will be computed again.",
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


def _encode(response: Response) -> Payload:
    content: dict[str, Any]
    if isinstance(response, ChoiceScores):
        content = {"logprobs": list(map(float, response.logprobs)), "greedy": list(map(int, response.greedy))}
    elif isinstance(response, TextScore):
        content = {"windows": list(map(float, response.logprobs)), "greedy": list(map(int, response.greedy))}
    else:
        content = {"text": response.text, "tokens": list(map(int, response.tokens)), "finish": response.finish}
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise NumericError(f"The response to request {response.id!r} holds a number that is not finite.") from error


def _decode(payload: Payload, request_id: str) -> Response:
    content = json.loads(payload)
    if "logprobs" in content:
        return ChoiceScores(request_id, tuple(map(float, content["logprobs"])), tuple(map(bool, content["greedy"])))
    if "windows" in content:
        return TextScore(request_id, tuple(map(float, content["windows"])), tuple(map(bool, content["greedy"])))
    finish = cast("Literal['eos', 'stop', 'length']", content["finish"])
    return Generation(request_id, content["text"], tuple(map(int, content["tokens"])), finish)
