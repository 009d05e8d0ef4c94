"""Continuous batching: every step gives each row a token; rows that finish leave at once, and waiting ones take their place."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch

from harness.contract import Generate, Generation, Usage
from harness.engine.endings import Endings
from harness.engine.transformers.decode_slots import DecodeSlots, Waiting, need
from harness.engine.transformers.memory import is_out_of_memory, no_room, release
from harness.errors import NumericError

_TOGETHER = 8
"""Finished texts that are handed on at a time."""


@dataclass
class _Row:
    request: Generate
    waiting: Waiting
    chance: random.Random
    tokens: list[int] = field(default_factory=list)


@dataclass
class Decoder:
    """Decodes requests in slots.

    Args:
        make: makes slots, given the most tokens that a request needs and the most rows (None: as many as suit).
        rows: how many rows suit, by the tokens that the longest needs, the number of requests, and the most there may be.
        endings: decides when a text ends.
        usage: where tokens and seconds are counted.
        forced: token id that every text begins with, or None.
    """

    make: Callable[[Sequence[Waiting], int | None], DecodeSlots]
    rows: Callable[[int, int, int | None], int]
    endings: Endings
    usage: Usage
    forced: int | None = None
    _most: int | None = None
    _finished: list[Generation] = field(default_factory=list)

    def run(self, queue: Sequence[Waiting]) -> Iterator[list[Generation]]:
        """Texts of all requests as they finish, some at a time.

        When memory runs out, unfinished rows start again in half as many slots.
        """
        waiting = deque(queue)
        while waiting:
            rows: list[_Row] = []
            slots = self.make(list(waiting), self._most)
            try:
                yield from self._drain(slots, waiting, rows)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                alone = len(rows) <= 1
                self._most = max(1, len(rows) // 2)
                waiting.extendleft(row.waiting for row in reversed(rows))
                self.usage.out_of_memory += 1
                message = str(error)
                del slots
            else:
                continue
            release()
            if alone:
                raise no_room(max(need(entry.request) for entry in waiting), message)

    def _drain(self, slots: DecodeSlots, waiting: deque[Waiting], rows: list[_Row]) -> Iterator[list[Generation]]:
        longest = _longest_behind(waiting)
        while waiting or rows:
            if waiting:
                slots.refit(longest[-len(waiting)], lambda tokens: self.rows(tokens, len(rows) + len(waiting), self._most))
            ready = list(islice(waiting, max(1, slots.capacity - slots.active)))
            number = slots.admissible(ready) if ready else 0
            self._finished += self._enter(slots, waiting, rows, number) if number else self._step(slots, rows)
            if len(self._finished) >= _TOGETHER or (self._finished and not rows and not waiting):
                yield self._finished
                self._finished = []

    def _enter(self, slots: DecodeSlots, waiting: deque[Waiting], rows: list[_Row], number: int) -> list[Generation]:
        began, computed = time.perf_counter(), self.usage.prompt_area
        entering = [waiting.popleft() for _ in range(number)]
        first = len(rows)
        rows += [_Row(entry.request, entry, random.Random(entry.request.seed)) for entry in entering]
        logits = slots.admit(entering)
        tokens = self._choose(logits, rows[first:]) if self.forced is None else [self.forced] * number
        self.usage.prefilled(self.usage.prompt_area - computed, time.perf_counter() - began)
        return self._append(slots, rows, tokens, first)

    def _step(self, slots: DecodeSlots, rows: list[_Row]) -> list[Generation]:
        began = time.perf_counter()
        tokens = self._choose(slots.step([row.tokens[-1] for row in rows]), rows)
        self.usage.stepped(len(rows), time.perf_counter() - began)
        return self._append(slots, rows, tokens, 0)

    def _append(self, slots: DecodeSlots, rows: list[_Row], tokens: Sequence[int], first: int) -> list[Generation]:
        """Give rows from `first` on their tokens; those that end leave."""
        finished = []
        for row, token in zip(rows[first:], tokens, strict=True):
            row.tokens.append(token)
        for number in range(len(rows) - 1, first - 1, -1):
            row = rows[number]
            if self.endings.ended(row.request, row.tokens):
                finished.append(self.endings.generation(row.request, row.tokens))
                self.usage.decode_tokens += len(row.tokens)
                slots.drop(number)
                last = rows.pop()
                if number < len(rows):
                    rows[number] = last
        return finished

    def _choose(self, logits: torch.Tensor, rows: Sequence[_Row]) -> list[int]:
        """The next token of each row.

        Raises:
            NumericError: a row's logits leave no finite maximum to choose; `argmax` would choose a token all the same.
        """
        highest, likeliest = logits.max(dim=-1)
        tokens, fine = torch.stack([likeliest, torch.isfinite(highest)]).tolist()
        for number, row in enumerate(rows):
            if not fine[number]:
                raise broken_logits(float(highest[number]), row.request.id)
            if row.request.temperature > 0:
                tokens[number] = sample(logits[number], row.request, row.chance)
        return list(tokens)


def _longest_behind(waiting: Sequence[Waiting]) -> list[tuple[Generate, ...]]:
    """For each place in a queue the requests from there on that need the most: the longest prompt, and with its answer."""
    longest: list[tuple[Generate, ...]] = []
    prompt = whole = None
    for entry in reversed(waiting):
        prompt = entry.request if prompt is None or len(entry.request.context) > len(prompt.context) else prompt
        whole = entry.request if whole is None or need(entry.request) > need(whole) else whole
        longest.append((prompt, whole))
    return longest[::-1]


def broken_logits(value: float, name: str) -> NumericError:
    """An error for logits that are not finite."""
    return NumericError(
        f"The model gave a logit of {value} for {name}.",
        "Half precision can overflow: try --dtype float32 or bfloat16; otherwise the weights are broken.",
    )


def sample(logits: torch.Tensor, request: Generate, chance: random.Random) -> int:
    """A token drawn from softmax(logits / temperature), restricted to the nucleus of mass `top_p` (Holtzman et al., 2020).

    The draw takes one number from the request's own random stream, so it does not depend on what else is being decoded.

    Args:
        logits: [vocabulary].
        request: temperature and nucleus.
        chance: the request's random stream.
    """
    mass, order = torch.softmax(logits.cpu().double() / request.temperature, dim=-1).sort(descending=True, stable=True)
    below = mass.cumsum(dim=-1) - mass
    mass = mass[below < request.top_p] if request.top_p < 1 else mass
    place = int(torch.searchsorted(mass.cumsum(dim=-1), chance.random() * float(mass.sum()), right=True))
    return int(order[min(place, len(mass) - 1)])
