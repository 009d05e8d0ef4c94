"""The response cache of one system in one run: which requests are equal, which have cached responses, and which are left to compute."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.contract import Generate, Request, Response, ScoreRequest
from harness.errors import ModelError

if TYPE_CHECKING:
    from harness.store.responses import ResponseStore
    from harness.store.writing import Writer


class ResponseCache:
    """The requests of one system, and their responses as they arrive.

    Requests with equal content are computed once. Requests with a cached response stay in the lists for the engine, so that its batches
    do not depend on what is cached.

    Args:
        requests: every request of the run, ids unique.
        system_key: identifies the system exactly.
        store: where responses are saved.
        fresh: remove cached responses to these requests first.

    Attributes:
        responses: by request id.
        computed: number of responses that were computed.
    """

    def __init__(self, requests: Sequence[Request], system_key: str, store: ResponseStore, *, fresh: bool = False) -> None:
        self._keys = {request.id: store.key(system_key, request) for request in requests}
        self._twins: dict[bytes, list[str]] = {}
        for request_id, key in self._keys.items():
            self._twins.setdefault(key, []).append(request_id)
        self._unique = [request for request in requests if self._twins[self._keys[request.id]][0] == request.id]
        if fresh:
            store.forget(list(self._twins))
        self._requests = {self._keys[request.id]: request for request in self._unique}
        self._cached = store.get_many(self._requests)
        known = self._cached.responses
        self.responses: dict[str, Response] = {i: _with_id(known[key], i) for i, key in self._keys.items() if key in known}
        self.computed = 0

    @property
    def notes(self) -> list[str]:
        """Remarks about cached responses that are not used."""
        unused = [
            (len(self._cached.damaged), "damaged"),
            (len(self._cached.unchecked), "written by an earlier version, without a checksum"),
        ]
        return [_unused(number, why) for number, why in unused if number]

    @property
    def unique(self) -> int:
        """Number of unique requests."""
        return len(self._twins)

    @property
    def missing(self) -> int:
        """Number of unique requests without a response."""
        return sum(request.id not in self.responses for request in self._unique)

    @property
    def complete(self) -> bool:
        """Whether every request has a response."""
        return len(self.responses) == len(self._keys)

    @property
    def answered(self) -> frozenset[str]:
        """Ids of the requests that have a response."""
        return frozenset(self.responses)

    @property
    def scorings(self) -> list[ScoreRequest]:
        """Unique requests for scores."""
        return [request for request in self._unique if not isinstance(request, Generate)]

    @property
    def generations(self) -> list[Generate]:
        """Unique requests for generated text."""
        return [request for request in self._unique if isinstance(request, Generate)]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the keys of all unique requests, whatever their order."""
        return hashlib.sha256(b"".join(sorted(self._twins))).hexdigest()

    def with_equals(self, ids: Container[str]) -> frozenset[str]:
        """The ids of unique requests, and those of the requests that are equal to them."""
        return frozenset(name for request in self._unique if request.id in ids for name in self._twins[self._keys[request.id]])

    def check_complete(self, wanted: Container[str] | None = None) -> None:
        """Raise ModelError unless the unique requests with these ids (None: all) have a response."""
        expected = [request.id for request in self._unique if wanted is None or request.id in wanted]
        missing = [name for name in expected if name not in self.responses]
        if missing:
            raise ModelError(
                f"The engine gave no response to {len(missing):,} of {len(expected):,} requests, such as {missing[0]}.",
                "This is an error in the backend.",
            )

    def add(self, batch: Sequence[Response], writer: Writer) -> dict[str, Response]:
        """Save a batch of computed responses.

        Returns:
            Responses to all requests that the batch answers, by id.
        """
        for response in batch:
            if getattr(response, "id", None) not in self._keys:
                raise ModelError(
                    f"The engine answered {getattr(response, 'id', response)!r}, which was not requested.",
                    "This is an error in the backend.",
                )
        keys = [self._keys[response.id] for response in batch]
        writer.put([(key, self._requests[key], response) for key, response in zip(keys, batch, strict=True)])
        self.computed += len(batch)
        added = {twin: replace(response, id=twin) for key, response in zip(keys, batch, strict=True) for twin in self._twins[key]}
        self.responses |= added
        return added


def _with_id(response: Response, request_id: str) -> Response:
    return response if response.id == request_id else replace(response, id=request_id)


def _unused(number: int, why: str) -> str:
    if number == 1:
        return f"1 cached response was {why}, and is computed again."
    return f"{number:,} cached responses were {why}, and are computed again."
