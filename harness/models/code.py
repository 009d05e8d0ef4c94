"""Python code that a model brings, or names, and that transformers runs where --trust-remote-code allows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from harness.errors import ModelError
from harness.util import paths

_NAMING = ("config.json", "tokenizer_config.json")


def code_files(folder: Path) -> dict[str, Path]:
    """Every Python file of a folder whose settings name code (`auto_map`), and of the repositories that they name, by name.

    Which of them are imported is known only once they have run, so all count.

    Raises:
        ModelError: code of another repository cannot be had.
    """
    references = list(_references(folder))
    if not references:
        return {}
    files = dict(_python(folder, ""))
    for name in sorted(elsewhere(folder)):
        files |= dict(_python(_repository(name), f"{name}--"))
    return files


def elsewhere(folder: Path) -> frozenset[str]:
    """The repositories, other than the folder, that its settings take code from."""
    return frozenset(reference.partition("--")[0] for reference in _references(folder) if "--" in reference)


def code_revision(folder: Path) -> str | None:
    """The hub commit of the code that a folder takes from elsewhere, so that what is run is what was hashed.

    Raises:
        ModelError: it takes code from several repositories, for which transformers has one revision only.
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
            yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))


def _python(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inner.parts):
            yield prefix + inner.as_posix(), path


@cache
def _repository(name: str) -> Path:
    """The folder of a repository's code, the same commit for as long as the process lives."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.py"], local_files_only=paths.offline()))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"The code of the repository {name}, which the model runs, cannot be had: {error}",
            f"Download it where there is a network: hf download {name}",
        ) from error
