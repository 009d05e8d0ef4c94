"""Load a model: safetensors only, no missing weight, the checkpoint's own output head, and no hidden generation setting."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import ModelError
from harness.models import weight_files
from harness.models.cards import ModelSource
from harness.models.code import code_revision
from harness.models.digests import weights_files
from harness.models.loaded_weights import check_complete, check_finite, check_head, parameter_names, shape_error
from harness.models.settings import check_model_settings, is_quantized
from harness.util.contents import Contents
from harness.util.libraries import install_command

if TYPE_CHECKING:
    import torch

Quantization = Literal["8bit", "4bit"]
_DEVICES = "Use auto, cpu, cuda, cuda:0 or mps."
_LONGEST_REASON = 300
"""Longest part of a library's message, in characters."""


@dataclass
class Loaded:
    """A model on its device, ready to use.

    Attributes:
        module: the transformers model, in eval mode.
        tokenizer: its tokenizer.
        architecture: "causal" or "seq2seq".
        device: of its weights.
        dtype: of the weights that are not quantized, such as "float32".
        quantization: "8bit", "4bit" or None.
        parameters: number of weights (before quantization packs them).
        source: where it came from.
        contents: the files that it was loaded from, if they were hashed.
    """

    module: Any
    tokenizer: Any
    architecture: Literal["causal", "seq2seq"]
    device: torch.device
    dtype: str
    quantization: Quantization | None
    parameters: int
    source: ModelSource
    contents: Contents | None = None

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens that the model's positions allow; None if they are relative (T5)."""
        return max_length(self.module.config)


def max_length(config: Any) -> int | None:
    """Longest sequence in tokens that a configuration's positions allow; None without a limit (T5's are relative)."""
    config = config.get_text_config()
    if hasattr(config, "relative_attention_num_buckets"):
        return None
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def load_tokenizer(source: ModelSource, *, remote_code: bool = False) -> Any:
    """Load the tokenizer of a model folder; raises ModelError if it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source.folder, **_code(source.folder, remote_code))
    except Exception as error:
        raise _unreadable(source.folder) or ModelError(
            f"The tokenizer in {source.folder} cannot be loaded: {_reason(error)}.", "Save it there with `save_pretrained`."
        ) from error


def load_config(source: ModelSource, *, remote_code: bool = False) -> Any:
    """Load the configuration of a model folder; raises ModelError if it cannot be read."""
    from transformers import AutoConfig

    check_model_settings(source.folder, ModelError)
    try:
        return AutoConfig.from_pretrained(source.folder, **_code(source.folder, remote_code))
    except Exception as error:
        hint = "A model with custom code needs --trust-remote-code." if "trust_remote_code" in str(error) else "Check config.json."
        raise _unreadable(source.folder) or ModelError(
            f"The configuration in {source.folder} cannot be loaded: {_reason(error)}.", hint
        ) from error


def raw_config(source: ModelSource) -> dict[str, Any]:
    """The content of a model's configuration file; raises ModelError if it cannot be read."""
    if damaged := _unreadable(source.folder):
        raise damaged
    content: dict[str, Any] = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    return content


def _unreadable(folder: Path) -> ModelError | None:
    """An error for the first JSON file of a model folder that is not a JSON object, such as a truncated one; None if all are."""
    for path in sorted(folder.glob("*.json")):
        try:
            if not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
                return ModelError(f"{path} is damaged: it is not a JSON object.", "Copy or download it again.")
        except (OSError, ValueError) as error:
            return ModelError(f"{path} is damaged: {error}.", "Copy or download it again.")
        except RecursionError:
            return ModelError(f"{path} is damaged: it is nested too deeply.", "Copy or download it again.")
    return None


def check_weights(source: ModelSource, *, pickles: bool = False) -> None:
    """Check that no file of weights is missing, truncated or damaged, without reading the data.

    Raises:
        ModelError: names the file and the damage.
    """
    files = weights_files(source.folder, pickles=pickles)
    if not files:
        kind = "only pickled weights" if list(source.folder.glob("*.bin")) else "no weights"
        raise ModelError(f"{source.folder} has {kind}.", "Save safetensors, or pass --allow-pickle if you trust the author of the file.")
    weight_files.check_whole(files, ModelError)
    if is_quantized(source.folder):
        weight_files.check_quantized(files, ModelError)
    else:
        weight_files.check_types(files, ModelError)


def generation_config(source: ModelSource) -> Any:
    """The generation settings in a model folder; defaults if there is no file.

    Raises:
        ModelError: the file exists but cannot be read. transformers would continue without the end tokens in it.
    """
    from transformers import GenerationConfig

    path = source.folder / "generation_config.json"
    if not path.is_file():
        return GenerationConfig()
    try:
        settings = GenerationConfig.from_pretrained(source.folder)
        if not all(isinstance(token, int) for token in _as_list(settings.eos_token_id)):
            raise ValueError(f"eos_token_id is {settings.eos_token_id!r}")
    except Exception as error:
        raise _unreadable(source.folder) or ModelError(
            f"{path} cannot be loaded: {_reason(error)}.", "Copy or download it again, or remove it."
        ) from error
    return settings


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {words[:_LONGEST_REASON]}" if words else type(error).__name__


def _code(folder: Path, allowed: bool) -> dict[str, Any]:
    """Options for custom code: whether it runs, and the commit if it is in another repository."""
    revision = code_revision(folder) if allowed else None
    return {"trust_remote_code": allowed} | ({"code_revision": revision} if revision is not None else {})


