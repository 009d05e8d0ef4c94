"""The backend on vLLM, for decoder-only models with LoRA adapters.

vLLM runs in processes of its own (`server`); how log-probabilities are asked is in `scoring`, which adapters it computes in `adapters`.
Generated texts end by the same rules as on other backends (`endings`), from the token ids that vLLM generated.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contract import ChoiceScores, Generate, Response, ScoreChoices, ScoreRequest, TextScore, Usage
from harness.engine.base import SETTINGS, Backend, Capabilities, Session, backend
from harness.engine.endings import Endings
from harness.engine.vllm import adapters as lora
from harness.engine.vllm.arguments import VllmArguments
from harness.engine.vllm.scoring import Pair, ScoredTokens, ScoringPrompt, VllmAbilities, plan
from harness.engine.vllm.server import Server, open_server, version
from harness.errors import InputError, ModelError, NumericError

if TYPE_CHECKING:
    from harness.models.adapters import Adapter
    from harness.models.opening import AnyAdapter, ModelOptions, Note, Opening

_TOGETHER = 256
"""Requests handed to vLLM at a time; their responses are saved together."""

_EFFECT_TEXT = "The quick brown fox jumps over the lazy dog."


@backend("vllm")
class VllmBackend(Backend):
    """Computes on vLLM, in processes that it starts, on GPUs or a CPU."""

    revision = 2
    arguments = VllmArguments
    capabilities = Capabilities(
        choices=True,
        texts=True,
        generation=True,
        sampling=True,
        adapters=frozenset({"LORA"}),
        actors=True,
        settings=SETTINGS - {"batch_tokens", "base_url"},
    )

    def prepare(self, options: ModelOptions, note: Note) -> Opening:
        """Find the model and its adapters; prompts are shortened to `max_model_len`.

        Raises:
            InputError: the model or an adapter is not found, is damaged, or is not one that vLLM computes.
        """
        from harness.models.adapters import Adapter, read_config

        opening = super().prepare(options, note)
        for adapter in opening.adapters:
            if isinstance(adapter, Adapter) and not adapter.full:
                config = read_config(adapter.folder)
                if config.get("peft_type") == "LORA":
                    lora.check_adapter(adapter, config, pickles=options.allow_pickle)
        limit, length = self._parsed(options).max_model_len, opening.encoder.max_length
        if limit is None or (length is not None and length <= limit):
            return opening
        return replace(opening, encoder=replace(opening.encoder, max_length=limit))

    def environment(self, options: ModelOptions) -> dict[str, str]:
        """The release of vLLM, and its arguments."""
        installed = version()
        return super().environment(options) | ({"vllm": installed} if installed else {})

    def gpus_per_worker(self, options: ModelOptions) -> int:
        """Those among which each layer is divided."""
        return self._parsed(options).tensor_parallel_size

    def open(self, opening: Opening) -> Session:
        """Open the model; it is loaded when the first engine is entered."""
        return VllmSession(opening, self._parsed(opening.options))

    def _parsed(self, options: ModelOptions) -> VllmArguments:
        arguments = self.parsed(options)
        assert isinstance(arguments, VllmArguments)
        return arguments


@dataclass
class VllmSession:
    """A model in vLLM, with room for all its adapters.

    Args:
        opening: the model.
        arguments: from `--engine-args`.
    """

    opening: Opening
    arguments: VllmArguments = field(default_factory=VllmArguments)
    _server: Server | None = None
    _effective: set[int] = field(default_factory=set)

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[VllmEngine]:
        """An engine for the model with an adapter, or without."""
        from harness.models import loading
        from harness.models.adapters import Adapter

        adapters = [other for other in self.opening.adapters if isinstance(other, Adapter)]
        options, source, tokenizer = self.opening.options, self.opening.files, self.opening.encoder.tokenizer
        if self._server is None:
            dtype = loading.pick_dtype(options.dtype, loading.pick_device(options.device))
            self._server = open_server(source.folder, dtype, adapters, self.arguments, pickles=options.allow_pickle)
        endings = Endings(tokenizer, loading.end_tokens(source, tokenizer, remote_code=options.trust_remote_code))
        if adapter is None:
            yield VllmEngine(self._server, endings)
            return
        assert isinstance(adapter, Adapter)
        engine = VllmEngine(self._server, endings, adapter.folder, 1 + adapters.index(adapter))
        if engine.number not in self._effective:
            self._check_effect(engine, adapter)
            self._effective.add(engine.number)
        yield engine

    def close(self) -> None:
        """End vLLM and the processes that it started."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _check_effect(self, engine: VllmEngine, adapter: Adapter) -> None:
        """Refuse an adapter that changes nothing although its weights are not zero: vLLM ignores modules whose names it does not know.

        Raises:
            ModelError: the log-probabilities of a text are equal with and without it.
        """
        from harness.models.adapters import stored_weights

        tokens = tuple(self.opening.encoder.tokenizer(_EFFECT_TEXT)["input_ids"])
        request = ScoreChoices("effect", tokens[:1], (tokens[1:],))
        base = VllmEngine(engine.server, engine.endings)
        with_adapter, without = (next(iter(either.score([request]))) for either in (engine, base))
        weights = stored_weights(adapter.folder, self.opening.options.allow_pickle)
        if with_adapter == without and any(weight.any() for name, weight in weights.items() if ".lora_B." in name):
            raise ModelError(
                f"vLLM does not apply the adapter {adapter.name}: it changes nothing.",
                "Use --engine transformers, or another release of vLLM.",
            )


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

    @cached_property
    def abilities(self) -> VllmAbilities:
        """What the installed vLLM offers for scoring."""
        from vllm import SamplingParams

        return VllmAbilities.of(SamplingParams)

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Score choices and texts."""
        for batch in _batches([request for request in requests if request.id not in done]):
            if not self.notes:
                self.notes.append(f"vLLM {version() or ''} {self.abilities.note}.".replace("  ", " "))
            began = time.perf_counter()
            pairs = list(dict.fromkeys(pair for request in batch for pair in _pairs(request)))
            prompts = plan(pairs, self.abilities)
            scores = ScoredTokens.of(prompts, self._read(prompts))
            self.usage.requested_tokens += sum(len(context) + len(scored) for context, scored in pairs)
            self.usage.prefill_seconds += time.perf_counter() - began
            yield [_response(request, scores) for request in batch]

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts.

        Raises:
            InputError: a request needs beam search.
        """
        if any(request.beams > 1 for request in requests):
            raise InputError("A task needs beam search, which vLLM does not have.", "Use --engine transformers.")
        return self._generate([request for request in requests if request.id not in done])

    def _generate(self, requests: Sequence[Generate]) -> Iterator[list[Response]]:
        from vllm import SamplingParams

        for batch in _batches(requests):
            began = time.perf_counter()
            settings = [
                SamplingParams(
                    temperature=request.temperature,
                    top_p=request.top_p,
                    max_tokens=request.max_new_tokens,
                    stop=list(request.stop),
                    seed=request.seed % (1 << 63),
                    skip_special_tokens=True,
                    detokenize=bool(request.stop),
                )
                for request in batch
            ]
            prompts = [ScoringPrompt(request.context) for request in batch]
            outputs = self._run(prompts, settings)
            self.usage.requested_tokens += sum(len(prompt.tokens) for prompt in prompts)
            self.usage.decode_tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
            self.usage.decode_seconds += time.perf_counter() - began
            yield [self.endings.generation(request, output.outputs[0].token_ids) for request, output in zip(batch, outputs, strict=True)]

    def _read(self, prompts: Sequence[ScoringPrompt]) -> list[Any]:
        """What is read of prompts; those of which the prefix cache has left out a row are computed again without it.

        Raises:
            ModelError: vLLM leaves out rows without the cache too.
        """
        results = self._read_once(prompts, cached=True)
        again = [place for place, result in enumerate(results) if result is None]
        for place, result in zip(again, self._read_once([prompts[place] for place in again], cached=False), strict=True):
            results[place] = result
        if None in results:
            raise ModelError(f"vLLM {version() or ''} returns no log-probabilities of some prompts.", "Use --engine transformers.")
        return results

    def _read_once(self, prompts: Sequence[ScoringPrompt], *, cached: bool) -> list[Any]:
        from vllm import SamplingParams

        if not prompts:
            return []
        outputs = self._run(prompts, [prompt.parameters(SamplingParams, self.abilities, cached=cached) for prompt in prompts])
        return [prompt.read(output) for prompt, output in zip(prompts, outputs, strict=True)]

    def _run(self, prompts: Sequence[ScoringPrompt], settings: Any) -> list[Any]:
        adapter = None
        if self.adapter is not None:
            from vllm.lora.request import LoRARequest

            adapter = LoRARequest(self.adapter.name, self.number, str(self.adapter))
        outputs = self.server.generate([{"prompt_token_ids": list(prompt.tokens)} for prompt in prompts], settings, adapter)
        self.usage.prefill_tokens += sum(len(prompt.tokens) for prompt in prompts) - sum(
            output.num_cached_tokens or 0 for output in outputs
        )
        self.usage.batches += 1
        return outputs


def _batches(requests: Sequence[Any]) -> Iterator[list[Any]]:
    """Batches in which requests with a common prefix follow each other, so that the prefix is still cached."""
    ordered = sorted(requests, key=lambda request: (getattr(request, "context", ()), request.id))
    for first in range(0, len(ordered), _TOGETHER):
        yield ordered[first : first + _TOGETHER]


def _pairs(request: ScoreRequest) -> list[Pair]:
    if isinstance(request, ScoreChoices):
        return [(request.context, choice) for choice in request.choices]
    return list(request.windows)


def _response(request: ScoreRequest, scores: ScoredTokens) -> Response:
    logprobs, greedy = zip(*(scores.of_pair(pair) for pair in _pairs(request)), strict=True)
    if not all(value > float("-inf") for value in logprobs):
        raise NumericError(f"The model gave a log-probability of {min(logprobs)} for {request.id}.", "Try --dtype bfloat16 or float32.")
    kind = ChoiceScores if isinstance(request, ScoreChoices) else TextScore
    return kind(request.id, logprobs, greedy)
