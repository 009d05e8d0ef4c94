"""Guess a task from the columns of a data file: which column is the answer, and the answer form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from harness.errors import TaskError

_TARGETS = (
    *("label", "labels", "target", "targets", "answer", "answers", "answer_key", "answerkey", "answer_idx", "correct", "correct_answer"),
    *("gold", "summary", "summaries", "highlights", "translation", "reference", "references", "output", "response", "completion"),
    *("class", "sentiment", "intent", "category"),
)
"""Names of columns that hold the correct answer, the likeliest first."""

_ASIDE = {"split", "source", "url", "date", "timestamp", "license"}
_RESERVED = {"not", "and", "or", "in", "is", "if", "else", "true", "false", "none", "self"}
"""Words that Jinja does not accept as names."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CLASSES = 20
"""Largest number of distinct values in a column that is taken for class labels."""

_CLASS_CHARACTERS = 40
_SENTENCE_CHARACTERS = 60
"""Mean length in characters from which an answer is scored by its overlap with the reference (ROUGE)."""


@dataclass(frozen=True, eq=False)
class InferredColumn:
    """A column and what its values reveal.

    Attributes:
        name: in the file.
        key: the name in templates, a valid Jinja name.
        values: of all rows.
    """

    name: str
    key: str
    values: Sequence[Any]

    @cached_property
    def present(self) -> list[Any]:
        """The values that are neither missing nor blank."""
        return [value for value in self.values if value is not None and not (isinstance(value, str) and not value.strip())]

    @property
    def complete(self) -> bool:
        """Whether no value is missing."""
        return len(self.present) == len(self.values)

    @cached_property
    def kind(self) -> Literal["text", "texts", "flag", "number", "other"]:
        """What its values are: texts, lists of texts, true or false, numbers, or anything else."""
        kinds = {type(value) for value in self.present}
        if kinds == {str}:
            return "text"
        if kinds == {bool}:
            return "flag"
        if kinds and kinds <= {int, float}:
            return "number"
        lists = kinds == {list} and all(value and all(isinstance(part, str) for part in value) for value in self.present)
        return "texts" if lists else "other"

    @property
    def mean_characters(self) -> float:
        """Mean length of its texts."""
        texts = [text for value in self.present for text in (value if isinstance(value, list) else [value])]
        return sum(len(str(text)) for text in texts) / max(1, len(texts))

    @cached_property
    def classes(self) -> list[str]:
        """The distinct values as texts if they are few, short and repeated; empty otherwise."""
        if self.kind not in ("text", "flag", "number") or any(float(v) % 1 for v in self.present if isinstance(v, float)):
            return []
        values = [value.strip() if isinstance(value, str) else int(value) for value in self.present]
        distinct = [str(value) for value in sorted(set(values))]
        few = 2 <= len(distinct) <= _CLASSES and (len(distinct) == 2 or 2 * len(distinct) <= len(values))
        return distinct if few and all(len(text) <= _CLASS_CHARACTERS and "{" not in text for text in distinct) else []

    @property
    def is_id(self) -> bool:
        """Whether the column identifies rows: it is named like an id and has a different value in each row."""
        named = re.search(r"(^|_)(id|idx|guid|uid|uuid|index|key|number)$", self.key.lower()) is not None
        return named and self.complete and len({str(value) for value in self.values}) == len(self.values)


@dataclass(frozen=True)
class Guess:
    """A guessed task.

    Attributes:
        answer: the answer form.
        target: expression that gives the correct answer.
        column: the column behind the target.
        choices: texts, or an expression; None unless the answer form is `choices`.
        options: columns that hold the choices.
        metrics: as a task file lists them.
    """

    answer: Literal["choices", "generate", "score_text"]
    target: str
    column: InferredColumn
    metrics: tuple[str | dict[str, str], ...]
    choices: tuple[str, ...] | str | None = None
    options: tuple[InferredColumn, ...] = ()


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[InferredColumn]:
    """The columns of a file's rows, at least one."""
    columns: list[InferredColumn] = []
    for name in rows[0]:
        key = _key(name, {column.key for column in columns})
        columns.append(InferredColumn(name, key, [row[name] for row in rows]))
    return columns


def guess(columns: Sequence[InferredColumn]) -> Guess:
    """The likeliest task, in this order: options in the row, class labels, an answer to generate, a text to score.

    Raises:
        TaskError: no column could be the answer.
    """
    hinted = sorted((c for c in columns if c.key.lower() in _TARGETS), key=lambda column: _TARGETS.index(column.key.lower()))
    others = [column for column in reversed(columns) if column not in hinted and not column.is_id and column.key.lower() not in _ASIDE]
    guessed = _among_options(columns, [*hinted, *others])
    if guessed is not None:
        return guessed
    texts = [column for column in columns if column.kind == "text" and not column.is_id]
    last = [column for column in reversed(texts) if len(texts) > 1]
    tries = [made for c in hinted for made in (_class(c), _written(c))] + [_class(c) for c in others] + [_written(c) for c in last]
    for made in tries:
        if made is not None and texts not in ([], [made.column]):
            return made
    if texts:
        return Guess("score_text", texts[0].key, texts[0], ("bits_per_byte", "perplexity"))
    raise TaskError(
        "No column of the file holds text, so there is nothing to ask about.", f"Its columns: {', '.join(c.name for c in columns)}."
    )


