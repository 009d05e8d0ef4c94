"""Loading a model: safetensors only, no weight missing, the checkpoint's own head, and no hidden setting that changes answers."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import weights
from harness.contents import Contents
from harness.errors import ModelError
from harness.models.cards import Source
from harness.models.code import code_revision
from harness.models.digests import weights_files
from harness.models.settings import check_model_settings

if TYPE_CHECKING:
    import torch

Quantization = Literal["8bit", "4bit"]
_HEAD_ROWS = 256
_OF_A_LAYER = re.compile(r"\.\d+\.")
_LONGEST_REASON = 300
"""Characters of a library's own message."""


@dataclass
class Loaded:
    """A model on its device, ready to compute.

    Attributes:
        module: the transformers model, in eval mode.
        tokenizer: its tokenizer.
        architecture: "causal" or "seq2seq".
        device: where it lives.
        dtype: of the weights that are not quantized, such as "float32".
        quantization: "8bit", "4bit" or None.
        parameters: number of weights (before quantization packs them).
        source: where it came from.
        contents: the files that it was loaded from, where they were hashed.
    """

    module: Any
    tokenizer: Any
    architecture: Literal["causal", "seq2seq"]
    device: torch.device
    dtype: str
    quantization: Quantization | None
    parameters: int
    source: Source
    contents: Contents | None = None

    @property
    def max_length(self) -> int | None:
        """Longest sequence the model's positions allow, or None where they are relative (T5)."""
        return max_length(self.module.config)


def max_length(config: Any) -> int | None:
    """Longest sequence that a configuration's positions allow, or None where there is no limit (T5's are relative)."""
    config = config.get_text_config()
    if hasattr(config, "relative_attention_num_buckets"):
        return None
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def load_tokenizer(source: Source, *, remote_code: bool = False) -> Any:
    """The tokenizer of a model folder; raises ModelError where it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source.folder, **_code(source.folder, remote_code))
    except Exception as error:
        raise _unreadable(source.folder) or ModelError(
            f"The tokenizer in {source.folder} cannot be loaded: {_reason(error)}.", "Save it there with `save_pretrained`."
        ) from error


def load_config(source: Source, *, remote_code: bool = False) -> Any:
    """The configuration of a model folder; raises ModelError where it cannot be read."""
    from transformers import AutoConfig

    check_model_settings(source.folder, ModelError)
    try:
        return AutoConfig.from_pretrained(source.folder, **_code(source.folder, remote_code))
    except Exception as error:
        hint = "A model with code of its own needs --trust-remote-code." if "trust_remote_code" in str(error) else "Check config.json."
        raise _unreadable(source.folder) or ModelError(
            f"The configuration in {source.folder} cannot be loaded: {_reason(error)}.", hint
        ) from error


def raw_config(source: Source) -> dict[str, Any]:
    """The configuration of a model folder as its file holds it; raises ModelError where it cannot be read."""
    if damaged := _unreadable(source.folder):
        raise damaged
    content: dict[str, Any] = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    return content


def _unreadable(folder: Path) -> ModelError | None:
    """An error that names the first file of a model folder which should be a JSON object and is none, such as one that was cut."""
    for path in sorted(folder.glob("*.json")):
        try:
            if not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
                return ModelError(f"{path} is damaged: it holds no JSON object.", "Copy or download it again.")
        except (OSError, ValueError) as error:
            return ModelError(f"{path} is damaged: {error}.", "Copy or download it again.")
        except RecursionError:
            return ModelError(f"{path} is damaged: it is nested too deeply.", "Copy or download it again.")
    return None


def check_weights(source: Source, *, pickles: bool = False) -> None:
    """Stop where files of weights are missing, cut or damaged, without reading their data.

    Raises:
        ModelError: says which file, and what is wrong with it.
    """
    files = weights_files(source.folder, pickles=pickles)
    if not files:
        found = "only pickled weights" if list(source.folder.glob("*.bin")) else "no weights"
        raise ModelError(f"{source.folder} holds {found}.", "Save safetensors, or pass --allow-pickle if you trust who made the file.")
    weights.check_whole(files, ModelError)
    if is_quantized(source.folder):
        weights.check_quantized(files, ModelError)
    else:
        weights.check_types(files, ModelError)


def is_quantized(folder: Path) -> bool:
    """Whether the checkpoint's configuration says that its weights are quantized."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and bool(content.get("quantization_config"))


def generation_config(source: Source) -> Any:
    """The settings of generation that a model folder holds, or those of none where there is no file.

    Raises:
        ModelError: the file is there and cannot be read. transformers would go on without it, and without the end tokens in it.
    """
    from transformers import GenerationConfig

    path = source.folder / "generation_config.json"
    if not path.is_file():
        return GenerationConfig()
    try:
        found = GenerationConfig.from_pretrained(source.folder)
        if not all(isinstance(token, int) for token in _as_list(found.eos_token_id)):
            raise ValueError(f"eos_token_id is {found.eos_token_id!r}")
    except Exception as error:
        raise _unreadable(source.folder) or ModelError(
            f"{path} cannot be loaded: {_reason(error)}.", "Copy or download it again, or remove it."
        ) from error
    return found


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {words[:_LONGEST_REASON]}" if words else type(error).__name__


