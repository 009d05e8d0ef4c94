"""A text file as a task that measures perplexity: split into chunks, each scored by its log-likelihood per byte."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from harness.errors import DataError
from harness.util.atomic import write_lines, write_text

if TYPE_CHECKING:
    from harness.models.encoding import Encoder

TASK = "neutral_text"
"""Name of the task in results."""

LONGEST = 512
"""Tokens of a chunk: long enough that most tokens have context, and short enough that a file gives many chunks to resample."""

_PARAGRAPH = re.compile(r"\n\s*\n")


def write_task(path: Path, encoder: Encoder, root: Path) -> Path:
    """Write a task file and the chunks of a text into a folder named by their content.

    Args:
        path: a text file, or JSON lines with a field `text`.
        encoder: the model's tokenizer; chunks fit its context length.
        root: where to create the folder.

    Raises:
        DataError: the file cannot be read, or contains no text.
        StorageError: the folder cannot be written.
    """
    chunks = [chunk for text in _texts(path) for chunk in split_text(text, encoder)]
    if not chunks:
        raise DataError(f"{path} contains no text.", "Give a text file, or JSON lines with a field `text`.")
    folder = root / hashlib.sha256("\0".join([path.name, *chunks]).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    write_lines(folder / "passages.jsonl", (json.dumps({"text": chunk}) + "\n" for chunk in chunks))
    content = {
        "task": TASK,
        "about": {"title": f"Likelihood of {path.name}"},
        "data": {"files": {"test": "passages.jsonl"}, "split": "test"},
        "answer": "score_text",
        "target": "text",
        "templates": [{"name": "plain", "prompt": "", "delimiter": ""}],
        "metrics": ["bits_per_byte"],
    }
    task = folder / f"{TASK}.yaml"
    write_text(task, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return task


def split_text(text: str, encoder: Encoder) -> list[str]:
    """Split a text into chunks of whole paragraphs, each as long as fits; longer paragraphs are split at white space."""
    limit = min(encoder.max_length or LONGEST, LONGEST)
    chunks: list[str] = []
    size = 0
    for paragraph in _PARAGRAPH.split(text):
        for piece, length in _fitting(paragraph.strip(), encoder, limit):
            if chunks and size + length <= limit:
                chunks[-1] += f"\n\n{piece}"
                size += length
            else:
                chunks.append(piece)
                size = length
    return chunks


def _fitting(paragraph: str, encoder: Encoder, limit: int) -> Iterator[tuple[str, int]]:
    """The paragraph, or pieces of it that fit, each with its number of tokens."""
    if not paragraph:
        return
    length = len(encoder.contexts([paragraph])[0]) + 1  # the line breaks before it are at most one token
    middle = len(paragraph) // 2
    spaces = [place.start() for place in re.finditer(r"\s", paragraph)]
    if length <= limit or not spaces:
        yield paragraph, length
        return
    place = min(spaces, key=lambda space: abs(space - middle))
    for half in (paragraph[:place], paragraph[place:]):
        yield from _fitting(half.strip(), encoder, limit)


def _texts(path: Path) -> Iterator[str]:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid UTF-8"
        raise DataError(f"Cannot read the text {path}: {reason}.", "Give a text file, or JSON lines with a field `text`.") from error
    if path.suffix not in (".jsonl", ".ndjson"):
        yield content
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield _field(path, number, line)


def _field(path: Path, number: int, line: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {number}: not valid JSON ({error.msg}).", "Each line is an object with a field `text`.") from error
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise DataError(f"{path}, line {number}: no field `text` that holds text.", "Each line is an object with a field `text`.")
    return text
