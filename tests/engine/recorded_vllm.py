"""What the harness uses of vLLM 0.32, as it behaved there and as its source describes it, computed by transformers one prompt at a time.

It stands in for the package where that is not installed; tests/real/test_vllm.py asks the same of vLLM itself. Fields and arguments have
vLLM's names; unknown arguments are errors. Its prefix cache knows whole blocks of prompts, and leaves out the rows that it covers.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Literal

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

MOST_NEXT = 128
KEYWORDS = frozenset(
    {
        *("dtype", "enable_prefix_caching", "enable_lora", "max_loras", "max_lora_rank", "lora_target_modules", "logprobs_mode"),
        *("tensor_parallel_size", "gpu_memory_utilization", "kv_cache_memory_bytes", "max_model_len", "max_num_seqs", "enforce_eager"),
        *("hf_overrides", "block_size"),
    }
)
"""Arguments of `vllm.LLM` that are passed."""


@dataclass
class SamplingParams:
    """`vllm.SamplingParams`; `detokenize=False` leaves `text` empty."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = 16
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    skip_reading_prefix_cache: bool | None = None
    skip_special_tokens: bool = True
    detokenize: bool = True

    def __post_init__(self) -> None:
        assert self.logprob_token_ids is None or len(self.logprob_token_ids) <= MOST_NEXT