def _code(folder: Path, allowed: bool) -> dict[str, Any]:
    """Options for a model's own code: whether it is run, and of which commit where it is another repository's."""
    revision = code_revision(folder) if allowed else None
    return {"trust_remote_code": allowed} | ({"code_revision": revision} if revision is not None else {})


def pick_device(name: str) -> torch.device:
    """The device for `--device`: auto, cpu, cuda, cuda:i or mps; raises ModelError where it is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"Unknown device {name!r}.", "Use auto, cpu, cuda or cuda:0.") from error
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in here:
        raise ModelError(f"The device {name!r} is of no kind that models are computed on here.", "Use auto, cpu, cuda or cuda:0.")
    if (device.index or 0) >= here[device.type]:
        raise ModelError(f"The device {name!r} is not here.", f"This machine has {here['cuda']} CUDA devices; use --device cpu.")
    return device


def pick_dtype(name: str, device: torch.device) -> str:
    """The dtype for `--dtype`: auto is float32 on a CPU, bfloat16 on a GPU that has it."""
    import torch

    if name != "auto":
        return name
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return "bfloat16"
    return "float32"


def load_model(
    source: Source,
    *,
    tokenizer: Any,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantization | None = None,
    pickles: bool = False,
    remote_code: bool = False,
    contents: Contents | None = None,
) -> Loaded:
    """Load the model of a folder and check what was loaded. Whoever keeps what it computes has to `check` its `contents` first.

    Raises:
        ModelError: weights are missing or pickled, the head is not the checkpoint's, or a library for quantization is missing.
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
        raise _other_shape(config, factory, source.folder) or ModelError(
            f"The model in {source.folder} cannot be loaded: {_reason(error)}.", "Check its files."
        ) from error
    _complete(report, source.folder)
    if not is_quantized(source.folder):
        weights.check_types(weights_files(source.folder, pickles=pickles), ModelError, _parameter_names(module))
    if quantize is None:
        _to_device(module, where, kind)
    elif where.type == "cpu":
        _keep_unpacked(module)
    module.eval()
    _check_finite(module, source.folder, kind)
    _fuse_activations(module)
    check_head(module, source.folder)
    _plain_generation(module, tokenizer)
    architecture: Literal["causal", "seq2seq"] = "seq2seq" if seq2seq else "causal"
    return Loaded(module, tokenizer, architecture, where, kind, quantize, int(module.num_parameters()), source, contents)


def _other_shape(config: Any, factory: Any, folder: Path) -> ModelError | None:
    """An error that names the first tensor whose shape is not the one that the configuration asks for; None where there is none.

    The library says how to load such a checkpoint all the same, and not which tensor it is.
    """
    import torch

    try:
        with torch.device("meta"):
            module = factory.from_config(config)
    except Exception:  # noqa: BLE001 - it cannot be built at all: that error is told
        return None
    prefix = f"{module.base_model_prefix}."
    wanted = {other: tuple(value.shape) for name, value in module.named_parameters() for other in (name, name.removeprefix(prefix))}
    for path, name, shape in weights.shapes(weights_files(folder)):
        if name in wanted and wanted[name] != shape:
            return ModelError(
                f"{path}: the tensor {name} has the shape {list(shape)}, and config.json asks for {list(wanted[name])}.",
                "config.json does not belong to these weights: copy or download the whole model again.",
            )
    return None


def _parameter_names(module: Any) -> frozenset[str]:
    """Names of a model's weights as its own checkpoint, or one of the bare model, gives them."""
    prefix = f"{module.base_model_prefix}."
    return frozenset(other for name, _ in module.named_parameters() for other in (name, name.removeprefix(prefix)))


def _to_device(module: Any, device: torch.device, dtype: str) -> None:
    import torch

    try:
        module.to(device)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"The model's {module.num_parameters():,} weights in {dtype} do not fit on {device}: {_reason(error)}.",
            "Use a smaller --dtype, --quantize, or another --device.",
        ) from error


def _check_finite(module: Any, folder: Path, dtype: str) -> None:
    """Stop where a weight is NaN or infinite; raises ModelError naming the file and the tensor in it."""
    from safetensors import safe_open

    name = weights.first_not_finite(dict(module.named_parameters()))
    if name is None:
        return
    for path in weights_files(folder):
        with safe_open(path, framework="pt") as file:
            for stored in file.keys():  # noqa: SIM118 - not a mapping
                if weights.first_not_finite({stored: file.get_tensor(stored)}):
                    raise ModelError(
                        f"{path}: the tensor {stored} holds NaN or infinite values; every score would be meaningless.",
                        "The training diverged, or the file is damaged: take an earlier checkpoint, or copy it again.",
                    )
    raise ModelError(
        f"The weight {name} of {folder} holds NaN or infinite values in {dtype}.",
        "float16 ends at 65,504: use --dtype float32 or bfloat16." if dtype == "float16" else "Take an earlier checkpoint.",
    )


