"""Generating text through the model's own `generate`: beam search, and models that cannot use decode slots."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from harness.contract import Generate, Generation, TokenIds, Usage
from harness.engine.endings import Endings
from harness.engine.transformers.caches import silence_peft_warnings
from harness.engine.transformers.decoding import broken_logits
from harness.engine.transformers.planning import Size, pack

Batch = Sequence[Generate]


def plan_generation(requests: Sequence[Generate], budget: int, *, padded: bool = True) -> list[list[Generate]]:
    """Batches of requests with equal limits, longest prompts first, within `budget` tokens of prompt and answer.

    A sampled request runs alone, seeded by its own seed, so that its text does not depend on its batch. Requests in a batch search
    with equally many beams.

    Args:
        requests: what to generate, in any order.
        budget: tokens in a batch, padding included.
        padded: whether prompts of different lengths may share a batch.
    """

    def size(request: Generate) -> Size:
        return Size(request.beams, len(request.context) + request.max_new_tokens, 0)

    def together(first: Generate, piece: Generate) -> bool:
        alike = (first.max_new_tokens, first.beams) == (piece.max_new_tokens, piece.beams)
        return alike and piece.temperature == 0 and (padded or len(first.context) == len(piece.context))

    ordered = sorted(
        requests, key=lambda request: (request.temperature, request.beams, -request.max_new_tokens, -len(request.context), request.id)
    )
    return pack(ordered, size, lambda total: total.padded <= budget, together)


@dataclass
class StopOnText:
    """Ends a row once its new text holds one of its stop strings.

    Args:
        batch: the requests, one a row.
        offset: length of what the model was given; new tokens follow it.
        endings: decides when a text ends.
    """

    batch: Batch
    offset: int
    endings: Endings
    first_step: float | None = None
    _done: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        self._done = [False] * len(self.batch)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Which rows are done: [batch] of bool."""
        if self.first_step is None:
            self.first_step = time.perf_counter()
        if any(request.stop for request in self.batch):
            for row, request in enumerate(self.batch):
                if request.stop and not self._done[row]:
                    self._done[row] = self.endings.stops(request, input_ids[row, self.offset :].tolist())
        return torch.tensor(self._done, device=input_ids.device)


@dataclass(frozen=True)
class CheckNumbers:
    """Ends the run when a row's logits leave no finite maximum to choose; `argmax` would choose a token all the same.

    Args:
        batch: the requests, one a row.
    """

    batch: Batch

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The logits [batch, vocabulary], unchanged."""
        highest = scores.amax(dim=-1)
        if not bool(torch.isfinite(highest).all()):
            row = int(torch.isfinite(highest).logical_not().nonzero()[0])
            raise broken_logits(float(highest[row]), self.batch[row * len(self.batch) // len(highest)].id)
        return scores


@dataclass(frozen=True)
class SearchOutput:
    """Output of `generate` with the numbers it chose by.

    Attributes:
        texts: token ids of each text.
        logits: [texts, tokens, vocabulary] for a single beam; None for several.
        scores: [texts] mean natural-log probability of a text's tokens for several beams; None for a single one.
    """

    texts: list[TokenIds]
    logits: torch.Tensor | None
    scores: torch.Tensor | None


@dataclass
class Generator:
    """Runs batches through the model's own `generate`. Beams run to their ends; stop strings are cut off afterwards.

    Args:
        module: the transformers (or peft) model.
        endings: decides when a text ends.
        seq2seq: whether new tokens start from the decoder's start token instead of following the prompt.
        usage: where tokens and seconds are counted.
        use_cache: whether a KV cache is used.
    """

    module: Any
    endings: Endings
    seq2seq: bool
    usage: Usage
    use_cache: bool = True

    @torch.inference_mode()
    def run(self, batch: Batch) -> list[Generation]:
        """Continue every prompt of the batch."""
        ids, mask = self._padded(batch)
        first = batch[0]
        stop = StopOnText(batch, self._offset(ids), self.endings)
        began = time.perf_counter()
        if first.temperature > 0:
            torch.manual_seed(first.seed)
        with silence_peft_warnings():
            output = self.module.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=self._config(first),
                logits_processor=LogitsProcessorList([CheckNumbers(batch)]),
                stopping_criteria=StoppingCriteriaList([stop] if first.beams == 1 else []),
            )
        new = output[:, stop.offset :].tolist()
        ended = time.perf_counter()
        results = [self.endings.generation(request, tokens) for request, tokens in zip(batch, new, strict=True)]
        self._count(batch, ids, results, (began, stop.first_step or ended, ended))
        return results

    @torch.inference_mode()
    def search_output(self, batch: Batch) -> SearchOutput:
        """Search for texts of exactly `max_new_tokens` tokens; returns the numbers behind the search with them."""
        ids, mask = self._padded(batch)
        config = self._config(batch[0])
        config.update(min_new_tokens=config.max_new_tokens, return_dict_in_generate=True, output_logits=True, output_scores=True)
        output = self.module.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        texts = [tuple(tokens) for tokens in output.sequences[:, self._offset(ids) :].tolist()]
        if batch[0].beams > 1:
            return SearchOutput(texts, None, output.sequences_scores)
        return SearchOutput(texts, torch.stack(output.logits, dim=1), None)

    def _offset(self, ids: torch.Tensor) -> int:
        """How many tokens of a row of `generate`'s output stand before the new ones."""
        return 1 if self.seq2seq else ids.shape[1]

    def _padded(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask [batch, length]; decoder-only prompts are padded on the left, sources on the right."""
        device = next(self.module.parameters()).device
        length = max(len(request.context) for request in batch)
        pad = self.module.generation_config.pad_token_id
        ids = torch.full((len(batch), length), pad, dtype=torch.long)
        mask = torch.zeros((len(batch), length), dtype=torch.long)
        for row, request in enumerate(batch):
            place = slice(0, len(request.context)) if self.seq2seq else slice(length - len(request.context), length)
            ids[row, place] = torch.tensor(request.context)
            mask[row, place] = 1
        return ids.to(device), mask.to(device)

    def _config(self, request: Generate) -> GenerationConfig:
        how: dict[str, Any] = {} if self.use_cache else {"use_cache": False}
        if request.temperature > 0:
            how |= {"temperature": request.temperature, "top_p": request.top_p, "top_k": 0}
        if request.beams > 1:
            how["num_beams"] = request.beams
        special = {
            name: getattr(self.module.generation_config, name)
            for name in ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id", "forced_bos_token_id")
        }
        return GenerationConfig(max_new_tokens=request.max_new_tokens, do_sample=request.temperature > 0, **how, **special)

    def _count(self, batch: Batch, ids: torch.Tensor, results: list[Generation], times: tuple[float, float, float]) -> None:
        prompts = sum(len(request.context) for request in batch)
        self.usage.requested_tokens += prompts
        self.usage.prefill_tokens += prompts
        self.usage.padding_tokens += ids.numel() - prompts
        self.usage.decode_tokens += sum(len(result.tokens) + (result.finish == "eos") for result in results)
        self.usage.prefill_seconds += times[1] - times[0]
        self.usage.decode_seconds += times[2] - times[1]
        self.usage.batches += 1
