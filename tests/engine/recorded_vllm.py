"""What the harness uses of vLLM, as its source (v0.10 to v0.12) describes it, computed by transformers one prompt at a time.

It stands in for the package where that is not installed. Fields and arguments have vLLM's names; unknown arguments are errors.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass
class SamplingParams:
    """`vllm.SamplingParams`; `detokenize=False` leaves `text` empty."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = 16
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    prompt_logprobs: int | None = None
    skip_special_tokens: bool = True
    detokenize: bool = True


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
    """`vllm.LLM`; `opened` lists the arguments of each that was made."""

    opened: ClassVar[list[dict[str, Any]]] = []

    def __init__(
        self,
        model: str,
        *,
        tokenizer: str | None = None,
        dtype: str = "auto",
        enable_prefix_caching: bool | None = None,
        enable_lora: bool = False,
        max_loras: int = 1,
        max_lora_rank: int = 16,
    ) -> None:
        self.opened.append({"model": model, "dtype": dtype, "enable_lora": enable_lora, "max_lora_rank": max_lora_rank})
        self._enable_lora, self._folder = enable_lora, model
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer or model)
        self._ends = {self._tokenizer.eos_token_id}

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
        module = self._module(lora_request)
        each = sampling_params if isinstance(sampling_params, list) else [sampling_params or SamplingParams()] * len(prompts)
        return [
            self._one(module, str(number), prompt["prompt_token_ids"], one)
            for number, (prompt, one) in enumerate(zip(prompts, each, strict=True))
        ]

    def _one(self, module: Any, name: str, ids: list[int], params: SamplingParams) -> RequestOutput:
        logprobs = None
        if params.prompt_logprobs is not None:
            rows = torch.log_softmax(module(torch.tensor([ids])).logits[0].float(), dim=-1)
            logprobs = [None, *({token: _logprob(row, token)} for row, token in zip(rows[:-1], ids[1:], strict=True))]
        new: list[int] = []
        reason: str | None = None
        stop: str | None = None
        while reason is None:
            new.append(int(module(torch.tensor([ids + new])).logits[0, -1].argmax()))
            text = self._tokenizer.decode(new, skip_special_tokens=params.skip_special_tokens)
            stop = next((one for one in params.stop if one in text), None)
            reason = "stop" if new[-1] in self._ends or stop else "length" if len(new) == params.max_tokens else None
        text = text.split(stop)[0] if stop else text
        return RequestOutput(name, ids, logprobs, [CompletionOutput(0, text if params.detokenize else "", new, reason, stop)])


def _logprob(row: torch.Tensor, token: int) -> Logprob:
    return Logprob(float(row[token]), int((row > row[token]).sum()) + 1)


def install(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    """Have `import vllm` find this."""
    package, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    vars(package).update(LLM=LLM, SamplingParams=SamplingParams)
    vars(request).update(LoRARequest=LoRARequest)
    for name, module in {"vllm": package, "vllm.lora": lora, "vllm.lora.request": request}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(LLM, "opened", [])
    return LLM
