"""The methods: what is trained of a loaded base, how it is written, and how the base comes back."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.errors import AdapterError
from harness.models import attachment
from harness.models.loading import Loaded
from harness.tune.settings import LOW_RANK, SOFT_PROMPTS, TuneSettings


@dataclass(frozen=True)
class Tunable:
    """A base made ready for training.

    Attributes:
        module: the peft model, or the base itself when all of it is trained.
        parameters: the trained parameters by name, each once.
        base: number of the base's parameters.
    """

    module: Any
    parameters: dict[str, torch.nn.Parameter]
    base: int

    @property
    def count(self) -> int:
        """Number of trained parameters."""
        return sum(value.numel() for value in self.parameters.values())

    @property
    def share(self) -> float:
        """Trained parameters over the base's."""
        return self.count / self.base


@contextmanager
def tunable(loaded: Loaded, settings: TuneSettings) -> Iterator[Tunable]:
    """Put a method on a loaded base, its first weights drawn from the seed; afterwards the base is as it was.

    Raises:
        AdapterError: the method's modules are not in the model, or peft knows none for its architecture.
    """
    torch.manual_seed(settings.seed)
    before = [(value, value.requires_grad) for value in loaded.module.parameters()]
    weights = [value.detach().clone() for value, _ in before] if settings.method == "full" else []
    use_cache = getattr(loaded.module.config, "use_cache", None)
    try:
        module = loaded.module if settings.method == "full" else _peft_model(loaded, settings)
        if settings.method == "full":
            loaded.module.requires_grad_(True)
        trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
        yield Tunable(module, trained, loaded.parameters)
    finally:
        attachment.detach(loaded.module)
        for value, flag in before:
            value.requires_grad_(flag)
            value.grad = None
        for (value, _), own in zip(before, weights, strict=False):
            value.data.copy_(own)
        loaded.module.config.use_cache = use_cache
        loaded.module.eval()


def _peft_model(loaded: Loaded, settings: TuneSettings) -> Any:
    try:
        with attachment.quiet():
            from peft import get_peft_model

            module = get_peft_model(loaded.module, peft_config(settings, loaded.architecture))
    except ValueError as error:
        raise AdapterError(*_explained(loaded, settings, error)) from error
    hub = loaded.source.card.hub if loaded.source.card else loaded.source.name
    module.peft_config["default"].base_model_name_or_path = hub
    return module


def peft_config(settings: TuneSettings, architecture: str) -> Any:
    """Peft's configuration of a method, for settings whose defaults are filled in.

    Soft prompts start as embeddings of tokens drawn from the vocabulary, which trains faster than noise; on encoder-decoder
    models they stand before the source only, where peft reads them.
    """
    import peft

    task = "CAUSAL_LM" if architecture == "causal" else "SEQ_2_SEQ_LM"
    targets: Any = "all-linear" if settings.targets == ("all-linear",) else list(settings.targets) or None
    if settings.method in LOW_RANK:
        options = {"r": settings.rank, "lora_alpha": settings.alpha, "target_modules": targets}
        return peft.LoraConfig(task_type=task, use_dora=settings.method == "dora", **options)
    if settings.method == "ia3":
        return peft.IA3Config(task_type=task, target_modules=targets, feedforward_modules=[] if targets else None)
    if settings.method == "prefix":
        return peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=settings.virtual_tokens)
    made = {"num_virtual_tokens": settings.virtual_tokens, "num_transformer_submodules": 1}
    if settings.method == "ptuning":
        return peft.PromptEncoderConfig(task_type=task, **made)
    assert settings.method in SOFT_PROMPTS
    return peft.PromptTuningConfig(task_type=task, prompt_tuning_init="SAMPLE_VOCAB", **made)


def _explained(loaded: Loaded, settings: TuneSettings, error: ValueError) -> tuple[str, str]:
    linear = {name.rsplit(".", 1)[-1] for name, part in loaded.module.named_modules() if isinstance(part, torch.nn.Linear)}
    remedy = f"Name some of its linear modules with --targets: {', '.join(sorted(linear))}; or all-linear."
    if settings.targets and "not found" in str(error):
        return f"{loaded.source.name} has no module called {' or '.join(settings.targets)}.", remedy
    first = str(error).splitlines()[0]
    return f"{settings.method} cannot be put on {loaded.source.name}: {first}", remedy


def write(made: Tunable, loaded: Loaded, settings: TuneSettings, folder: Path) -> None:
    """Write trained weights as peft's `save_pretrained` does, a fully tuned model as transformers' does, with its tokenizer.

    Raises:
        OSError: the folder cannot be written.
    """
    dtype = getattr(torch, settings.weights_dtype)
    if settings.method == "full":
        with contextlib.redirect_stderr(io.StringIO()):  # a bar for its shards
            _saved_in(made.module, dtype, lambda: made.module.save_pretrained(folder))
        loaded.tokenizer.save_pretrained(folder)
        _keep_generation_defaults(loaded.source.folder, folder)
    else:
        _order_sets(made.module.peft_config["default"])
        with attachment.quiet():
            made.module.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's card; ours stands beside the folder
        _cast(folder / "adapter_model.safetensors", dtype)


def _order_sets(config: Any) -> None:
    """Turn peft's sets of names into sorted lists: a set is written in an order of its process, which the folder's digest would follow."""
    for name, value in vars(config).items():
        if isinstance(value, set):
            setattr(config, name, sorted(value))


def round_weights(made: Tunable, dtype: str) -> None:
    """Round the trained weights to the precision in which they will be saved, so that the saved weights are those that are measured."""
    with torch.no_grad():
        for value in made.parameters.values():
            value.copy_(value.to(getattr(torch, dtype)))


def _keep_generation_defaults(base: Path, folder: Path) -> None:
    """The base's own defaults: loading for evaluation took them off the model."""
    name = "generation_config.json"
    (folder / name).unlink(missing_ok=True)
    if (base / name).is_file():
        shutil.copyfile(base / name, folder / name)


def _saved_in(module: Any, dtype: torch.dtype, save: Callable[[], None]) -> None:
    """Call `save` while the module's weights have a dtype; afterwards they have their own again."""
    own = module.dtype
    module.to(dtype)
    try:
        save()
    finally:
        module.to(own)


def _cast(path: Path, dtype: torch.dtype) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    if any(value.dtype != dtype for value in weights.values()):
        save_file({name: value.to(dtype) for name, value in weights.items()}, path, {"format": "pt"})


def weights_bytes(folder: Path) -> int:
    """Size of the weight files on disk."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
