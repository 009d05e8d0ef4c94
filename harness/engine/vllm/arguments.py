"""The arguments of `--engine vllm`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from harness.engine.arguments import EngineArguments, argument
from harness.errors import InputError

_GIB = 1 << 30
_CPU_BLOCK = 32
"""Tokens of a block of the prefix cache on a CPU; vLLM's default of 128 leaves more of a shared prefix to compute again."""

_CPU_CACHE_GIB = 4


@dataclass(frozen=True)
class VllmArguments(EngineArguments):
    """How vLLM loads and computes a model.

    Attributes:
        tensor_parallel_size: GPUs among which each layer is divided.
        gpu_memory_utilization: share of a GPU's memory that vLLM takes.
        kv_cache_gib: GiB of memory for keys and values.
        max_model_len: longest prompt with its answer, in tokens.
        max_num_seqs: requests that are computed at the same time.
        enforce_eager: run the model as it is, without compiling it.
        head_dtype: type in which logits are computed.
        batch_invariant: kernels whose results do not depend on the batch.
    """

    tensor_parallel_size: int = argument(1, "GPUs among which each layer is divided", low=1, high=1024, changes_numbers=True)
    gpu_memory_utilization: float | None = argument(None, "share of a GPU's memory that vLLM takes (default: vLLM's)", low=0.01, high=1.0)
    kv_cache_gib: float | None = argument(
        None, f"GiB of memory for keys and values (default: {_CPU_CACHE_GIB} on a CPU, what is left on a GPU)", low=0.01
    )
    max_model_len: int | None = argument(
        None, "longest prompt with its answer, in tokens; longer prompts are shortened (default: the model's)", low=2
    )
    max_num_seqs: int | None = argument(None, "requests that are computed at the same time (default: vLLM's)", low=1)
    enforce_eager: bool | None = argument(
        None, "run the model without compiling it (default: true on a CPU, vLLM's on a GPU)", changes_numbers=True
    )
    head_dtype: Literal["float32", "model"] | None = argument(
        None, "type in which logits are computed (default: vLLM's, the model's type)", changes_numbers=True
    )
    batch_invariant: bool = argument(
        False, "GPU kernels whose results do not depend on the batch (VLLM_BATCH_INVARIANT)", changes_numbers=True
    )

    def keywords(self, *, cpu: bool) -> dict[str, Any]:
        """Keywords of `vllm.LLM`; what is left to vLLM is missing.

        Args:
            cpu: vLLM computes on a CPU.

        Raises:
            InputError: an argument needs a GPU.
        """
        if cpu and self.batch_invariant:
            raise InputError("--engine-args batch_invariant needs a GPU; this vLLM computes on a CPU.", "Leave it out.")
        cache = self.kv_cache_gib if self.kv_cache_gib is not None else _CPU_CACHE_GIB if cpu else None
        chosen = {
            "tensor_parallel_size": self.tensor_parallel_size if self.tensor_parallel_size > 1 else None,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "kv_cache_memory_bytes": None if cache is None else int(cache * _GIB),
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            "enforce_eager": True if cpu and self.enforce_eager is None else self.enforce_eager,
            "hf_overrides": {"head_dtype": self.head_dtype} if self.head_dtype else None,
            "block_size": _CPU_BLOCK if cpu else None,
        }
        return {name: value for name, value in chosen.items() if value is not None}