@dataclass
class OldSamplingParams:
    """`vllm.SamplingParams` before it had `logprob_token_ids` and `skip_reading_prefix_cache`."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = 16
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    prompt_logprobs: int | None = None
    skip_special_tokens: bool = True
    detokenize: bool = True


@dataclass
class EngineArgs:
    """`vllm.engine.arg_utils.EngineArgs`, the fields that are looked for."""

    lora_target_modules: list[str] | None = None
    logprobs_mode: str = "raw_logprobs"


@dataclass
class PEFTHelper:
    """`vllm.lora.peft_helper.PEFTHelper`, the fields that are looked for."""

    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)


@dataclass
class OldPEFTHelper:
    """The same before it knew ranks of single modules."""


@dataclass
class Platform:
    """`vllm.platforms.current_platform`."""

    cpu: bool = True

    def is_cpu(self) -> bool:
        return self.cpu


class EngineDeadError(Exception):
    """`vllm.v1.engine.exceptions.EngineDeadError`."""


@dataclass
class Logprob:
    """`vllm.logprobs.Logprob`."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    """`vllm.outputs.CompletionOutput`."""

    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    logprobs: list[dict[int, Logprob]] | None = None


@dataclass
class RequestOutput:
    """`vllm.outputs.RequestOutput`."""

    request_id: str
    prompt_token_ids: list[int]
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    outputs: list[CompletionOutput]
    finished: bool = True
    num_cached_tokens: int | None = None


@dataclass
class LoRARequest:
    """`vllm.lora.request.LoRARequest`."""

    lora_name: str
    lora_int_id: int
    lora_path: str


class LLM:
    """`vllm.LLM`.

    Attributes:
        opened: the arguments of each that was made.
        asked: what each was asked, prompt and parameters.
        rows: what the V1 runner does with the rows that the prefix cache covers ("unwritten"), or V2 ("missing").
        dies: a request ends the engine.
    """

    opened: ClassVar[list[dict[str, Any]]] = []
    asked: ClassVar[list[tuple[tuple[int, ...], SamplingParams]]] = []
    rows: ClassVar[Literal["unwritten", "missing"]] = "unwritten"
    dies: ClassVar[bool] = False

    def __init__(self, model: str, *, tokenizer: str | None = None, **arguments: Any) -> None:
        unknown = arguments.keys() - KEYWORDS
        assert not unknown, unknown
        self.opened.append({"model": model, **arguments})
        self._enable_lora, self._folder = arguments.get("enable_lora", False), model
        self._block = arguments.get("block_size") or 16
        self._blocks: set[tuple[object, ...]] = set()
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer or model)
        self._ends = {self._tokenizer.eos_token_id}

    def _cached(self, ids: list[int], params: SamplingParams, lora: LoRARequest | None) -> int:
        """Tokens of a prompt that the prefix cache covers, the last excepted; its whole blocks are cached from now on."""
        names = [(lora and lora.lora_int_id, *ids[:end]) for end in range(self._block, len(ids) + 1, self._block)]
        skip = getattr(params, "skip_reading_prefix_cache", None)
        skip = params.prompt_logprobs is not None if skip is None else skip
        known = 0
        while not skip and known < len(names) and names[known] in self._blocks and (known + 1) * self._block < len(ids):
            known += 1
        self._blocks.update(names)
        return known * self._block

    def _module(self, lora: LoRARequest | None) -> Any:
        module = AutoModelForCausalLM.from_pretrained(self._folder, dtype=torch.float32).eval()
        if lora is None:
            return module
        assert self._enable_lora
        assert lora.lora_int_id > 0
        return PeftModel.from_pretrained(module, lora.lora_path).eval()

    @torch.inference_mode()
    def generate(
        self,
        prompts: list[dict[str, list[int]]],
        sampling_params: SamplingParams | list[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
        lora_request: LoRARequest | None = None,
    ) -> list[RequestOutput]:
        """Greedy texts, and log-probabilities of the prompts."""
        if self.dies:
            raise EngineDeadError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
        module = self._module(lora_request)
        each = sampling_params if isinstance(sampling_params, list) else [sampling_params or SamplingParams()] * len(prompts)
        type(self).asked += [(tuple(prompt["prompt_token_ids"]), params) for prompt, params in zip(prompts, each, strict=True)]
        return [
            self._one(
                module, str(number), prompt["prompt_token_ids"], params, self._cached(prompt["prompt_token_ids"], params, lora_request)
            )
            for number, (prompt, params) in enumerate(zip(prompts, each, strict=True))
        ]

    def _one(self, module: Any, name: str, ids: list[int], params: SamplingParams, cached: int) -> RequestOutput:
        rows = torch.log_softmax(module(torch.tensor([ids])).logits[0].float(), dim=-1)
        logprobs = None
        if params.prompt_logprobs is not None:
            logprobs = [None, *(_row(row, token, params.prompt_logprobs) for row, token in zip(rows[:-1], ids[1:], strict=True))]
            covered = cached if self.rows == "missing" else 0
            logprobs = [{0: Logprob(0.0, 1)} if 0 < place <= cached else row for place, row in enumerate(logprobs)][covered:]
        new: list[int] = []
        reason: str | None = None
        stop: str | None = None
        while reason is None:
            new.append(int(module(torch.tensor([ids + new])).logits[0, -1].argmax()))
            text = self._tokenizer.decode(new, skip_special_tokens=params.skip_special_tokens)
            stop = next((one for one in params.stop if one in text), None)
            reason = "stop" if new[-1] in self._ends or stop else "length" if len(new) == params.max_tokens else None
        text = text.split(stop)[0] if stop else text
        answer = CompletionOutput(0, text if params.detokenize else "", new, reason, stop)
        if wanted := getattr(params, "logprob_token_ids", None):
            # ranks are places in the list, as in vLLM, and say nothing
            answer.logprobs = [{token: Logprob(float(rows[-1, token]), place) for place, token in enumerate([new[0], *wanted])}]
        return RequestOutput(name, ids, logprobs, [answer], num_cached_tokens=cached)


def _row(row: torch.Tensor, token: int, likeliest: int) -> dict[int, Logprob]:
    """The log-probability of a token, and those of the likeliest ones; a token's rank counts all that are at least as likely."""
    chosen = {token: Logprob(float(row[token]), int((row >= row[token]).sum()))}
    return chosen | {int(other): Logprob(float(row[other]), place + 1) for place, other in enumerate(row.topk(likeliest).indices)}


def install(monkeypatch: pytest.MonkeyPatch, *, old: bool = False, cpu: bool = True) -> type[LLM]:
    """Have `import vllm` find this.

    Args:
        monkeypatch: undoes it.
        old: a vLLM without what newer ones have.
        cpu: it computes on a CPU.
    """
    contents: dict[str, dict[str, Any]] = {
        "vllm": {"LLM": LLM, "SamplingParams": OldSamplingParams if old else SamplingParams},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.lora.peft_helper": {"PEFTHelper": OldPEFTHelper if old else PEFTHelper},
        "vllm.config": {},
        "vllm.config.lora": {} if old else {"MaxLoRARanks": Literal[1, 8, 16, 32, 64, 128, 256, 320, 512]},
        "vllm.engine": {},
        "vllm.engine.arg_utils": {} if old else {"EngineArgs": EngineArgs},
        "vllm.platforms": {"current_platform": Platform(cpu)},
    }
    for name, content in contents.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(LLM, "opened", [])
    monkeypatch.setattr(LLM, "asked", [])
    return LLM
