"""The engine on transformers models, decoder-only and encoder-decoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from typing import Any, Literal

import torch

from harness.contract import ChoiceScores, Generate, Generation, Request, Response, ScoreChoices, ScoreRequest, TextScore, TokenIds, Usage
from harness.engine.agreement import beams_error, generate_matches, uncached_beams_note, uncached_note
from harness.engine.budget import Budget, kept_positions
from harness.engine.causal import CausalForward
from harness.engine.decoding import Decoder
from harness.engine.endings import Endings
from harness.engine.generation import Generator, plan_generation
from harness.engine.logprobs import Scored, read_off
from harness.engine.memory import Halving
from harness.engine.planning import Planned, Row, area, contexts_of, plan_scoring, prompt_of, rows_of, side_by_side
from harness.engine.prefixes import Pass, flat_size, plan_passes
from harness.engine.probe import (
    Abilities,
    causal_abilities,
    invocation_tokens,
    readable_soft_prompt,
    readable_source_prompt,
    seq2seq_abilities,
)
from harness.engine.seq2seq import Seq2SeqForward
from harness.engine.slots import CausalSlots, Seq2SeqSlots, Slots, Waiting, need
from harness.engine.uncached import UncachedSlots
from harness.errors import NumericError
from harness.sequences import common_prefix, holds

_PROBE_BEAMS = 3
"""Beams in a probe, whatever the number requested: enough for rows to change places."""


@dataclass(frozen=True, slots=True)
class _Owned:
    """A row, the id of its request, and the strip it lies in; what is halved when memory runs out."""

    request_id: str
    row: Row
    strip: int = 0


@dataclass(frozen=True, slots=True)
class _Began:
    """When a forward began, and the tokens that were computed before it."""

    seconds: float
    area: int


@dataclass
class TransformersEngine:
    """Computes requests on one model in memory.

    Args:
        module: a transformers model, or a peft model around one, in eval mode.
        tokenizer: its tokenizer.
        architecture: "causal" or "seq2seq".
        budget: how much is computed at a time.
        share: whether prompts may share what they have in common; False computes each by itself, padded.
    """

    module: Any
    tokenizer: Any
    architecture: Literal["causal", "seq2seq"]
    budget: Budget
    share: bool = True
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._halving = Halving(self.usage)
        self._kept_budget = kept_positions(self.module.get_output_embeddings().weight.shape[0])
        self._prompted = any(config.is_prompt_learning for config in getattr(self.module, "peft_config", {}).values())
        special = self.module.generation_config
        self._start: int | None = special.decoder_start_token_id if self.architecture == "seq2seq" else None
        self._endings = Endings(self.tokenizer, frozenset(special.eos_token_id or ()))
        self._invocation = invocation_tokens(self.module)
        pads = (special.pad_token_id, *range(len(self._invocation)))  # a row must not hold them where it is filled
        self._causal = CausalForward(self.module, next(pad for pad in pads if pad not in self._invocation), self.usage)
        self._seq2seq = Seq2SeqForward(self.module, special.pad_token_id, self._start or 0, self._prompted, self.usage)

    @cached_property
    def abilities(self) -> Abilities:
        """What the model's forward allows; found out by a few tokens."""
        if not self.share:
            return Abilities(False, False)
        found = self._causal_abilities() if self.architecture == "causal" else self._seq2seq_abilities()
        if found.why:
            self.notes.append(found.why)
        return found

    # peft's forward puts a soft prompt before the input, so nothing before or behind it can be called apart unless it can be read

    def _causal_abilities(self) -> Abilities:
        if self._invocation:
            return Abilities(False, False, why="This adapter (aLoRA) looks for its tokens in a whole prompt: nothing is shared.")
        if self._prompted:
            soft = readable_soft_prompt(self.module)
            if soft is None:
                return Abilities(False, False)
            self._causal = replace(self._causal, soft=soft)
        return causal_abilities(self._causal)

    def _seq2seq_abilities(self) -> Abilities:
        if self._prompted:
            soft = readable_source_prompt(self.module)
            if soft is None:
                return Abilities(False, False)
            prompted = replace(self._seq2seq, soft=soft)
            found = seq2seq_abilities(prompted)
            if found.share:
                self._seq2seq = prompted
            return found
        return seq2seq_abilities(self._seq2seq)

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts, batch by batch."""
        self._note_inactive(requests)
        plain = list(requests)
        asked = bool(requests) and (self.architecture == "causal" or self._prompted)
        if asked and self.abilities.share and self.architecture == "causal":
            packed, plain = [], []
            for request in requests:
                rows = rows_of(request, None)
                if self._within(max(len(row.tokens) for row in rows)):
                    packed.append(Planned(request, rows))
                else:
                    plain.append(request)
            for batch in plan_passes(packed, self.budget.score, self.budget.strip, self._kept_budget):
                yield from self._answered(batch, done)
        for padded in plan_scoring(plain, self._start, self.budget.score, self._kept_budget):
            yield from self._answered(Pass((), (tuple(padded),)), done, packed=False)

    def _note_inactive(self, requests: Sequence[Request]) -> None:
        """Say where an adapter that is active only behind certain tokens does nothing, because prompts do not hold them."""
        if not self._invocation or not requests:
            return
        idle = sum(not holds(sequence, self._invocation) for request in requests for sequence in contexts_of(request))
        if idle:
            whole = sum(len(contexts_of(request)) for request in requests)
            who = "None of the prompts hold" if idle == whole else "Some of the prompts do not hold"
            self.notes.append(f"{who} this adapter's invocation tokens (aLoRA): there it leaves the base as it is.")

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts; texts are handed on as they finish.

        Raises:
            ModelError: beam search is requested, and `generate` does not match full forward passes of this model. Raised by the call
                itself, before anything is computed.
        """
        wanted = [request for request in requests if request.id not in done]
        self._note_inactive(wanted)
        slots = [one for one in wanted if one.beams == 1 and self.abilities.slots and self._within(need(one))]
        chosen = {one.id for one in slots}
        others: list[_Generations] = []
        if single := [one for one in wanted if one.beams == 1 and one.id not in chosen]:
            others.append((single, self._single_mode))
        if beams := [one for one in wanted if one.beams > 1]:
            others.append((beams, self._beam_mode))
        return self._texts(slots, others)

    def _texts(self, slots: Sequence[Generate], others: Sequence[_Generations]) -> Iterator[list[Response]]:
        for finished in self._decoder(self._slots).run(self._queue(slots)):
            yield list(finished)
        for requests, mode in others:
            if mode is None:
                for finished in self._decoder(self._uncached_slots).run([Waiting(one) for one in _longest_first(requests)]):
                    yield list(finished)
                continue
            for batch in plan_generation(requests, self.budget.generate, padded=mode.padded):
                texts: list[Generation] = self._halving.run(batch, _generation_size, mode.generator.run)
                yield list(texts)

    def _decoder(self, make: Callable[[Sequence[Waiting], int | None], Slots]) -> Decoder:
        return Decoder(make, self._rows, self._endings, self.usage, self.module.generation_config.forced_bos_token_id)

    @cached_property
    def _single_mode(self) -> _GenerateMode | None:
        """How to call `generate` for a single beam; None where it does not match full forward passes."""
        found = self._matching_mode(1, (True,))
        if found is None:
            self.notes.append(uncached_note())
        return found

    @cached_property
    def _beam_mode(self) -> _GenerateMode:
        """How to call `generate` for several beams.

        Raises:
            ModelError: it does not match full forward passes.
        """
        found = self._matching_mode(_PROBE_BEAMS, (True, False))
        if found is None:
            raise beams_error()
        if not found.generator.use_cache:
            self.notes.append(uncached_beams_note())
        return found

    def _matching_mode(self, beams: int, caching: Sequence[bool]) -> _GenerateMode | None:
        """The first way to call `generate` that matches full forward passes; padded batches are tried before batches of equal lengths."""
        forward: CausalForward | Seq2SeqForward = self._causal if self.architecture == "causal" else self._seq2seq
        plain = replace(forward, usage=Usage()).plain
        for use_cache in caching:
            generator = Generator(self.module, self._endings, self.architecture == "seq2seq", self.usage, use_cache)
            for padded in (True, False):
                if generate_matches(generator, plain, self._start, beams, padded=padded):
                    return _GenerateMode(generator, padded)
        return None

    def _uncached_slots(self, waiting: Sequence[Waiting], most: int | None) -> Slots:
        forward = self._causal if self.architecture == "causal" else self._seq2seq
        longest = max(need(one.request) for one in waiting)
        rows = max(1, self.budget.score // longest)
        return UncachedSlots(forward, self._start, rows if most is None else min(rows, most))

    def _rows(self, longest: int, requests: int, most: int | None) -> int:
        """How many rows are decoded at once, the longest of which needs so many tokens."""
        tokens = min(self.budget.generate, self._room // max(1, self.abilities.token_bytes))
        return min(self.budget.rows if most is None else most, max(1, tokens // longest), requests)

    @cached_property
    def _room(self) -> int:
        """Bytes for keys and values of texts that are decoded: half of a GPU's free memory, or on a CPU twice what the weights take.

        A step reads all weights once and each row's keys and values; from there on another row costs what it brings. Quantized weights
        count as what a step makes of them.
        """
        if self.module.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.module.device)[0]) // 2
        return 2 * int(self.module.num_parameters()) * int(self.module.dtype.itemsize)

    def _within(self, length: int) -> bool:
        """Whether a sequence is short enough for what the model's forward allows; says once if one is not."""
        longest = self.abilities.longest
        if longest is None or self._causal.virtual + length <= longest:
            return True
        note = f"Prompts longer than this model's attention window of {longest} tokens share nothing with others."
        if note not in self.notes:
            self.notes.append(note)
        return False

    def _answered(self, batch: Pass, done: Container[str], *, packed: bool = True) -> Iterator[list[Response]]:
        """What is not done of a batch, computed; nothing where all of it is."""
        wanted = [planned for planned in batch.requests if planned.request.id not in done]
        if not wanted:
            return
        if packed:
            rows = [
                _Owned(one.request.id, row, number)
                for number, strip in enumerate(batch.strips)
                for one in strip
                if one.request.id not in done
                for row in one.rows
            ]
            measure = _Packed(batch.skip)
            pieces = [rows] if len(wanted) > 1 else measure.pieces(rows, self.budget.score, self._kept_budget)
            found = [one for piece in pieces for one in self._halving.run(piece, measure.size, partial(self._packed, held=batch.held))]
        else:
            rows = [_Owned(planned.request.id, row) for planned in wanted for row in planned.rows]
            pieces = [rows] if len(wanted) > 1 else side_by_side(rows, lambda one: [one.row], self.budget.score, self._kept_budget)
            found = [one for piece in pieces for one in self._halving.run(piece, _padded_size, self._padded)]
        by_row = iter(found)
        responses: list[Response] = []
        for planned in wanted:
            by_slot = {slot: scored for _ in planned.rows for slot, scored in next(by_row).items()}
            logprobs, greedy = zip(*(by_slot[slot] for slot in range(len(by_slot))), strict=True)
            answer = ChoiceScores if isinstance(planned.request, ScoreChoices) else TextScore
            responses.append(answer(planned.request.id, logprobs, greedy))
        yield responses

    def _packed(self, owned: Sequence[_Owned], held: tuple[TokenIds, ...]) -> list[dict[int, Scored]]:
        """What each row says of its continuations, by slot; rows lie in strips behind a held prefix.

        What is not a number in one sequence spoils its whole strip, so it is looked for row by row.
        """
        began = _Began(time.perf_counter(), self.usage.prompt_area)
        strips = [[one.row for one in group] for _, group in groupby(owned, key=lambda one: one.strip)]
        logits, where = self._causal.packed(strips, held)
        try:
            return self._read(logits, where, owned, began)
        except NumericError:
            return [found for one in owned for found in self._padded([one])]

    def _padded(self, owned: Sequence[_Owned]) -> list[dict[int, Scored]]:
        """What each row says of its continuations, by slot; rows stand side by side."""
        began = _Began(time.perf_counter(), self.usage.prompt_area)
        rows = [one.row for one in owned]
        logits, where = self._causal.plain(rows) if self.architecture == "causal" else self._seq2seq.score(rows)
        return self._read(logits, where, owned, began)

    def _read(self, logits: torch.Tensor, where: list[list[int]], owned: Sequence[_Owned], began: _Began) -> list[dict[int, Scored]]:
        found = read_off(logits, [one.row for one in owned], where, lambda row: owned[row].request_id)
        self.usage.prefilled(self.usage.prompt_area - began.area, time.perf_counter() - began.seconds)
        return found

    def _queue(self, requests: Sequence[Generate]) -> list[Waiting]:
        """Who waits for a slot: those behind the same held prefix together, such groups and single requests the longest first."""
        if self.architecture == "seq2seq":
            ordered = sorted(requests, key=lambda one: (-len(one.context), one.context, -one.max_new_tokens, one.id))
            return [Waiting(request) for request in ordered]
        by_id = {request.id: request for request in requests}
        planned = [prompt_of(one) for one in requests]
        groups: dict[TokenIds | str, list[Waiting]] = {}
        for batch in plan_passes(planned, self.budget.score, self.budget.strip, self._kept_budget):
            for one in batch.requests:
                waiting = Waiting(by_id[one.request.id], batch.held)
                groups.setdefault(batch.held[0] if batch.held else one.request.id, []).append(waiting)
        queue = []
        for group in sorted(groups.values(), key=lambda group: (-max(need(one.request) for one in group), group[0].request.id)):
            for _, same in groupby(group, key=lambda one: one.held):
                queue += sorted(same, key=lambda one: (-need(one.request), one.request.id))
        return queue

    def _slots(self, waiting: Sequence[Waiting], most: int | None) -> Slots:
        """Slots for those who wait, as many as the budget has room for."""
        longest = self._causal.virtual + max(need(one.request) for one in waiting)
        rows = self._rows(longest, len(waiting), most)
        if self.architecture == "causal":
            return CausalSlots(self._causal, rows, longest, min(self.budget.score, self.budget.strip))
        source = self._seq2seq.virtual_source + max(len(one.request.context) for one in waiting)
        new = max(one.request.max_new_tokens for one in waiting)
        boolean = self.module.config._attn_implementation == "sdpa"
        return Seq2SeqSlots(self._seq2seq, rows, source, new, self.budget.score, self.abilities.anytime, boolean)


@dataclass(frozen=True)
class _GenerateMode:
    """How to call `generate`, and whether prompts of different lengths can share a batch."""

    generator: Generator
    padded: bool


_Generations = tuple[Sequence[Generate], _GenerateMode | None]
"""Requests, and how to call `generate` for them; None to decode them without a KV cache."""


@dataclass(frozen=True)
class _Packed:
    """Measures rows that lie in strips behind a held prefix of `skip` tokens."""

    skip: int

    def size(self, owned: Sequence[_Owned]) -> int:
        """Tokens, padding included."""
        strips = [sorted(one.row.tokens for one in group) for _, group in groupby(owned, key=lambda one: one.strip)]
        return len(strips) * max(flat_size(strip) - self.skip for strip in strips)

    def pieces(self, owned: Sequence[_Owned], budget: int, kept_budget: int) -> list[list[_Owned]]:
        """The rows of one request in as many forwards as the budgets ask for."""
        found: list[list[_Owned]] = []
        size = kept = 0
        before: TokenIds = ()
        for one in owned:
            more = len(one.row.tokens) - max(self.skip, common_prefix(before, one.row.tokens))
            if found and size + more <= budget and kept + one.row.kept <= kept_budget:
                found[-1].append(one)
                size, kept = size + more, kept + one.row.kept
            else:
                found.append([one])
                size, kept = len(one.row.tokens) - self.skip, one.row.kept
            before = one.row.tokens
        return found


def _longest_first(requests: Sequence[Generate]) -> list[Generate]:
    return sorted(requests, key=lambda one: (-need(one), one.id))


def _padded_size(owned: Sequence[_Owned]) -> int:
    return area([one.row for one in owned])


def _generation_size(batch: Sequence[Generate]) -> int:
    return sum(one.beams for one in batch) * max(need(request) for request in batch)
