"""A server that speaks OpenAI's completions over a made-up language model, well or badly."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

VOCABULARY = 320


def logprobs(previous: int) -> list[float]:
    """Natural-log probabilities of the token after another."""
    logits = [((previous * 31 + token * 17) % 97) / 8 for token in range(VOCABULARY)]
    total = math.log(sum(map(math.exp, logits)))
    return [logit - total for logit in logits]


def scored(ids: Sequence[int]) -> list[float | None]:
    """What a correct server gives for the tokens of a prompt."""
    return [None, *(logprobs(before)[token] for before, token in pairwise(ids))]


def continued(ids: Sequence[int], number: int) -> list[int]:
    """Greedy tokens after a prompt; the model never ends a text."""
    new: list[int] = []
    for _ in range(number):
        values = logprobs((*ids, *new)[-1])
        new.append(max(range(3, VOCABULARY), key=values.__getitem__))
    return new


@dataclass
class FakeServer:
    """What the server does beside answering correctly.

    Attributes:
        tokenizer: turns texts into ids.
        spoil: changes the content of a correct response to `/completions`.
        fail: called with the number of the request, from 0; a status to answer with instead, or None.
        models: names, or entries of the list of models.
        refuses_ids: it accepts text alone as a prompt.
        delay: seconds that a response takes.
        paths: of all requests, in order.
        most: most requests at the same time.
        bodies: of all requests to `/completions` and `/chat/completions`, in order.
        headers: of the last request.
    """

    tokenizer: Any
    spoil: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] = lambda content, body: content
    fail: Callable[[int], int | None] = lambda number: None
    models: tuple[str | dict[str, Any], ...] = ("tiny",)
    refuses_ids: bool = False
    delay: Callable[[int], float] = lambda number: 0.0
    paths: list[str] = field(default_factory=list)
    most: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)
    _now: int = 0

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """The response to `/completions`."""
        prompt = body["prompt"]
        ids = list(prompt) if not isinstance(prompt, str) else self.tokenizer([prompt])["input_ids"][0]
        new = continued(ids, body["max_tokens"])
        choice: dict[str, Any] = {"text": self.tokenizer.decode(new), "token_ids": new, "finish_reason": "length"}
        if body.get("echo"):
            whole = [*ids, *new]
            tops = [None, *({"best": max(logprobs(before))} for before in whole[:-1])]
            choice["logprobs"] = {"token_logprobs": scored(whole), "top_logprobs": tops}
        return {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": len(new)}}

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        """Status and content of a response."""
        with self._lock:
            self.paths.append(path)
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return self._answer(path, body)
        finally:
            with self._lock:
                self._now -= 1

    def _answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if path == "/v1/models":
            return 200, {"data": [{"id": entry} if isinstance(entry, str) else entry for entry in self.models]}
        if body is None or path not in ("/v1/completions", "/v1/chat/completions"):
            return 404, {"error": "no such path"}
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
        time.sleep(self.delay(number))
        if self.refuses_ids and isinstance(body.get("prompt"), list):
            return 400, {"detail": "prompt must be a string."}
        status = self.fail(number)
        if status is not None:
            return status, {"error": f"request {number} fails"}
        if path.endswith("chat/completions"):
            text = f"you said: {body['messages'][-1]['content'].splitlines()[-1]}"
            return 200, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {"completion_tokens": 5}}
        return 200, self.spoil(self.completion(body), body)


@contextmanager
def running(server: FakeServer) -> Iterator[str]:
    """Serve on a loopback port; gives the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self, body: dict[str, Any] | None) -> None:
            server.headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = server.answer(self.path, body)
            if status == -1:  # hang up without a response
                self.close_connection = True
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 429:
                self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.respond(None)

        def do_POST(self) -> None:
            self.respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
