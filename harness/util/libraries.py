"""Optional libraries: the extra that installs each of them, and the error where one is missing."""

from __future__ import annotations

import importlib.util

from harness.errors import MissingLibraryError

DISTRIBUTION = "adapter-harness"
"""The package's name on the index; `harness` is the name of the import and of the command."""

EXTRAS = {
    "accelerate": "hf",
    "datasets": "hf",
    "huggingface_hub": "hf",
    "peft": "hf",
    "pyarrow": "hf",
    "rouge_score": "hf",
    "sacrebleu": "hf",
    "safetensors": "hf",
    "tokenizers": "hf",
    "torch": "hf",
    "transformers": "hf",
    "bitsandbytes": "quant",
    "gguf": "demo",
    "ctranslate2": "ctranslate2",
    "evaluate": "evaluate",
    "nltk": "nlg",
    "pycocoevalcap": "nlg",
    "httpx2": "server",
    "lm_eval": "lm-eval",
    "profanity_check": "toxicity",
    "matplotlib": "plot",
    "vllm": "vllm",
}
"""Extra that installs a library, by the library's import name."""


def install_command(extra: str) -> str:
    """The command that installs an extra, such as `pip install 'adapter-harness[hf]'`."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def require(*modules: str) -> None:
    """Check that libraries are installed, without importing them.

    Args:
        modules: import names, all of them keys of `EXTRAS`.

    Raises:
        MissingLibraryError: one of them is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise _missing(module)


def missing_library(error: Exception) -> MissingLibraryError | None:
    """The message for a failed import of an optional library; None for any other error."""
    module = (error.name or "").partition(".")[0].replace("-", "_") if isinstance(error, ModuleNotFoundError) else ""
    return _missing(module) if module in EXTRAS else None


def _missing(module: str) -> MissingLibraryError:
    return MissingLibraryError(f"The library {module} is not installed.", f"Install it: {install_command(EXTRAS[module])}.")
