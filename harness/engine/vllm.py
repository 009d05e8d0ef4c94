"""The engine on vLLM, for decoder-only models with LoRA adapters: the same requests, the same responses.

A choice is scored as one prompt, context and choice together, of which vLLM gives the log-probability of every token. Texts are cut and
counted by the same rules as elsewhere (`endings`), from the token ids that vLLM generated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.contract import ChoiceScores, Generate, Response, ScoreChoices, ScoreRequest, TextScore, TokenIds, Usage
from harness.engine.endings import Endings
from harness.errors import InputError, ModelError, NumericError

_TOGETHER = 256
"""Requests that are handed over at a time; their responses are kept together."""

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks for which vLLM allots LoRA weights."""


class Server(Protocol):
    """What is used of `vllm.LLM`."""

    def generate(self, prompts: Any, sampling_params: Any = None, *, use_tqdm: bool = True, lora_request: Any = None) -> list[Any]:
        """One `RequestOutput` for each prompt, in order."""
        ...


def open_server(folder: Path, dtype: str, adapters: Sequence[Path] = ()) -> Server:
    """Load a model into vLLM once, with room for its adapters.

    Args:
        folder: the model and its tokenizer.
        dtype: of the weights.
        adapters: folders of LoRA adapters that will be asked for.

    Raises:
        ModelError: vLLM is not installed, or cannot load the model.
        InputError: an adapter is not LoRA.
    """
    try:
        from vllm import LLM
    except ImportError as error:
        raise ModelError(
            f"--engine vllm needs the library vllm ({error}).",
            "Install it in an environment of its own, since it pins torch and transformers: pip install 'harness[vllm]'.",
        ) from error
    lora: dict[str, Any] = {}
    if adapters:
        lora = {"enable_lora": True, "max_loras": 1, "max_lora_rank": _rank(adapters)}
    try:
        server: Server = LLM(model=str(folder), tokenizer=str(folder), dtype=dtype, enable_prefix_caching=True, **lora)
    except Exception as error:
        raise ModelError(f"vLLM cannot load {folder}: {type(error).__name__}: {error}", "Use --engine transformers.") from error
    return server


def _rank(adapters: Sequence[Path]) -> int:
    highest = 0
    for folder in adapters:
        config = json.loads((folder / "adapter_config.json").read_text())
        if config.get("peft_type") != "LORA":
            raise InputError(f"vLLM serves LoRA adapters; {folder.name} is {config.get('peft_type')}.", "Use --engine transformers.")
        highest = max(highest, config["r"], *(config.get("rank_pattern") or {}).values())
    found = next((rank for rank in _RANKS if rank >= highest), None)
    if found is None:
        raise InputError(f"vLLM serves LoRA adapters up to rank {_RANKS[-1]}, not {highest}.", "Use --engine transformers.")
    return found


@dataclass
class VllmEngine:
    """Computes requests on a model in vLLM.

    Args:
        server: the loaded model.
        endings: tells when a text ends.
        adapter: folder of the LoRA adapter, None for the base.
        number: the adapter's, from 1, different for each adapter of a server.
    """

    server: Server
    endings: Endings
    adapter: Path | None = None
    number: int = 0
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts."""
        from vllm import SamplingParams

        # one token is generated because vLLM generates at least one; it is not looked at
        settings = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        for batch in _batches([one for one in requests if one.id not in done]):
            began = time.perf_counter()
            pairs = {pair: None for request in batch for pair in _pairs(request)}
            outputs = self._run([context + scored for context, scored in pairs], settings)
            found = {pair: _read(pair, output) for pair, output in zip(pairs, outputs, strict=True)}
            self.usage.prefill_seconds += time.perf_counter() - began
            yield [_answer(request, found) for request in batch]

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts.

        Raises:
            InputError: a request asks for a beam search.
        """
        from vllm import SamplingParams

        for batch in _batches([one for one in requests if one.id not in done]):
            if any(one.beams > 1 for one in batch):
                raise InputError("A task asks for beam search, which vLLM no longer has.", "Use --engine transformers for it.")
            began = time.perf_counter()
            settings = [
                SamplingParams(
                    temperature=one.temperature,
                    top_p=one.top_p,
                    max_tokens=one.max_new_tokens,
                    stop=list(one.stop),
                    seed=one.seed % (1 << 63),
                    skip_special_tokens=True,
                )
                for one in batch
            ]
            outputs = self._run([one.context for one in batch], settings)
            self.usage.decode_tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
            self.usage.decode_seconds += time.perf_counter() - began
            yield [self.endings.generation(one, output.outputs[0].token_ids) for one, output in zip(batch, outputs, strict=True)]

    def _run(self, prompts: Sequence[TokenIds], settings: Any) -> list[Any]:
        lora = None
        if self.adapter is not None:
            from vllm.lora.request import LoRARequest

            lora = LoRARequest(self.adapter.name, self.number, str(self.adapter))
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        outputs = self.server.generate(asked, settings, use_tqdm=False, lora_request=lora)
        tokens = sum(map(len, prompts))
        self.usage.requested_tokens += tokens
        self.usage.prefill_tokens += tokens - sum(output.num_cached_tokens or 0 for output in outputs)
        self.usage.batches += 1
        return outputs


def _batches(requests: Sequence[Any]) -> Iterator[list[Any]]:
    """Requests that begin alike together, so that what they share is still cached."""
    ordered = sorted(requests, key=lambda one: (getattr(one, "context", ()), one.id))
    for first in range(0, len(ordered), _TOGETHER):
        yield ordered[first : first + _TOGETHER]


def _pairs(request: ScoreRequest) -> list[tuple[TokenIds, TokenIds]]:
    if isinstance(request, ScoreChoices):
        return [(request.context, choice) for choice in request.choices]
    return list(request.windows)


def _read(pair: tuple[TokenIds, TokenIds], output: Any) -> tuple[float, bool]:
    """Log-probability of what is scored, in nats, and whether each of its tokens is the likeliest."""
    context, scored = pair
    total, greedy = 0.0, True
    for place, token in enumerate(scored, start=len(context)):
        known: Mapping[int, Any] = output.prompt_logprobs[place]
        total += float(known[token].logprob)
        greedy = greedy and known[token].rank == 1
    return total, greedy


def _answer(request: ScoreRequest, found: Mapping[tuple[TokenIds, TokenIds], tuple[float, bool]]) -> Response:
    logprobs, greedy = zip(*(found[pair] for pair in _pairs(request)), strict=True)
    if not all(value > float("-inf") for value in logprobs):
        raise NumericError(f"The model gave a log-probability of {min(logprobs)} for {request.id}.", "Try --dtype bfloat16 or float32.")
    answer = ChoiceScores if isinstance(request, ScoreChoices) else TextScore
    return answer(request.id, logprobs, greedy)