def _fuse_activations(module: Any) -> None:
    """Compute GELU's tanh form (T5's, GPT-2's) by one kernel instead of eight; equal but for the last bit."""
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
        raise ModelError(f"--quantize {quantize} needs the library bitsandbytes.", "Install it: pip install 'harness[quant]'.")
    import torch
    from transformers import BitsAndBytesConfig

    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=getattr(torch, dtype)
    )


def _keep_unpacked(module: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights on CPUs with AVX-512: the first forward would round their scales to bfloat16.

    An adapter trained on such a base would then be scored on another one.
    """
    for part in module.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False


def _complete(report: dict[str, Any], folder: Path) -> None:
    missing, wrong = sorted(report.get("missing_keys", ())), list(report.get("mismatched_keys", ()))
    if missing:
        raise ModelError(
            f"The checkpoint {folder} lacks {len(missing)} weights that the model needs, {missing[0]} the first; they would be random.",
            "Save the whole model again, or check that config.json belongs to these weights.",
        )
    if wrong:
        raise ModelError(
            f"The checkpoint {folder} holds weights of another shape: {wrong[0]}.", "config.json does not belong to these weights."
        )
    unused = sorted(name for name in report.get("unexpected_keys", ()) if _OF_A_LAYER.search(name))
    if unused:
        raise ModelError(
            f"The checkpoint {folder} holds {len(unused)} weights of layers that the model does not have, {unused[0]} the first.",
            "config.json does not belong to these weights: it asks for fewer layers, or for another architecture.",
        )


def check_head(module: Any, folder: Path) -> None:
    """Stop unless the output head in memory is the one in the checkpoint.

    FLAN-T5 checkpoints hold a head of their own although their configuration may say that it is tied to the input embeddings;
    `tie_weights()` and `resize_token_embeddings()` then replace it in silence and every score becomes noise. Compares up to 256
    evenly spaced rows. A checkpoint without a head must have it tied in memory, and its embeddings unchanged.

    Raises:
        ModelError: they differ.
    """
    head, embeddings = module.get_output_embeddings(), module.get_input_embeddings()
    if head is None or not head.weight.is_floating_point() or _compared(module, head, folder):
        return
    if weights_files(folder) and head.weight.data_ptr() != embeddings.weight.data_ptr():
        raise ModelError(
            f"The checkpoint {folder} has no output head, and the model's head is not tied to its embeddings.", "Check config.json."
        )
    _compared(module, embeddings, folder)


def _compared(module: Any, part: Any, folder: Path) -> bool:
    """Whether the checkpoint holds this part's weight; raises ModelError where it holds another."""
    import torch
    from safetensors import safe_open

    full = next((key for key, value in module.named_modules(remove_duplicate=False) if value is part), "") + ".weight"
    names = (full, full.removeprefix(f"{module.base_model_prefix}."))  # checkpoints of a bare model leave the prefix out
    for path in weights_files(folder):
        with safe_open(path, framework="pt") as file:
            name = next((name for name in names if name in set(file.keys())), None)
            if name is None:
                continue
            stored = file.get_slice(name)
            size = stored.get_shape()[0]
            rows = sorted({round(i * (size - 1) / (_HEAD_ROWS - 1)) for i in range(_HEAD_ROWS)})
            expected = torch.stack([stored[row] for row in rows])
            held = part.weight.detach()[torch.tensor(rows, device=part.weight.device).clamp(max=part.weight.shape[0] - 1)].cpu()
            if part.weight.shape[0] != size or not torch.equal(expected.to(held.dtype), held):
                raise ModelError(
                    f"The output head in memory is not the one in {path} ({name}): it was tied or resized, and scores would be noise.",
                    "Do not call tie_weights() or resize_token_embeddings() on this model.",
                )
            return True
    return False


def _plain_generation(module: Any, tokenizer: Any) -> None:
    """Replace the checkpoint's generation defaults (temperature, penalties, lengths) by none; only special tokens stay."""
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


def end_tokens(source: Source, tokenizer: Any, *, remote_code: bool = False) -> frozenset[int]:
    """Token ids that end a text of this model, without loading its weights."""
    config = load_config(source, remote_code=remote_code)
    return frozenset(_end_tokens(generation_config(source), config, tokenizer))


def _end_tokens(generation: Any, config: Any, tokenizer: Any) -> list[int]:
    places = (generation, config.get_text_config(), tokenizer)
    return sorted({token for place in places for token in _as_list(place.eos_token_id)})


def _as_list(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
