"""Digests of files by content: each file is read completely, compared with its name in the Hub's cache, and checked again after use.

Path, size and times do not identify content: `cp -p`, `rsync -t` and `tar` preserve all three. So every digest is of bytes that this
process has read. The file system's metadata (`State`) only serves to detect changes after reading, and as a hint: the digest that a large
file had in the same state lets a run start while the file is read again, and the run saves nothing before that reading confirms the digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import astuple, dataclass, field
from pathlib import Path

from harness.errors import ContentError
from harness.util import paths

_CHUNK = 16 << 20
"""Bytes read at once: enough that other Python threads hardly delay a thread that hashes."""

_LARGE = 8 << 20
"""Size in bytes from which a file is read in the background."""

_READERS = max(1, min(8, os.cpu_count() or 1))
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_GIT_SHA1 = re.compile(r"^[0-9a-f]{40}$")
_VERSION = re.compile(rb'"transformers_version"\s*:\s*"[^"]*"')
"""In config.json and generation_config.json: names the library version that wrote the file, and has no effect."""


@dataclass(frozen=True, slots=True)
class State:
    """The file system's metadata of a file; if all of it is equal, nobody has written to the file as far as the file system knows."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path | int) -> State:
        """The state of a file, given by path (links are followed) or descriptor; raises OSError."""
        stat = os.stat(path)
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Reading:
    """A completely read file: its SHA-256 (hex), and its state, which was the same before and after."""

    sha256: str
    state: State


def read(path: Path, stop: threading.Event | None = None, *, again: bool = True) -> Reading:
    """Hash a file; a file in the Hub's cache (`blobs/<digest>`) is compared with its name.

    Args:
        path: of the file; links are followed.
        stop: once it is set, reading ends and the result is meaningless.
        again: read once more if the file's state changed while reading.

    Raises:
        ContentError: the file cannot be read, was written to while it was read, or does not match its name in the Hub's cache.
    """
    try:
        real = path.resolve()
        blob = real.name if real.parent.name == "blobs" else ""
        sha256 = hashlib.sha256()
        with real.open("rb", buffering=0) as file:
            before = State.of(file.fileno())
            git = hashlib.sha1(b"blob %d\0" % before.size, usedforsecurity=False) if _GIT_SHA1.match(blob) else None
            chunk = memoryview(bytearray(min(_CHUNK, before.size + 1)))
            while (count := file.readinto(chunk)) and not (stop is not None and stop.is_set()):
                sha256.update(chunk[:count])
                if git is not None:
                    git.update(chunk[:count])
            after = State.of(file.fileno())
    except OSError as error:
        raise ContentError(f"The file {path} cannot be read: {error.strerror}.", "Check the file and its permissions.") from error
    reading = Reading(sha256.hexdigest(), before)
    if stop is not None and stop.is_set():
        return reading
    if before != after:
        if again:
            return read(path, stop, again=False)  # a link or an owner may have changed, not the content
        raise ContentError(f"The file {path} was written to while it was read.", "Run again when nothing writes to it.")
    digest = git.hexdigest() if git is not None else reading.sha256
    if (git is not None or _SHA256.match(blob)) and digest != blob:
        raise ContentError(
            f"The file {path} in the Hub's cache does not match its name {blob}: it was changed, or its download is incomplete.",
            f"Delete {real}, and run again with a network.",
        )
    return reading


def settings_digest(content: bytes) -> str:
    """SHA-256 of JSON settings, independent of the library version that wrote them."""
    return hashlib.sha256(_VERSION.sub(rb'"transformers_version":""', content)).hexdigest()


