"""Parse one line of a policy into a rule, by recursive descent over a handful of forms.

    rule      = "signature must match"
              | "no task forgot" ["more than" NUMBER]
              | NAME [":"] claim
    claim     = "non_inferior within" NUMBER
              | "improved"
              | (">=" | ">" | "<=" | "<") limit
    limit     = NUMBER [("×" | "x" | "*") "baseline"] | "baseline"

NAME is a task or group, a glob over tasks (`mmlu_*`), either of these with a metric (`dialogsum.rougeL`), or
`efficiency.` with one of its quantities.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import NoReturn, cast

from harness.gate.rules import Improved, NonInferior, NothingForgotten, Operator, Relative, Rule, SignatureMatches, Threshold

FORMS = (
    "TASK.METRIC >= 0.25",
    "TASK.METRIC >= 0.8 × baseline",
    "TASK: non_inferior within 0.01",
    "TASK: improved",
    "no task forgot more than 0.01",
    "signature must match",
    "efficiency.items_per_second >= 0.8 × baseline",
)
"""One example of each form."""

_SPELLED = {"≥": ">=", "≤": "<="}
_MISSPELT = {"=>": ">=", "=<": "<=", "==": ">=", "=": ">=", "!=": ">="}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_NAME = re.compile(r"[^\s<>=≥≤!]+?(?=:?(\s|[<>=≥≤!]|$))")
_CLAIMS = ("non_inferior", "improved")


class RuleError(Exception):
    """A line that is not a valid rule.

    Attributes:
        column: position of the error in the line, from 0.
        what: the error, one clause.
        remedy: what to write instead, one sentence.
    """

    def __init__(self, column: int, what: str, remedy: str) -> None:
        super().__init__(what)
        self.column = column
        self.what = what
        self.remedy = remedy


def parse(line: str) -> Rule:
    """Parse a rule.

    Raises:
        RuleError: the line is not a valid rule.
    """
    cursor = _Cursor(line)
    rule = _rule(cursor)
    cursor.end()
    return rule


class _Cursor:
    """A position in a line."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.place = 0
        self._skip()

    def take(self, pattern: re.Pattern[str] | str) -> str | None:
        """Consume what matches at the cursor; None where nothing does."""
        match = re.compile(pattern).match(self.line, self.place)
        if match is None:
            return None
        self.place = match.end()
        self._skip()
        return match[0]

    def words(self, text: str) -> bool:
        """Consume these words, with any white space between them; False where the cursor is not at them."""
        return self.take(r"\s+".join(map(re.escape, text.split())) + r"(?![\w.])") is not None

    def expect(self, text: str, remedy: str) -> None:
        """Consume these words.

        Raises:
            RuleError: the cursor is not at these words.
        """
        if not self.words(text):
            self.fail(f"expected {text!r}{self.found_word()}", remedy)

    def number(self, remedy: str) -> float:
        """Consume a number.

        Raises:
            RuleError: the cursor is not at a number.
        """
        text = self.take(_NUMBER)
        if text is None:
            self.fail(f"expected a number{self.found_word()}", remedy)
        number = float(text)
        if not math.isfinite(number):
            self.fail(f"the number {text} is too large", remedy)
        return number

    def found_word(self) -> str:
        """The word at the cursor, as the end of an error message."""
        rest = self.line[self.place :].split()
        return f", found {rest[0]!r}" if rest else " at the end of the line"

    def end(self) -> None:
        """Make sure that nothing is left.

        Raises:
            RuleError: there is more text.
        """
        if self.place < len(self.line):
            rest = self.line[self.place :]
            remedy = "Write shares as fractions: 0.01 for 1 %." if rest.startswith("%") else f"The rule ends before {rest!r}."
            self.fail(f"unexpected {rest!r}", remedy)

    def fail(self, what: str, remedy: str) -> NoReturn:
        """Raise an error at the cursor."""
        raise RuleError(self.place, what, remedy)

    def _skip(self) -> None:
        while self.place < len(self.line) and self.line[self.place].isspace():
            self.place += 1


def _rule(cursor: _Cursor) -> Rule:
    if cursor.words("signature"):
        cursor.expect("must match", f"Write {FORMS[5]!r}.")
        return SignatureMatches()
    if cursor.words("no task"):
        return _nothing_forgotten(cursor)
    subject = cursor.take(_NAME)
    if subject is None:
        cursor.fail("a rule starts with the name of a task or group", _forms())
    cursor.take(r":")
    if (operator := _operator(cursor)) is not None:
        return _limit(cursor, subject, operator)
    if cursor.words("improved"):
        return Improved(subject)
    if cursor.take(r"non[_-]inferior(?!\w)"):
        return _non_inferior(cursor, subject)
    return _no_claim(cursor, subject)


def _nothing_forgotten(cursor: _Cursor) -> Rule:
    cursor.expect("forgot", f"Write {FORMS[4]!r}.")
    if not cursor.words("more than"):
        return NothingForgotten(None)
    return NothingForgotten(_margin(cursor, FORMS[4]))


def _non_inferior(cursor: _Cursor, subject: str) -> Rule:
    cursor.expect("within", f"Write {FORMS[2]!r}.")
    return NonInferior(subject, _margin(cursor, FORMS[2]))


def _margin(cursor: _Cursor, form: str) -> float:
    began = cursor.place
    value = cursor.number(f"Write {form!r}.")
    if value < 0:
        raise RuleError(began, "a margin cannot be negative", f"Write {form!r}.")
    return value


def _operator(cursor: _Cursor) -> Operator | None:
    began = cursor.place
    signs = cursor.take(r"[<>=!≥≤]+")
    if signs is None:
        return None
    spelled = _SPELLED.get(signs, signs)
    if spelled not in (">=", ">", "<=", "<"):
        meant = _MISSPELT.get(signs)
        raise RuleError(began, f"{signs!r} is not a comparison", f"Write {meant!r}." if meant == "<=" else "Write >=, >, <= or <.")
    return cast("Operator", spelled)


def _limit(cursor: _Cursor, subject: str, operator: Operator) -> Rule:
    if cursor.words("baseline"):
        _refuse_offset(cursor, subject)
        return Relative(subject, operator, 1.0)
    value = cursor.number(f"Write {FORMS[0]!r} or {FORMS[1]!r}.")
    if not cursor.take(r"[×*]|x(?!\w)"):
        return Threshold(subject, operator, value)
    cursor.expect("baseline", f"Write {FORMS[1]!r}.")
    _refuse_offset(cursor, subject)
    return Relative(subject, operator, value)


def _refuse_offset(cursor: _Cursor, subject: str) -> None:
    if cursor.line[cursor.place : cursor.place + 1] in ("-", "+"):
        cursor.fail("nothing can be added to the baseline", f"For a margin write '{subject}: non_inferior within 0.01'.")


def _no_claim(cursor: _Cursor, subject: str) -> NoReturn:
    rest = cursor.line[cursor.place :]
    word = rest.split()[0] if rest else ""
    near: list[str] = difflib.get_close_matches(word, _CLAIMS, 1, 0.6)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    expected = "'task'" if subject == "no" else "a comparison, 'improved' or 'non_inferior'"
    cursor.fail(f"expected {expected} after {subject!r}{cursor.found_word()}", hint + _forms())


def _forms() -> str:
    return "A rule has one of these forms: " + "; ".join(FORMS) + "."
