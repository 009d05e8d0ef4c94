"""`harness tasks new`: write a commented task file for a data file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.errors import InputError, TaskError
from harness.tasks.data import read_file
from harness.tasks.guessing import Guess, InferredColumn, columns_of, guess, prompt_columns
from harness.tasks.schema import NAME_PATTERN
from harness.util import paths

_COMMENT_COLUMN = 44
_MOST_TOKENS = 1024
_CHARACTERS_A_TOKEN = 3
"""Fewer than an English token has on average, so that the guessed limit is rarely too low."""


def write(name: str, source: Path, output: Path) -> str:
    """Write a task file for the items in `source`, and return a sentence that says what was guessed.

    Raises:
        InputError: the name is not a valid task name, or the output exists or cannot be written.
        DataError: the items cannot be read.
        TaskError: there are no items, or no column could be the answer.
    """
    if re.match(NAME_PATTERN, name) is None:
        raise InputError(
            f"{name!r} is not a valid task name.", "Use letters, digits, '_', '.' and '-', and start with a letter or a digit."
        )
    if output.exists():
        raise InputError(f"{output} already exists.", "Choose another file with --output, or remove this one.")
    rows = read_file(name, paths.expanded(source).resolve())
    if not rows:
        raise TaskError(f"{source} has no rows.", "Give a file with at least one row.")
    columns = columns_of(rows)
    guessed = guess(columns)
    _create(output, "\n".join(_lines(name, source, output, columns, guessed)) + "\n")
    return f"{len(rows):,} items, answer form {guessed.answer}, target from the column {guessed.column.name!r}"


def _create(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.", "Choose another file with --output.") from error


def _lines(name: str, source: Path, output: Path, columns: Sequence[InferredColumn], guessed: Guess) -> Iterator[str]:
    count = len(columns[0].values)
    yield f"# Guessed by `harness tasks new` from {source.name}: review it, then run `harness tasks check`."
    yield f"task: {_flow(name)}"
    yield _with("version: 1", "raise it when the same model would score differently")
    yield "about:"
    yield _with(f"  title: {_flow(f'Items of {source.name}')}", "one line; source, license, languages, paper, notes can follow")
    yield _with(f"  rows: {{test: {count}}}", "items of each split")
    yield from _data(source, output, columns, guessed)
    yield from _answer(guessed)
    yield from _template(columns, guessed)
    yield _with("shots: {split: test, number: 0}", "few-shot examples; an item is never its own example")
    if guessed.answer == "generate":
        references = [text for value in guessed.column.present for text in (value if isinstance(value, list) else [str(value)])]
        tokens = min(_MOST_TOKENS, 16 * (1 + max(map(len, references)) // (16 * _CHARACTERS_A_TOKEN)))
        stop = "" if any("\n" in text.strip() for text in references) else ', stop: ["\\n"]'
        yield _with(f"generation: {{max_new_tokens: {tokens}{stop}}}", "the longest answer allowed, and texts that end it earlier")
    yield _with(f"metrics: {_flow(list(guessed.metrics))}", "the first is the headline score; see docs/tasks.md")


def _data(source: Path, output: Path, columns: Sequence[InferredColumn], guessed: Guess) -> Iterator[str]:
    path = os.path.relpath(paths.expanded(source).resolve(), output.parent.resolve())
    shown, _ = prompt_columns(columns, guessed)
    identity = next((column for column in columns if column.is_id and column is not guessed.column), None)
    used = [*shown, *guessed.options, guessed.column, *([identity] if identity else [])]
    renamed = {column.key: column.name for column in columns if column in used and column.key != column.name}
    yield "data:"
    yield _with(f"  files: {_flow({'test': path})}", "split to file, relative to this file; or path: a Hub dataset")
    yield _with("  split: test", "the split that is scored")
    if renamed:
        yield _with(f"  rename: {_flow(renamed)}", "name in templates: name in the file")
    if not guessed.column.complete:
        test = f"{guessed.column.key} is not none"
        test += f" and {guessed.column.key} | trim" if guessed.column.kind == "text" else ""
        yield _with(f"  filter: {_flow(test)}", "items without an answer are left out")
    if identity:
        yield _with(f"  id: {identity.key}", "identifies an item; the row number by default")


def _answer(guessed: Guess) -> Iterator[str]:
    meanings = {
        "choices": "one of several options",
        "generate": "text that the model writes",
        "score_text": "the probability of a given text",
    }
    others = " or ".join(form for form in meanings if form != guessed.answer)
    yield _with(f"answer: {guessed.answer}", f"{meanings[guessed.answer]}; alternatives: {others}")
    if isinstance(guessed.choices, str):
        yield _with(f"choices: {guessed.choices}", "the options: an expression over the row's columns, or a list")
    elif guessed.choices is not None:
        numbers = "; replace the numbers by words" if guessed.column.kind == "number" and not guessed.options else ""
        yield _with(f"choices: {_flow(list(guessed.choices))}", f"the options{numbers}")
    meaning = {"choices": "index or text of the correct choice", "generate": "the reference, or a list of them", "score_text": "the text"}
    yield _with(f"target: {_flow(guessed.target)}", f"{meaning[guessed.answer]}: an expression over the row's columns")


def _template(columns: Sequence[InferredColumn], guessed: Guess) -> Iterator[str]:
    yield _with("templates:", "template variants; several can be compared with --template all")
    if guessed.answer == "score_text":
        yield "  - name: plain"
        yield _with('    prompt: ""', "text before the scored text; empty here")
        return
    shown, left = prompt_columns(columns, guessed)
    unused = f"; not shown: {', '.join(column.name for column in left)}" if left else ""
    yield _with("  - name: plain", f"a Jinja template; a space joins prompt and answer{unused}")
    yield "    prompt: |-"
    for column in shown:
        long = column.kind == "text" and column.mean_characters >= 2 * _COMMENT_COLUMN
        yield f"      {_title(column.key)}:" + (f"\n      {_shown(column)}\n" if long else f" {_shown(column)}")
    yield f"      {_question(guessed)}"


def _question(guessed: Guess) -> str:
    title = _title(guessed.column.key) if guessed.answer == "generate" or not guessed.options else "Answer"
    if guessed.answer == "choices" and isinstance(guessed.choices, tuple) and not guessed.options:
        return f"{title} ({', '.join(guessed.choices[:-1])} or {guessed.choices[-1]}):"
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