@dataclass
class Contents:
    """The files that identify a model, tokenizer or adapter, by name, with their digests.

    Large files are read by background threads, which start with the object.

    Args:
        find: returns the files by their names in the digest; called again to detect added and removed files.
        settings: names of JSON settings, in which the library's version does not count.
    """

    find: Callable[[], Mapping[str, Path]]
    settings: frozenset[str] = frozenset()
    _files: dict[str, Path] = field(init=False)
    _small: dict[str, Reading] = field(init=False, default_factory=dict)
    _large: dict[str, Future[Reading]] = field(init=False, default_factory=dict)
    _claimed: dict[str, str] = field(init=False, default_factory=dict)
    _confirmed: dict[str, Reading] = field(init=False, default_factory=dict)
    _stop: threading.Event = field(init=False, default_factory=threading.Event)
    _left: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._files = dict(self.find())
        known = _Hints()
        todo: deque[tuple[Path, Future[Reading]]] = deque()
        for name, path in self._files.items():
            state = _state(path)
            if state.size < _LARGE:
                self._small[name] = self._read_small(name)
                continue
            self._large[name] = Future()
            todo.append((path, self._large[name]))
            if (hint := known.sha256(path, state)) is not None:
                self._claimed[name] = hint
        for _ in range(min(_READERS, len(todo))):
            threading.Thread(target=_work, args=(todo, self._stop), daemon=True).start()

    @property
    def digest(self) -> str:
        """SHA-256 over names and contents; waits for large files that were never read in their present state."""
        parts = []
        for name in self._files:
            small = self._small.get(name)
            sha256 = small.sha256 if small is not None else self._claimed.get(name) or self._claim(name)
            parts.append(f"{name}:{sha256}")
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def sha256(self) -> dict[str, str]:
        """The digest of each file by name, after all of them were read."""
        self.confirm()
        return {name: (self._small.get(name) or self._confirmed[name]).sha256 for name in self._files}

    def confirm(self) -> None:
        """Wait until this process has read every file completely.

        Raises:
            ContentError: a file changed although its state did not, so that `digest` was incorrect.
        """
        if self._left or len(self._confirmed) == len(self._large):
            return
        known = _Hints()
        changed = []
        for name, future in self._large.items():
            reading = future.result()
            self._confirmed[name] = reading
            known.put(self._files[name], reading)
            if reading.sha256 != self._claimed.setdefault(name, reading.sha256):
                changed.append(self._files[name])
        known.save()
        if changed:
            self._confirmed.clear()
            raise ContentError(
                f"The content of the file {changed[0]} changed since it was last read, although its size and times did not.",
                "Nothing of this run was saved. Run again: the new digest is known now.",
            )

    def check(self) -> None:
        """Check that the files are still those that were hashed; call this after using the files, and before saving anything.

        A file in another state is read again; the same content in another state (a new owner, a new link) is not a change.

        Raises:
            ContentError: a file was changed, added or removed.
        """
        if self._left:
            return
        self.confirm()
        now = self.find()
        if list(now) != list(self._files) or any(now[name] != path for name, path in self._files.items()):
            other = next(iter(set(now.values()) ^ set(self._files.values())))
            raise ContentError(f"The file {other} was added or removed while it was in use.", _AGAIN)
        for name, path in self._files.items():
            readings = self._small if name in self._small else self._confirmed
            if _state(path) == readings[name].state:
                continue
            fresh = self._read_small(name) if name in self._small else read(path)
            if fresh.sha256 != readings[name].sha256:
                raise ContentError(f"The file {path} was changed while it was in use.", _AGAIN)
            readings[name] = fresh

    def leave(self) -> None:
        """Stop reading in the background, because another process confirms these files."""
        self._left = True
        self._stop.set()

    def _claim(self, name: str) -> str:
        self._claimed[name] = self._large[name].result().sha256
        return self._claimed[name]

    def _read_small(self, name: str) -> Reading:
        path = self._files[name]
        reading = read(path)
        if name not in self.settings:
            return reading
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != reading.sha256:
            raise ContentError(f"The file {path} was written to while it was read.", "Run again when nothing writes to it.")
        return Reading(settings_digest(content), reading.state)


_AGAIN = "What was computed with it was not saved. Run again when nothing writes to it, or copy it first."


def _state(path: Path) -> State:
    try:
        return State.of(path)
    except OSError as error:
        raise ContentError(f"The file {path} cannot be read: {error.strerror}.", "Check the file and its permissions.") from error


def _work(todo: deque[tuple[Path, Future[Reading]]], stop: threading.Event) -> None:
    """Read files until none is left; runs in a thread."""
    while True:
        try:
            path, future = todo.popleft()
        except IndexError:
            return
        try:
            future.set_result(read(path, stop))
        except Exception as error:  # noqa: BLE001 - `Future.result` raises it again
            future.set_exception(error)


class _Hints:
    """Digests of large files by path, with the state in which they were read; only used until the file was read again."""

    def __init__(self) -> None:
        self.path = paths.cache() / "digests.json"
        self.changed = False
        try:
            content = json.loads(self.path.read_text())
        except (OSError, ValueError, RecursionError):
            content = None
        self._known: dict[str, list[object]] = content if isinstance(content, dict) else {}

    def sha256(self, path: Path, state: State) -> str | None:
        """The digest of a file that was read in this state."""
        match self._known.get(str(path.resolve())):
            case [str(sha256), *rest] if rest == list(astuple(state)):
                return sha256
            case _:
                return None

    def put(self, path: Path, reading: Reading) -> None:
        """Add a reading."""
        entry: list[object] = [reading.sha256, *astuple(reading.state)]
        if self._known.get(str(path.resolve())) != entry:
            self._known[str(path.resolve())] = entry
            self.changed = True

    def save(self) -> None:
        """Save the digests of files that still exist; a cache that cannot be written only costs time."""
        if not self.changed:
            return
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps({path: entry for path, entry in self._known.items() if Path(path).exists()}))
            part.replace(self.path)
