"""One HTML file out of a template, data, styles and scripts: it loads nothing and runs only the scripts packed into it.

Everything that a model, a task or a user named goes through Jinja's escaping or into a block of JSON; the page's Content-Security-Policy
lists the hashes of its own scripts and styles, allows no other, and forbids scripts to parse strings as HTML (Trusted Types).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness import __version__

_PACKAGE = "harness.report.html"
_SHARED = ("dom", "format", "bars", "theme", "tip", "table", "cursor", "paper")
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
_DIGITS = 7
"""Significant digits of numbers in a page: more than are ever shown."""


def render(
    name: str, data: Mapping[str, Any], *, scripts: Sequence[str], vendors: Sequence[str], styles: Sequence[str], **words: Any
) -> str:
    """A page.

    Args:
        name: of its template.
        data: for its scripts, as JSON.
        scripts: of this page, after the shared ones.
        vendors: libraries in `vendor/`.
        styles: of this page, after the shared ones.
        words: values for the template itself.
    """
    programs = [*(_asset(f"vendor/{vendor}.min.js") for vendor in vendors), _program(tuple(scripts))]
    style = _joined("css", ("base", *styles))
    return (
        _environment()
        .get_template(f"{name}.html.jinja")
        .render(
            data=embedded(data),
            scripts=[Markup(program) for program in programs],
            style=Markup(style),
            policy=_policy(programs, style),
            version=__version__,
            **words,
        )
    )


def embedded(data: Mapping[str, Any]) -> Markup:
    """JSON that is safe inside a script element, whatever texts it holds.

    Raises:
        ValueError: a number is not finite; see `number`.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def number(value: float | None) -> float | int | None:
    """A number as pages embed it; None also for what is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")


@cache
def _environment() -> Environment:
    loader = PackageLoader(_PACKAGE, "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@cache
def _asset(path: str) -> str:
    text = resources.files(_PACKAGE).joinpath(path).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def _joined(kind: str, names: Sequence[str]) -> str:
    return "\n".join(_asset(f"assets/{name}.{kind}") for name in names)


def _program(scripts: tuple[str, ...]) -> str:
    """The page's scripts in a single scope."""
    return f'"use strict";\n(() => {{\n{_joined("js", (*_SHARED, *scripts))}\n}})();\n'


def _policy(programs: Sequence[str], style: str) -> str:
    """Content-Security-Policy; it is in the page because a file has no server to send headers."""
    allowed = " ".join(map(_source, programs))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_source(style)}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
