"""Python code in a model's folder or named by it, which transformers runs with --trust-remote-code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from harness.errors import ModelError
from harness.util import paths

_NAMING = ("config.json", "tokenizer_config.json")


def code_files(folder: Path) -> dict[str, Path]:
    """Every Python file, by name, of a folder whose settings name code (`auto_map`), and of the repositories that they name.

    All files count, since only running them shows which ones are imported.

    Raises:
        ModelError: code of another repository is not available.
    """
    references = list(_references(folder))
    if not references:
        return {}
    files = dict(_python(folder, ""))
    for name in sorted(elsewhere(folder)):
        files |= dict(_python(_repository(name), f"{name}--"))
    return files


def elsewhere(folder: Path) -> frozenset[str]:
    """Other repositories from which a folder's settings take code."""
    return frozenset(reference.partition("--")[0] for reference in _references(folder) if "--" in reference)


def code_revision(folder: Path) -> str | None:
    """The Hub commit of the code that a folder takes from another repository, so that the code that runs is the code that was hashed.

    Raises:
        ModelError: it takes code from several repositories, but transformers accepts only one revision.
    """
    hubs = [name for name in elsewhere(folder) if not Path(name).is_dir()]
    if len(hubs) > 1:
        raise ModelError(f"{folder} runs code of several repositories: {', '.join(sorted(hubs))}.", "Copy the code into the folder.")
    return _repository(hubs[0]).name if hubs else None


def _references(folder: Path) -> Iterator[str]:
    for name in _NAMING:
        try:
            settings = json.loads((folder / name).read_bytes())
            named = settings.get("auto_map", {})
        except (OSError, ValueError, AttributeError):
            continue
        for value in named.values() if isinstance(named, dict) else [named]:
            yield from (reference for reference in (value if isinstance(value, list) else [value]) if isinstance(reference, str))


def _python(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inner.parts):
            yield prefix + inner.as_posix(), path


@cache
def _repository(name: str) -> Path:
    """The folder of a repository's code; the commit stays the same while the process runs."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.py"], local_files_only=paths.offline()))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"Can't load the code of the repository {name}, which the model runs: {error}",
            f"Download it on a machine with a network: hf download {name}",
        ) from error
