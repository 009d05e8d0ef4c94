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
from harness.engine.endings import Endings
from harness.engine.transformers.agreement import beams_error, generate_matches, uncached_beams_note, uncached_note
from harness.engine.transformers.budget import Budget, max_logit_positions
from harness.engine.transformers.causal import CausalForward
from harness.engine.transformers.decode_slots import CausalDecodeSlots, DecodeSlots, Seq2SeqDecodeSlots, Waiting, need
from harness.engine.transformers.decoding import Decoder
from harness.engine.transformers.generation import Generator, plan_generation
from harness.engine.transformers.logprobs import ContinuationScore, read_off
from harness.engine.transformers.memory import Halving
from harness.engine.transformers.planning import Planned, SequenceRow, area, contexts_of, pieces_beside, plan_scoring, prompt_of, rows_of
from harness.engine.transformers.prefixes import Pass, flat_size, pieces, plan_passes
from harness.engine.transformers.probe import (
    Abilities,
    causal_abilities,
    invocation_tokens,
    readable_soft_prompt,
    readable_source_prompt,
    seq2seq_abilities,
    window,
)
from harness.engine.transformers.seq2seq import Seq2SeqForward
from harness.engine.transformers.uncached import UncachedDecodeSlots
from harness.errors import NumericError
from harness.util.sequences import contains

_PROBE_BEAMS = 3
"""Beams in a probe, whatever the number requested: enough for rows to change places."""


@dataclass(frozen=True, slots=True)
class _Owned:
    """A row, the id of its request, and its packed row; what is halved when memory runs out."""

    request_id: str
    row: SequenceRow
    packed_row: int = 0