def prompt_columns(columns: Sequence[InferredColumn], guessed: Guess) -> tuple[list[InferredColumn], list[InferredColumn]]:
    """The columns that the prompt shows, and those left out that it could show."""
    free = [c for c in columns if c not in (guessed.column, *guessed.options) and c.present and not c.is_id and c.key.lower() not in _ASIDE]
    texts = [column for column in free if column.kind == "text"]
    shown = [column for column in texts if not column.classes] or texts or free
    return shown, [column for column in free if column not in shown]


def _key(name: str, taken: set[str]) -> str:
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    if plain != name:
        plain = plain.lower() or "column"
    if plain[0].isdigit():
        plain = f"column_{plain}"
    while plain.lower() in _RESERVED or plain in taken:
        plain += "_"
    return plain


def _among_options(columns: Sequence[InferredColumn], targets: Sequence[InferredColumn]) -> Guess | None:
    """A target column that selects one of the texts in another column, or in several."""
    lists = [((c,), c.key, [list(value) for value in c.values]) for c in columns if c.kind == "texts" and c.complete]
    for members, choices, rows in [*lists, *_families(columns)]:
        if min(map(len, rows)) < 2:
            continue
        for target in targets:
            expression = _pointing(target, rows) if target not in members else None
            if expression is not None:
                both = ("accuracy", {"metric": "accuracy", "normalize": "characters", "as": "accuracy_characters"})
                return Guess("choices", expression, target, both, choices, members)
    return None


def _families(columns: Sequence[InferredColumn]) -> list[tuple[tuple[InferredColumn, ...], Any, list[list[str]]]]:
    """Groups of columns numbered by a last letter or digit, such as A, B, C, D or option_1, option_2."""
    stems: dict[str, list[InferredColumn]] = {}
    for column in columns:
        match = re.fullmatch(r"(.*?)_?([A-Za-z]|\d)", column.key)
        if match and column.complete and column.kind in ("text", "number"):
            stems.setdefault(match[1].lower(), []).append(column)
    families = []
    for members in stems.values():
        last = "".join(column.key[-1].lower() for column in members)
        if len(members) > 1 and any(start.startswith(last) for start in ("abcdefghij", "0123456789", "123456789")):
            rows = [[str(value) for value in row] for row in zip(*(column.values for column in members), strict=True)]
            families.append((tuple(members), tuple(f"{{{{ {column.key} }}}}" for column in members), rows))
    return families


def _pointing(target: InferredColumn, rows: Sequence[Sequence[str]]) -> str | None:
    """The expression that turns the column into the index or the text of an option in every row; None if there is none."""
    if not target.complete:
        return None
    pairs = list(zip(target.values, rows, strict=True))
    if target.kind == "number":
        if all(float(value).is_integer() and 0 <= value < len(options) for value, options in pairs):
            return f"{target.key} | int"
        if all(float(value).is_integer() and 1 <= value <= len(options) for value, options in pairs):
            return f"{target.key} | int - 1"
    if target.kind != "text":
        return None
    if all(value in options for value, options in pairs):
        return target.key
    if all(len(value) == 1 and value in _LETTERS[: len(options)] for value, options in pairs):
        return f'"{_LETTERS[: max(map(len, rows))]}".index({target.key})'
    if all(value.isdecimal() and int(value) < len(options) for value, options in pairs):
        return f"{target.key} | int"
    return None


def _class(column: InferredColumn) -> Guess | None:
    if not column.classes:
        return None
    metrics = ("accuracy", "f1_macro")
    if column.kind == "flag":
        return Guess("choices", column.key, column, metrics, ("no", "yes"))
    if column.kind == "number":
        counting = column.classes == [str(number) for number in range(len(column.classes))]
        target = f"{column.key} | int" if counting else f"{column.key} | int | string"
        return Guess("choices", target, column, metrics, tuple(column.classes))
    blanks = any(value != value.strip() for value in column.present)
    return Guess("choices", f"{column.key} | trim" if blanks else column.key, column, metrics, tuple(column.classes))


def _written(column: InferredColumn) -> Guess | None:
    if column.kind not in ("text", "texts", "number"):
        return None
    if column.kind == "number":
        return Guess("generate", f"{column.key} | string", column, ("exact_number",))
    if column.key.lower().startswith("translation"):
        return Guess("generate", column.key, column, ("bleu", "chrf"))
    long = column.mean_characters >= _SENTENCE_CHARACTERS
    return Guess("generate", column.key, column, ("rouge1", "rouge2", "rougeL") if long else ("quasi_exact_match", "token_f1"))
