"""From one line of a policy to a rule: a recursive descent over a handful of forms.

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
    """A line that is no rule.

    Attributes:
        column: where in the line, from 0.
        what: what is wrong, one sentence.
        remedy: what to write instead.
    """

    def __init__(self, column: int, what: str, remedy: str) -> None:
        super().__init__(what)
        self.column = column
        self.what = what
        self.remedy = remedy


def parse(line: str) -> Rule:
    """The rule that a line states.

    Raises:
        RuleError: it states none; says where it goes wrong.
    """
    cursor = _Cursor(line)
    rule = _rule(cursor)
    cursor.end()
    return rule


class _Cursor:
    """A place in a line."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.place = 0
        self._skip()

    def take(self, pattern: re.Pattern[str] | str) -> str | None:
        """What matches here, which is then behind the cursor; None where nothing does."""
        found = re.compile(pattern).match(self.line, self.place)
        if found is None:
            return None
        self.place = found.end()
        self._skip()
        return found[0]

    def words(self, text: str) -> bool:
        """Whether these words stand here, which are then behind the cursor; white space between them may be any."""
        return self.take(r"\s+".join(map(re.escape, text.split())) + r"(?![\w.])") is not None

    def expect(self, text: str, remedy: str) -> None:
        """Take these words.

        Raises:
            RuleError: others stand here.
        """
        if not self.words(text):
            self.fail(f"{text!r} was expected {self.here()}", remedy)

    def number(self, remedy: str) -> float:
        """Take a number.

        Raises:
            RuleError: something else stands here.
        """
        found = self.take(_NUMBER)
        if found is None:
            self.fail(f"a number was expected {self.here()}", remedy)
        number = float(found)
        if not math.isfinite(number):
            self.fail(f"the number {found} is too large", remedy)
        return number

    def here(self) -> str:
        """What stands at the cursor, in words."""
        rest = self.line[self.place :].split()
        return f"before {rest[0]!r}" if rest else "at the end"

    def end(self) -> None:
        """Make sure that nothing is left.

        Raises:
            RuleError: something is.
        """
        if self.place < len(self.line):
            rest = self.line[self.place :]
            percent = "Write shares as fractions: 0.01 for 1 %." if rest.startswith("%") else f"The rule ends before {rest!r}."
            self.fail(f"{rest!r} is too much", percent)

    def fail(self, what: str, remedy: str, back: int = 0) -> NoReturn:
        """Say what is wrong at the cursor, or so many characters before it."""
        raise RuleError(self.place - back, what, remedy)

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
        cursor.fail("a rule begins with the name of a task or group", _forms())
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
    found = cursor.take(r"[<>=!≥≤]+")
    if found is None:
        return None
    spelled = _SPELLED.get(found, found)
    if spelled not in (">=", ">", "<=", "<"):
        meant = _MISSPELT.get(found)
        raise RuleError(began, f"{found!r} is no comparison", f"Write {meant!r}." if meant == "<=" else "Write >=, >, <= or <.")
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
    said = f"{word!r} says nothing about {subject!r}" if word else f"nothing is said about {subject!r}"
    cursor.fail(said, hint + _forms())


def _forms() -> str:
    return "A rule is one of: " + "; ".join(FORMS) + "."
