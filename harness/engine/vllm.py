"""The backend on vLLM, for decoder-only models with LoRA adapters.

A choice is scored as one prompt, context and choice together; vLLM returns the log-probability of every token. Generated texts end by the
same rules as on other backends (`endings`), from the token ids that vLLM generated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.contract import ChoiceScores, Generate, Response, ScoreChoices, ScoreRequest, TextScore, TokenIds, Usage
from harness.engine.base import SETTINGS, Backend, Capabilities, Session, backend
from harness.engine.endings import Endings
from harness.errors import InputError, ModelError, NumericError

if TYPE_CHECKING:
    from harness.models.opening import AnyAdapter, Opening

_TOGETHER = 256
"""Requests handed to vLLM at a time; their responses are saved together."""

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks for which vLLM allots LoRA weights."""


@backend("vllm")
class VllmBackend(Backend):
    """Computes on vLLM in this process, on GPUs."""

    revision = 1
    capabilities = Capabilities(
        choices=True,
        texts=True,
        generation=True,
        sampling=True,
        adapters=frozenset({"LORA"}),
        settings=SETTINGS - {"batch_tokens", "base_url"},
    )

    def open(self, opening: Opening) -> Session:
        """Open the model; it is loaded when the first engine is entered."""
        return VllmSession(opening)


@dataclass
class VllmSession:
    """A model in vLLM, with room for all its adapters.

    Args:
        opening: the model.
    """

    opening: Opening
    _server: Server | None = None

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[VllmEngine]:
        """An engine for the model with an adapter, or without."""
        from harness.models import loading
        from harness.models.adapters import Adapter

        folders = [other.folder for other in self.opening.adapters if isinstance(other, Adapter)]
        options, source, tokenizer = self.opening.options, self.opening.files, self.opening.encoder.tokenizer
        if self._server is None:
            self._server = open_server(source.folder, loading.pick_dtype(options.dtype, loading.pick_device(options.device)), folders)
        endings = Endings(tokenizer, loading.end_tokens(source, tokenizer, remote_code=options.trust_remote_code))
        if adapter is None:
            yield VllmEngine(self._server, endings)
            return
        assert isinstance(adapter, Adapter)
        yield VllmEngine(self._server, endings, adapter.folder, 1 + folders.index(adapter.folder))

    def close(self) -> None:
        """Forget the model."""
        self._server = None


class Server(Protocol):
    """The part of `vllm.LLM` that is used."""

    def generate(self, prompts: Any, sampling_params: Any = None, *, use_tqdm: bool = True, lora_request: Any = None) -> list[Any]:
        """One `RequestOutput` for each prompt, in order."""
        ...


def open_server(folder: Path, dtype: str, adapters: Sequence[Path] = ()) -> Server:
    """Load a model into vLLM once, with room for its adapters.

    Args:
        folder: the model and its tokenizer.
        dtype: of the weights.
        adapters: folders of the LoRA adapters that will be used.

    Raises:
        ModelError: vLLM is not installed, or cannot load the model.
        InputError: an adapter is not LoRA.
    """
    try:
        from vllm import LLM
    except ImportError as error:
        raise ModelError(
            f"--engine vllm needs the library vllm ({error}).",
            "Install it in an environment of its own, since it pins torch and transformers: pip install 'adapter-harness[vllm]'.",
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
    allotted = next((rank for rank in _RANKS if rank >= highest), None)
    if allotted is None:
        raise InputError(f"vLLM serves LoRA adapters up to rank {_RANKS[-1]}, not {highest}.", "Use --engine transformers.")
    return allotted


@dataclass
class VllmEngine:
    """Computes requests on a model in vLLM.

    Args:
        server: the loaded model.
        endings: decides when a generated text ends.
        adapter: folder of the LoRA adapter, None for the base model.
        number: of the adapter, from 1, different for each adapter of a server.
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

        # vLLM generates at least one token, which is ignored
        settings = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        for batch in _batches([request for request in requests if request.id not in done]):
            began = time.perf_counter()
            pairs = {pair: None for request in batch for pair in _pairs(request)}
            outputs = self._run([context + scored for context, scored in pairs], settings)
            scores = {pair: _read(pair, output) for pair, output in zip(pairs, outputs, strict=True)}
            self.usage.prefill_seconds += time.perf_counter() - began
            yield [_response(request, scores) for request in batch]

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts.

        Raises:
            InputError: a request needs beam search.
        """
        from vllm import SamplingParams

        for batch in _batches([request for request in requests if request.id not in done]):
            if any(request.beams > 1 for request in batch):
                raise InputError("A task needs beam search, which vLLM does not have.", "Use --engine transformers.")
            began = time.perf_counter()
            settings = [
                SamplingParams(
                    temperature=request.temperature,
                    top_p=request.top_p,
                    max_tokens=request.max_new_tokens,
                    stop=list(request.stop),
                    seed=request.seed % (1 << 63),
                    skip_special_tokens=True,
                )
                for request in batch
            ]
            outputs = self._run([request.context for request in batch], settings)
            self.usage.decode_tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
            self.usage.decode_seconds += time.perf_counter() - began
            yield [self.endings.generation(request, output.outputs[0].token_ids) for request, output in zip(batch, outputs, strict=True)]

    def _run(self, prompts: Sequence[TokenIds], settings: Any) -> list[Any]:
        lora = None
        if self.adapter is not None:
            from vllm.lora.request import LoRARequest

            lora = LoRARequest(self.adapter.name, self.number, str(self.adapter))
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        outputs = self.server.generate(inputs, settings, use_tqdm=False, lora_request=lora)
        tokens = sum(map(len, prompts))
        self.usage.requested_tokens += tokens
        self.usage.prefill_tokens += tokens - sum(output.num_cached_tokens or 0 for output in outputs)
        self.usage.batches += 1
        return outputs


def _batches(requests: Sequence[Any]) -> Iterator[list[Any]]:
    """Batches in which requests with a common prefix follow each other, so that the prefix is still cached."""
    ordered = sorted(requests, key=lambda request: (getattr(request, "context", ()), request.id))
    for first in range(0, len(ordered), _TOGETHER):
        yield ordered[first : first + _TOGETHER]


def _pairs(request: ScoreRequest) -> list[tuple[TokenIds, TokenIds]]:
    if isinstance(request, ScoreChoices):
        return [(request.context, choice) for choice in request.choices]
    return list(request.windows)


def _read(pair: tuple[TokenIds, TokenIds], output: Any) -> tuple[float, bool]:
    """Log-probability of the scored tokens, in nats, and whether each of them is the likeliest."""
    context, scored = pair
    total, greedy = 0.0, True
    for place, token in enumerate(scored, start=len(context)):
        logprobs: Mapping[int, Any] = output.prompt_logprobs[place]
        total += float(logprobs[token].logprob)
        greedy = greedy and logprobs[token].rank == 1
    return total, greedy


def _response(request: ScoreRequest, scores: Mapping[tuple[TokenIds, TokenIds], tuple[float, bool]]) -> Response:
    logprobs, greedy = zip(*(scores[pair] for pair in _pairs(request)), strict=True)
    if not all(value > float("-inf") for value in logprobs):
        raise NumericError(f"The model gave a log-probability of {min(logprobs)} for {request.id}.", "Try --dtype bfloat16 or float32.")
    kind = ChoiceScores if isinstance(request, ScoreChoices) else TextScore
    return kind(request.id, logprobs, greedy)
