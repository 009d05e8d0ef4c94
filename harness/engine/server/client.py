"""HTTP requests to a server: retries that never count a response twice, back-pressure, and one message where it does not answer."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from harness.errors import InputError, ModelError

Work = TypeVar("Work")
Result = TypeVar("Result")

KEY = "HARNESS_API_KEY"
"""Environment variable with the key that a server asks for. It is sent, and never written anywhere."""
TIMEOUT = 600.0
"""Seconds that a response may take."""
CONNECT_TIMEOUT = 10.0
ATTEMPTS = 6
"""Times that a request is sent before the run ends."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_BUSY = {408, 409, 425, 429, 500, 502, 503, 504}
"""Status codes after which the same request may succeed."""


class RefusedRequestError(ModelError):
    """The server refused a request: it would refuse it again."""


@dataclass
class Client:
    """Sends requests to one server.

    Args:
        url: what paths are appended to, such as "http://127.0.0.1:8000/v1".
        concurrency: requests that wait for a response at the same time.
        pause: called with seconds between two attempts, instead of waiting.
    """

    url: str
    concurrency: int = 16
    pause: Callable[[float], object] | None = None
    retries: int = 0
    _http: Any = field(init=False, repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise ModelError("--engine server needs the library httpx2.", "pip install 'adapter-harness[server]'.") from error
        self.url = self.url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"--base-url {self.url!r} is not a URL.", "Give one such as http://127.0.0.1:8000/v1.")
        key = os.environ.get(KEY)
        self._errors = httpx2.TransportError
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT),
            limits=httpx2.Limits(max_connections=self.concurrency + 1),
        )

    def root(self, path: str) -> str:
        """A path at the root of the server, where its own endpoints are."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, path, "", ""))

    def get(self, path: str) -> Any:
        """The content at a path; None where the server has no such path."""
        status, content = self._answer("GET", path, None)
        return None if status in (404, 405) else self._content(status, content)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The content of the response to a request.

        Raises:
            RefusedRequestError: the server refuses the request.
            ModelError: it does not answer, or not with JSON.
        """
        return self._content(*self._answer("POST", path, body))

    def all(self, work: Sequence[Work], run: Callable[[Work], Result]) -> Iterator[tuple[Work, Result]]:
        """Results as they arrive, with at most `concurrency` requests waiting.

        After a failure nothing more is sent, and nothing is tried again. Requests that wait for a response still get it, so that nothing
        that the server computed is lost; then the first failure is raised.
        """
        waiting: dict[Future[Result], Work] = {}
        left = iter(work)
        failure: BaseException | None = None
        try:
            with ThreadPoolExecutor(self.concurrency, thread_name_prefix="server") as threads, self._ending():
                while True:
                    for entry in islice(left, 0 if failure else self.concurrency - len(waiting)):
                        waiting[threads.submit(run, entry)] = entry
                    if not waiting:
                        break
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        entry, error = waiting.pop(future), future.exception()
                        if error is None:
                            yield entry, future.result()
                        else:
                            failure = failure or error
                            self._ended.set()
        finally:
            self._ended.clear()
        if failure is not None:
            raise failure

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Whatever ends the block, other threads then stop trying again."""
        try:
            yield
        finally:
            self._ended.set()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        failure = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                with self._lock:
                    self.retries += 1
            try:
                response = self._http.request(method, path if path.startswith("http") else f"{self.url}{path}", json=body)
            except self._errors as error:
                failure = f"{type(error).__name__}: {error}"
                after = None
            else:
                if response.status_code not in _BUSY:
                    return response.status_code, response.content
                failure = f"status {response.status_code}: {_words(response.content)}"
                after = response.headers.get("retry-after")
            if attempt + 1 < ATTEMPTS:
                (self.pause or self._ended.wait)(_seconds(attempt, after))
            if self._ended.is_set():
                break
        raise ModelError(
            f"The server at {self.url} does not answer, {attempt + 1} times in a row ({failure}).",
            "Start it, and run the same command again: finished responses are saved.",
        )

    def _content(self, status: int, content: bytes) -> Any:
        import json

        if status in (401, 403):
            raise InputError(f"The server at {self.url} refuses access (status {status}).", f"Set {KEY} to a valid key.")
        if status >= 400:
            raise RefusedRequestError(f"The server at {self.url} refuses a request (status {status}): {_words(content)}.")
        try:
            return json.loads(content)
        except ValueError as error:
            raise ModelError(f"The server at {self.url} answers with something that is not JSON: {_words(content)}.") from error


def _seconds(attempt: int, after: str | None) -> float:
    """Pause before the next attempt: what the server asks for, or twice the last pause, at random between half and all of it."""
    if after is not None and after.strip().isdigit():
        return min(float(after), _LONGEST_PAUSE)
    return float(min(_FIRST_PAUSE * 2.0**attempt, _LONGEST_PAUSE) * random.uniform(0.5, 1.0))


def _words(content: bytes) -> str:
    """The start of a response's text, in one line."""
    text = " ".join(content.decode("utf-8", "replace").split())
    return text if len(text) <= 200 else f"{text[:200]}…"