def pick_device(name: str) -> torch.device:
    """The device that `--device` names.

    Args:
        name: cpu, cuda, cuda:INDEX, mps, or auto for the first of cuda, mps and cpu that this machine has.

    Raises:
        ModelError: the name is not a supported device, or is missing on this machine.
    """
    import torch

    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if name == "auto":
        return torch.device(next(kind for kind, count in counts.items() if count))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"Unknown device {name!r}.", _DEVICES) from error
    if device.type not in counts:
        raise ModelError(f"The device {name!r} is not supported.", _DEVICES)
    if (device.index or 0) >= counts[device.type]:
        raise ModelError(
            f"This machine has no device {name!r}.",
            f"It has {counts['cuda']} CUDA devices and {counts['mps']} MPS devices; use --device cpu.",
        )
    return device


def pick_dtype(name: str, device: torch.device) -> str:
    """The dtype that `--dtype` names; auto is bfloat16 on a CUDA device that supports it, and float32 elsewhere (CPU, MPS)."""
    import torch

    if name != "auto":
        return name
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return "bfloat16"
    return "float32"


def load_model(
    source: ModelSource,
    *,
    tokenizer: Any,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantization | None = None,
    pickles: bool = False,
    remote_code: bool = False,
    contents: Contents | None = None,
) -> Loaded:
    """Load the model of a folder and check the loaded weights. Before caching its responses, call `check` on its `contents`.

    Raises:
        ModelError: weights are missing or pickled, the output head is not the checkpoint's, or a library for quantization is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = load_config(source, remote_code=remote_code)
    check_weights(source, pickles=pickles)
    generation_config(source)
    where = pick_device(device)
    kind = pick_dtype(dtype, where)
    seq2seq = bool(config.is_encoder_decoder)
    factory = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    options: dict[str, Any] = {
        "dtype": getattr(torch, kind),
        "use_safetensors": None if pickles else True,
        **_code(source.folder, remote_code),
    }
    if quantize is not None:
        options |= {"quantization_config": _quantization(quantize, kind), "device_map": {"": where}}
    _quiet()
    try:
        module, report = factory.from_pretrained(source.folder, config=config, output_loading_info=True, **options)
    except Exception as error:
        raise shape_error(config, factory, source.folder) or ModelError(
            f"The model in {source.folder} cannot be loaded: {_reason(error)}.", "Check its files."
        ) from error
    check_complete(report, source.folder)
    if not is_quantized(source.folder):
        weight_files.check_types(weights_files(source.folder, pickles=pickles), ModelError, parameter_names(module))
    if quantize is None:
        _to_device(module, where, kind)
    elif where.type == "cpu":
        _keep_unpacked(module)
    module.eval()
    check_finite(module, source.folder, kind)
    _fuse_activations(module)
    check_head(module, source.folder)
    plain_generation(module, tokenizer)
    architecture: Literal["causal", "seq2seq"] = "seq2seq" if seq2seq else "causal"
    return Loaded(module, tokenizer, architecture, where, kind, quantize, int(module.num_parameters()), source, contents)


def _to_device(module: Any, device: torch.device, dtype: str) -> None:
    import torch

    try:
        module.to(device)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"The model's {module.num_parameters():,} weights in {dtype} do not fit on {device}: {_reason(error)}.",
            "Use a smaller --dtype, --quantize, or another --device.",
        ) from error


def _fuse_activations(module: Any) -> None:
    """Compute the tanh form of GELU (T5, GPT-2) with one kernel instead of eight; results differ only in the last bit."""
    import torch
    from transformers.activations import NewGELUActivation

    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(parent, name, torch.nn.GELU(approximate="tanh"))


def _quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _quantization(quantize: Quantization, dtype: str) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"--quantize {quantize} needs the library bitsandbytes, which is not installed.", f"Install it: {install_command('quant')}."
        )
    import torch
    from transformers import BitsAndBytesConfig

    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=getattr(torch, dtype)
    )


def _keep_unpacked(module: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights on CPUs with AVX-512: the first forward would round their scales to bfloat16.

    An adapter trained on such a base would then be evaluated on a different one.
    """
    for part in module.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False


def plain_generation(module: Any, tokenizer: Any) -> None:
    """Remove the checkpoint's generation defaults (temperature, penalties, lengths) and leave only special tokens."""
    from transformers import GenerationConfig

    old = module.generation_config
    ends = _end_tokens(old, module.config, tokenizer)
    start = getattr(old, "decoder_start_token_id", None)
    if start is None:
        start = getattr(module.config, "decoder_start_token_id", None)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends[0] if ends else 0)
    module.generation_config = GenerationConfig(
        eos_token_id=ends or None,
        pad_token_id=pad,
        bos_token_id=old.bos_token_id,
        decoder_start_token_id=start,
        forced_bos_token_id=getattr(old, "forced_bos_token_id", None),
    )


def end_tokens(source: ModelSource, tokenizer: Any, *, remote_code: bool = False) -> frozenset[int]:
    """Token ids that end a text of this model; its weights are not loaded."""
    config = load_config(source, remote_code=remote_code)
    return frozenset(_end_tokens(generation_config(source), config, tokenizer))


def _end_tokens(generation: Any, config: Any, tokenizer: Any) -> list[int]:
    places = (generation, config.get_text_config(), tokenizer)
    return sorted({token for place in places for token in _as_list(place.eos_token_id)})


def _as_list(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