@dataclass(frozen=True, slots=True)
class _Began:
    """When a forward pass began, and the tokens computed before it."""

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
        self._scoring_plan: tuple[Sequence[ScoreRequest], list[Pass]] | None = None
        self._logit_budget = max_logit_positions(self.module.get_output_embeddings().weight.shape[0])
        self._prompted = any(config.is_prompt_learning for config in getattr(self.module, "peft_config", {}).values())
        special = self.module.generation_config
        self._start: int | None = special.decoder_start_token_id if self.architecture == "seq2seq" else None
        self._endings = Endings(self.tokenizer, frozenset(special.eos_token_id or ()))
        self._invocation = invocation_tokens(self.module)
        pads = (special.pad_token_id, *range(len(self._invocation)))  # padding must not look like invocation tokens
        self._causal = CausalForward(
            self.module, next(pad for pad in pads if pad not in self._invocation), self.usage, None, self.budget.score
        )
        self._seq2seq = Seq2SeqForward(self.module, special.pad_token_id, self._start or 0, self._prompted, self.usage)

    @cached_property
    def abilities(self) -> Abilities:
        """What the model's forward allows, tried out on a few tokens."""
        if not self.share:
            return Abilities(False, False)
        abilities = self._causal_abilities() if self.architecture == "causal" else self._seq2seq_abilities()
        if abilities.why:
            self.notes.append(abilities.why)
        return abilities

    # peft's forward puts a soft prompt before the input, so parts of the model are called directly only where the soft prompt is readable

    def _causal_abilities(self) -> Abilities:
        if self._invocation:
            return Abilities(False, False, why="This aLoRA adapter needs each prompt whole: prompts share nothing.")
        if self._prompted:
            soft = readable_soft_prompt(self.module)
            if soft is None:
                return Abilities(False, False)
            self._causal = replace(self._causal, soft=soft)
        abilities = causal_abilities(self._causal)
        self._causal = replace(self._causal, blocks=abilities.blocks)
        return abilities

    def _seq2seq_abilities(self) -> Abilities:
        if self._prompted:
            soft = readable_source_prompt(self.module)
            if soft is None:
                return Abilities(False, False)
            prompted = replace(self._seq2seq, soft=soft)
            abilities = seq2seq_abilities(prompted)
            if abilities.share:
                self._seq2seq = prompted
            return abilities
        return seq2seq_abilities(self._seq2seq)

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts, batch by batch."""
        self._note_inactive(requests)
        for batch in self._scoring(requests):
            yield from self._answered(batch, done)

    def batches(self, requests: Sequence[Request]) -> list[tuple[str, ...]]:
        """Ids of requests by what is computed together, in order; texts that are decoded in slots stand alone."""
        generations = [request for request in requests if isinstance(request, Generate)]
        scorings: Any = [request for request in requests if not isinstance(request, Generate)] if generations else requests
        together = [tuple(planned.request.id for planned in batch.requests) for batch in self._scoring(scorings)] if scorings else []
        slots, single, beams = self._by_decoding(generations)
        together += [(entry.request.id,) for entry in self._queue(slots)]
        for group, mode in ((single, self._single_mode if single else None), (beams, self._beam_mode if beams else None)):
            if mode is None:
                together += [(request.id,) for request in _longest_first(group)]
            else:
                planned = plan_generation(group, self.budget.generate, padded=mode.padded)
                together += [tuple(request.id for request in batch) for batch in planned]
        return together

    def _scoring(self, requests: Sequence[ScoreRequest]) -> list[Pass]:
        """The batches of requests; planned once for the same sequence of requests."""
        if self._scoring_plan is None or self._scoring_plan[0] is not requests:
            self._scoring_plan = requests, self._planned(requests)
        return self._scoring_plan[1]

    def _planned(self, requests: Sequence[ScoreRequest]) -> list[Pass]:
        plain, packed = list(requests), []
        probed = bool(requests) and (self.architecture == "causal" or self._prompted)
        if probed and self.abilities.share and self.architecture == "causal":
            plain = []
            for request in requests:
                rows = rows_of(request, None)
                if self._within(max(len(row.tokens) for row in rows)):
                    packed.append(Planned(request, rows))
                else:
                    plain.append(request)
        passes = plan_passes(packed, self.budget.score, self.budget.packed_row, self._logit_budget) if packed else ()
        padded = plan_scoring(plain, self._start, self.budget.score, self._logit_budget)
        return [*passes, *(Pass((), (tuple(batch),), packed=False) for batch in padded)]

    def _note_inactive(self, requests: Sequence[Request]) -> None:
        """Note prompts without the invocation tokens of an aLoRA adapter, on which it has no effect."""
        if not self._invocation or not requests:
            return
        contexts = [context for request in requests for context in contexts_of(request)]
        inactive = sum(not contains(context, self._invocation) for context in contexts)
        if inactive:
            prompts = "None of the prompts contains" if inactive == len(contexts) else "Some of the prompts do not contain"
            self.notes.append(f"{prompts} this aLoRA adapter's invocation tokens: it has no effect on them.")

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts; texts are handed on as they finish.

        Raises:
            ModelError: beam search is requested, and `generate` does not match full forward passes of this model. Raised by the call
                itself, before anything is computed.
        """
        self._note_inactive([request for request in requests if request.id not in done])
        slots, single, beams = self._by_decoding(requests)
        others: list[_Generations] = []
        if any(request.id not in done for request in single):
            others.append((single, self._single_mode))
        if any(request.id not in done for request in beams):
            others.append((beams, self._beam_mode))
        return self._texts(slots, others, done)

    def _by_decoding(self, requests: Sequence[Generate]) -> tuple[list[Generate], list[Generate], list[Generate]]:
        """Requests that are decoded in slots, other single ones, and those with beams."""
        single = [request for request in requests if request.beams == 1]
        slots = [request for request in single if self.abilities.continuous_batching and self._within(need(request))]
        chosen = {request.id for request in slots}
        return slots, [request for request in single if request.id not in chosen], [request for request in requests if request.beams > 1]

    def _texts(self, slots: Sequence[Generate], others: Sequence[_Generations], done: Container[str]) -> Iterator[list[Response]]:
        queue = [entry for entry in self._queue(slots) if entry.request.id not in done]
        for finished in self._decoder(self._slots).run(queue):
            yield list(finished)
        for requests, mode in others:
            if mode is None:
                queue = [Waiting(request) for request in _longest_first(requests) if request.id not in done]
                for finished in self._decoder(self._uncached_slots).run(queue):
                    yield list(finished)
                continue
            for batch in plan_generation(requests, self.budget.generate, padded=mode.padded):
                if open_requests := [request for request in batch if request.id not in done]:
                    texts: list[Generation] = self._halving.run(open_requests, _generation_size, mode.generator.run)
                    yield list(texts)

    def _decoder(self, make: Callable[[Sequence[Waiting], int | None], DecodeSlots]) -> Decoder:
        return Decoder(make, self._rows, self._endings, self.usage, self.module.generation_config.forced_bos_token_id)

    @cached_property
    def _single_mode(self) -> _GenerateMode | None:
        """How to call `generate` for a single beam; None where it does not match full forward passes."""
        mode = self._matching_mode(1, (True,))
        if mode is None:
            self.notes.append(uncached_note())
        return mode

    @cached_property
    def _beam_mode(self) -> _GenerateMode:
        """How to call `generate` for several beams.

        Raises:
            ModelError: it does not match full forward passes.
        """
        mode = self._matching_mode(_PROBE_BEAMS, (True, False))
        if mode is None:
            raise beams_error()
        if not mode.generator.use_cache:
            self.notes.append(uncached_beams_note())
        return mode

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

    def _uncached_slots(self, waiting: Sequence[Waiting], most: int | None) -> DecodeSlots:
        forward = self._causal if self.architecture == "causal" else self._seq2seq
        longest = max(need(entry.request) for entry in waiting)
        rows = max(1, self.budget.score // longest)
        return UncachedDecodeSlots(forward, self._start, rows if most is None else min(rows, most))

    def _rows(self, longest: int, requests: int, most: int | None) -> int:
        """How many rows are decoded at once, the longest of which needs `longest` tokens."""
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
        """Whether a sequence is short enough for what the model's forward allows; notes it once where a sequence is not."""
        longest = self.abilities.longest
        if longest is None or self._causal.virtual + length <= longest:
            return True
        what = "attention window" if longest == window(self.module.config.get_text_config()) else "original context"
        note = f"Prompts longer than this model's {what} of {longest} tokens share nothing with others."
        if note not in self.notes:
            self.notes.append(note)
        return False

    def _answered(self, batch: Pass, done: Container[str]) -> Iterator[list[Response]]:
        """Compute those requests of a batch that are not answered yet; yields nothing where all are."""
        open_requests = [planned for planned in batch.requests if planned.request.id not in done]
        if not open_requests:
            return
        if batch.packed:
            rows = [
                _Owned(planned.request.id, row, number)
                for number, packed_row in enumerate(batch.packed_rows)
                for planned in packed_row
                if planned.request.id not in done
                for row in planned.rows
            ]
            measure = _Packed(batch.skip)
            parts = [rows] if len(open_requests) > 1 else pieces(rows, _row, batch.skip, self.budget.score, self._logit_budget)
            compute = partial(self._packed, prefix=batch.prefix)
            row_scores = [scores for part in parts for scores in self._halving.run(part, measure.size, compute, batch.skip)]
        else:
            rows = [_Owned(planned.request.id, row) for planned in open_requests for row in planned.rows]
            parts = [rows] if len(open_requests) > 1 else pieces_beside(rows, _row, self.budget.score, self._logit_budget)
            row_scores = [scores for part in parts for scores in self._halving.run(part, _padded_size, self._padded)]
        by_row = iter(row_scores)
        responses: list[Response] = []
        for planned in open_requests:
            by_place = {place: scored for _ in planned.rows for place, scored in next(by_row).items()}
            logprobs, greedy = zip(*(by_place[place] for place in range(len(by_place))), strict=True)
            kind = ChoiceScores if isinstance(planned.request, ScoreChoices) else TextScore
            responses.append(kind(planned.request.id, logprobs, greedy))
        yield responses

    def _packed(self, owned: Sequence[_Owned], prefix: tuple[TokenIds, ...]) -> list[dict[int, ContinuationScore]]:
        """Scores of each row's continuations, by their places; rows lie in packed rows behind a cached prefix.

        A value that is not finite spoils its whole packed row, so the sequence it comes from is then searched row by row.
        """
        began = _Began(time.perf_counter(), self.usage.prompt_area)
        packed_rows = [[entry.row for entry in group] for _, group in groupby(owned, key=lambda entry: entry.packed_row)]
        logits, where = self._causal.packed(packed_rows, prefix)
        try:
            return self._read(logits, where, owned, began)
        except NumericError:
            return [scores for entry in owned for scores in self._padded([entry])]

    def _padded(self, owned: Sequence[_Owned]) -> list[dict[int, ContinuationScore]]:
        """Scores of each row's continuations, by their places; rows stand side by side."""
        began = _Began(time.perf_counter(), self.usage.prompt_area)
        rows = [entry.row for entry in owned]
        logits, where = self._causal.plain(rows) if self.architecture == "causal" else self._seq2seq.score(rows)
        return self._read(logits, where, owned, began)

    def _read(
        self, logits: torch.Tensor, where: list[list[int]], owned: Sequence[_Owned], began: _Began
    ) -> list[dict[int, ContinuationScore]]:
        scores = read_off(logits, [entry.row for entry in owned], where, lambda row: owned[row].request_id)
        self.usage.prefilled(self.usage.prompt_area - began.area, time.perf_counter() - began.seconds)
        return scores

    def _queue(self, requests: Sequence[Generate]) -> list[Waiting]:
        """Requests that wait for a decode slot: those behind the same prefix together, the longest group first."""
        if self.architecture == "seq2seq":
            ordered = sorted(requests, key=lambda request: (-len(request.context), request.context, -request.max_new_tokens, request.id))
            return [Waiting(request) for request in ordered]
        by_id = {request.id: request for request in requests}
        planned = [prompt_of(request) for request in requests]
        groups: dict[TokenIds | str, list[Waiting]] = {}
        for batch in plan_passes(planned, self.budget.score, self.budget.packed_row, self._logit_budget, own_prefixes=False):
            for entry in batch.requests:
                waiting = Waiting(by_id[entry.request.id], batch.prefix)
                groups.setdefault(batch.prefix[0] if batch.prefix else entry.request.id, []).append(waiting)
        queue = []
        for group in sorted(groups.values(), key=lambda group: (-max(need(waiting.request) for waiting in group), group[0].request.id)):
            for _, same in groupby(group, key=lambda waiting: waiting.prefix):
                queue += sorted(same, key=lambda waiting: (-need(waiting.request), waiting.request.id))
        return queue

    def _slots(self, waiting: Sequence[Waiting], most: int | None) -> DecodeSlots:
        """Decode slots for waiting requests, as many as the budget has room for."""
        longest = self._causal.virtual + max(need(entry.request) for entry in waiting)
        rows = self._rows(longest, len(waiting), most)
        if self.architecture == "causal":
            return CausalDecodeSlots(self._causal, rows, longest, min(self.budget.score, self.budget.packed_row))
        source = self._seq2seq.virtual_source + max(len(entry.request.context) for entry in waiting)
        new = max(entry.request.max_new_tokens for entry in waiting)
        boolean = self.module.config._attn_implementation == "sdpa"
        return Seq2SeqDecodeSlots(self._seq2seq, rows, source, new, self.budget.score, self.abilities.anytime, boolean)


@dataclass(frozen=True)
class _GenerateMode:
    """How to call `generate`, and whether prompts of different lengths can share a batch."""

    generator: Generator
    padded: bool


_Generations = tuple[Sequence[Generate], _GenerateMode | None]
"""Requests, and how to call `generate` for them; None to decode them without a KV cache."""


@dataclass(frozen=True)
class _Packed:
    """Measures rows that lie in packed rows behind a cached prefix of `skip` tokens."""

    skip: int

    def size(self, owned: Sequence[_Owned]) -> int:
        """Tokens, padding included."""
        packed_rows = [sorted(entry.row.tokens for entry in group) for _, group in groupby(owned, key=lambda entry: entry.packed_row)]
        return len(packed_rows) * max(flat_size(packed_row) - self.skip for packed_row in packed_rows)


def _row(owned: _Owned) -> SequenceRow:
    return owned.row


def _longest_first(requests: Sequence[Generate]) -> list[Generate]:
    return sorted(requests, key=lambda request: (-need(request), request.id))


def _padded_size(owned: Sequence[_Owned]) -> int:
    return area([entry.row for entry in owned])


def _generation_size(batch: Sequence[Generate]) -> int:
    return sum(request.beams for request in batch) * max(need(request) for request in batch)
