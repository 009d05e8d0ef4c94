"""`harness tasks new`: a commented task file for a file of items."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.errors import InputError, TaskError
from harness.tasks.data import read_file
from harness.tasks.guessing import Guess, InferredColumn, asked, columns_of, guess
from harness.tasks.schema import NAME_PATTERN
from harness.util import paths

_COMMENT_COLUMN = 44
_MOST_TOKENS = 1024
_CHARACTERS_A_TOKEN = 3
"""Fewer than a token of English has, so that a guessed limit is seldom too low."""


def write(name: str, source: Path, output: Path) -> str:
    """Write a task file for the items in `source`, and return what was guessed, in words.

    Raises:
        InputError: the name cannot be a task's, or the output exists or cannot be written.
        DataError: the items cannot be read.
        TaskError: there are no items, or no column could be the answer.
    """
    if re.match(NAME_PATTERN, name) is None:
        raise InputError(f"{name!r} cannot be the name of a task.", "Names are letters, digits, '_', '.' and '-', a letter or digit first.")
    if output.exists():
        raise InputError(f"{output} exists already.", "Choose another file with --output, or remove that one.")
    rows = read_file(name, paths.expanded(source).resolve())
    if not rows:
        raise TaskError(f"{source} has no rows.", "Give a file with items to ask.")
    columns = columns_of(rows)
    found = guess(columns)
    _create(output, "\n".join(_lines(name, source, output, columns, found)) + "\n")
    return f"{len(rows):,} items, answer form {found.answer}, target from the column {found.column.name!r}"


def _create(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.", "Choose another file with --output.") from error


def _lines(name: str, source: Path, output: Path, columns: Sequence[InferredColumn], found: Guess) -> Iterator[str]:
    count = len(columns[0].values)
    yield f"# Guessed by `harness tasks new` from {source.name}: look it over, then run `harness tasks check`."
    yield f"task: {_flow(name)}"
    yield _with("version: 1", "raise it when the same model would score differently")
    yield "about:"
    yield _with(f"  title: {_flow(f'Items of {source.name}')}", "one line; source, license, languages, paper, notes can follow")
    yield _with(f"  rows: {{test: {count}}}", "items of each split")
    yield from _data(source, output, columns, found)
    yield from _answer(found)
    yield from _template(columns, found)
    yield _with("shots: {split: test, number: 0}", "solved items shown first; an item is never shown before itself")
    if found.answer == "generate":
        references = [text for value in found.column.present for text in (value if isinstance(value, list) else [str(value)])]
        tokens = min(_MOST_TOKENS, 16 * (1 + max(map(len, references)) // (16 * _CHARACTERS_A_TOKEN)))
        stop = "" if any("\n" in text.strip() for text in references) else ', stop: ["\\n"]'
        yield _with(f"generation: {{max_new_tokens: {tokens}{stop}}}", "the longest answer allowed, and what ends one before")
    yield _with(f"metrics: {_flow(list(found.metrics))}", "the first is the task's score; see docs/tasks.md")


def _data(source: Path, output: Path, columns: Sequence[InferredColumn], found: Guess) -> Iterator[str]:
    path = os.path.relpath(paths.expanded(source).resolve(), output.parent.resolve())
    shown, _ = asked(columns, found)
    identity = next((column for column in columns if column.is_id and column is not found.column), None)
    used = [*shown, *found.options, found.column, *([identity] if identity else [])]
    renamed = {column.key: column.name for column in columns if column in used and column.key != column.name}
    yield "data:"
    yield _with(f"  files: {_flow({'test': path})}", "split to file, relative to this one; or path: a hub dataset")
    yield _with("  split: test", "the split that is scored")
    if renamed:
        yield _with(f"  rename: {_flow(renamed)}", "a name for templates, and the file's own")
    if not found.column.complete:
        test = f"{found.column.key} is not none"
        test += f" and {found.column.key} | trim" if found.column.kind == "text" else ""
        yield _with(f"  filter: {_flow(test)}", "items without an answer are left out")
    if identity:
        yield _with(f"  id: {identity.key}", "names an item; by default its row number")


def _answer(found: Guess) -> Iterator[str]:
    told = {"choices": "one of several", "generate": "text that the model writes", "score_text": "a text given, scored by its probability"}
    others = " or ".join(form for form in told if form != found.answer)
    yield _with(f"answer: {found.answer}", f"{told[found.answer]}; else {others}")
    if isinstance(found.choices, str):
        yield _with(f"choices: {found.choices}", "the texts to choose from: an expression over a row's columns, or a list")
    elif found.choices is not None:
        numbers = "; put words in place of the numbers" if found.column.kind == "number" and not found.options else ""
        yield _with(f"choices: {_flow(list(found.choices))}", f"the texts to choose from{numbers}")
    meaning = {"choices": "index or text of the right choice", "generate": "the reference, or a list of them", "score_text": "the text"}
    yield _with(f"target: {_flow(found.target)}", f"{meaning[found.answer]}: an expression over a row's columns")


def _template(columns: Sequence[InferredColumn], found: Guess) -> Iterator[str]:
    yield _with("templates:", "template variants; several can be compared with --template all")
    if found.answer == "score_text":
        yield "  - name: plain"
        yield _with('    prompt: ""', "what stands before the text: here nothing")
        return
    shown, left = asked(columns, found)
    unused = f"; not shown: {', '.join(column.name for column in left)}" if left else ""
    yield _with("  - name: plain", f"its prompt is a Jinja template; a blank joins prompt and answer{unused}")
    yield "    prompt: |-"
    for column in shown:
        long = column.kind == "text" and column.mean_characters >= 2 * _COMMENT_COLUMN
        yield f"      {_title(column.key)}:" + (f"\n      {_shown(column)}\n" if long else f" {_shown(column)}")
    yield f"      {_question(found)}"


def _question(found: Guess) -> str:
    title = _title(found.column.key) if found.answer == "generate" or not found.options else "Answer"
    if found.answer == "choices" and isinstance(found.choices, tuple) and not found.options:
        return f"{title} ({', '.join(found.choices[:-1])} or {found.choices[-1]}):"
    return f"{title}:"


def _shown(column: InferredColumn) -> str:
    if column.kind != "text":
        return f"{{{{ {column.key} }}}}"
    return f"{{{{ {column.key} | trim }}}}" if column.complete else f"{{{{ ({column.key} or '') | trim }}}}"


def _title(key: str) -> str:
    return key.strip("_").replace("_", " ").capitalize()


def _with(line: str, comment: str) -> str:
    return f"{line:<{_COMMENT_COLUMN}}  # {comment}"


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("\n...\n").strip()
