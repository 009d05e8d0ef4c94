"""Which LoRA adapters vLLM computes as peft does, and how it loads them; vLLM leaves out some of what it does not know without an error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_args

from harness.errors import AdapterError

if TYPE_CHECKING:
    from harness.models.adapters import Adapter

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks for which every vLLM can allot weights."""

_FEATURES = {
    "use_dora": "DoRA",
    "lora_bias": "biases of LoRA's own (lora_bias)",
    "modules_to_save": "whole modules beside LoRA (modules_to_save)",
    "trainable_token_indices": "trained embeddings of single tokens (trainable_token_indices)",
    "target_parameters": "LoRA on parameters instead of modules (target_parameters)",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow routing",
}
"""Keys of adapter_config.json that must be false or empty, in words. `adapter_kinds` refuses those that no other backend computes."""

_HEADS = frozenset({"lm_head", "embed_out", "output_layer", "embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings"})
"""Last parts of the names of output heads and embeddings."""

_PATTERNS = ("rank_pattern", "alpha_pattern")
_FACTOR = re.compile(r"(?P<module>.+)\.lora_[AB](\.default)?\.weight")
_REMEDY = "Use --engine transformers."


def check_adapter(adapter: Adapter, config: Mapping[str, Any], *, pickles: bool) -> None:
    """Refuse a LoRA adapter of which vLLM would compute only a part.

    Args:
        adapter: the adapter.
        config: the content of its adapter_config.json.
        pickles: its weights may be pickled.

    Raises:
        AdapterError: it has more than pairs of LoRA factors, or targets the output head or embeddings.
    """
    for key, words in _FEATURES.items():
        if config.get(key):
            raise AdapterError(f"--engine vllm does not support {words}, which the adapter {adapter.name} has.", _REMEDY)
    if config.get("bias", "none") != "none":
        raise AdapterError(f"--engine vllm does not support trained biases, which the adapter {adapter.name} has.", _REMEDY)
    targets(adapter, pickles=pickles)


def targets(adapter: Adapter, *, pickles: bool) -> frozenset[str]:
    """Last parts of the names of the modules that an adapter changes, such as "q_proj", read from its weights.

    Raises:
        AdapterError: a weight is not a LoRA factor of an ordinary module.
    """
    from harness.models.adapters import stored_weights

    names = set()
    for weight in stored_weights(adapter.folder, pickles):
        factor, head = _FACTOR.fullmatch(weight), _HEADS.intersection(weight.split("."))
        if factor is None or head:
            what = f"an adapter on {min(head)}" if head else f"the weight {weight}"
            raise AdapterError(f"--engine vllm does not support {what}, which the adapter {adapter.name} has.", _REMEDY)
        names.add(factor["module"].rpartition(".")[2])
    return frozenset(names)


def keywords(adapters: Sequence[Adapter], *, pickles: bool) -> dict[str, Any]:
    """Keywords of `vllm.LLM` that make room for adapters, one at a time; nothing without adapters.

    Raises:
        AdapterError: a rank is too high for the installed vLLM, or it scales modules with ranks of their own wrongly.
    """
    from harness.models.adapters import read_config

    if not adapters:
        return {}
    configs = {adapter.name: read_config(adapter.folder) for adapter in adapters}
    _check_patterns(configs)
    wanted: dict[str, Any] = {"enable_lora": True, "max_loras": 1, "max_lora_rank": _rank(configs)}
    if knows("vllm.engine.arg_utils", "EngineArgs", "lora_target_modules"):
        wanted["lora_target_modules"] = sorted(frozenset().union(*(targets(adapter, pickles=pickles) for adapter in adapters)))
    return wanted


def _rank(configs: Mapping[str, Mapping[str, Any]]) -> int:
    allotted = _allotted()
    ranks = {name: max(config["r"], *(config.get("rank_pattern") or {}).values(), 0) for name, config in configs.items()}
    highest = max(ranks, key=ranks.__getitem__)
    if ranks[highest] > allotted[-1]:
        raise AdapterError(f"vLLM serves LoRA adapters up to rank {allotted[-1]}; {highest} has rank {ranks[highest]}.", _REMEDY)
    return next(rank for rank in allotted if rank >= ranks[highest])


def _allotted() -> tuple[int, ...]:
    """The ranks for which the installed vLLM can allot weights."""
    try:
        from vllm.config.lora import MaxLoRARanks
    except ImportError:
        return _RANKS
    return tuple(sorted(get_args(MaxLoRARanks))) or _RANKS


def _check_patterns(configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse ranks and alphas of single modules where vLLM scales every module alike, as it did before it read them."""
    for name, config in configs.items():
        used = [pattern for pattern in _PATTERNS if config.get(pattern)]
        if used and not knows("vllm.lora.peft_helper", "PEFTHelper", *used):
            raise AdapterError(
                f"The installed vLLM ignores {' and '.join(used)}, which the adapter {name} has.",
                "Install a newer vLLM, or use --engine transformers.",
            )


def knows(module: str, name: str, *wanted: str) -> bool:
    """Whether a dataclass of the installed vLLM has fields."""
    from importlib import import_module

    try:
        record = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return False
    return is_dataclass(record) and {entry.name for entry in fields(record)}.issuperset(wanted)
