"""The structure of the package, printed and checked: rooms at the root, class names, words, and two walks through a run.

Example: python -m benchmarks.structure

A walk runs `harness run --engine mock` on a task of two items and follows one object from call to call. A *stay* is an
uninterrupted series of calls in one file that receive the object, its own methods excluded; a *return* is a stay in a file that was visited
before; a *climb* is a stay in a room above the one before it. The walk of the options follows calls that receive the options, one of their
values, or an object that holds the options. The walk of an item follows calls that receive an object of one item, and counts the types of
these objects. Exit code 1 where a limit is broken.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import json
import os
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "harness"
AT_THE_ROOT = {"__init__.py", "__main__.py", "contract.py", "errors.py", "py.typed"}
"""What stands beside the rooms, and nothing else."""

FLOORS = (
    ("contract", "errors"),
    ("util",),
    ("stats", "store", "lists"),
    ("models", "perturb"),
    ("toxicity",),
    ("metrics",),
    ("tasks", "engine"),
    ("compare", "evaluation"),
    ("gate", "export", "lm_eval"),
    ("report",),
    ("tune",),
    ("api",),
    ("cli", "__init__"),
    ("__main__",),
)
"""Rooms from the ground up. A room may use those on the floors below, and none beside it or above."""

RETIRED = {
    "wording": r"\bwordings?\b",
    "asked": r"\b(tokens|prompts|requests|items|answers) (are |is |were )?asked\b|\basked tokens\b",
    "judge": r"\bjudge[ds]?\b",
    "kept": r"\bkept (answers|results|statistics|logits)\b|\banswers? (are |is )?kept\b",
    "cannot tell": r"\bcannot tell\b",
    "solved item": r"\bsolved items?\b",
    "disturb": r"\b(un)?disturb\w*\b",
    "held prefix": r"\bheld prefix\w*\b",
    "strip": r"\bstrips?\b",
    "continuous decoding": r"\bcontinuous decoding\b",
    "ledger": r"\bledgers?\b",
    "watch": r"\bwatch(es)?\b",
    "passages": r"\bpassages?\b",
    "told": r"\btold\b",
    "be had": r"\b(be|is|are|was|were) had\b",
    "have it": r"\b(has|have) it\b",
    "so many": r"\bso many\b",
}
"""Words that the project no longer uses, as expressions; the name is what is counted."""
ALLOWED = {
    "judge": re.compile(r"LLM|model as a judge|MT-Bench", re.IGNORECASE),
    "passages": re.compile(r"MS MARCO|\bquery\b|relevant|SQuAD|BoolQ|ReCoRD|MultiRC|QuAC|NarrativeQA|reading", re.IGNORECASE),
}
"""Lines in which a word has its meaning in the field."""
LIMITS = {"stays": 30, "climbs": 6, "types": 10}


def floor_of(room: str) -> int:
    """The floor of a room, from 0."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def room_of(file: Path) -> str:
    """The room that a file of the package lies in."""
    parts = file.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else file.stem


def class_names() -> dict[str, list[str]]:
    """Where every class is defined, by its name."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file.relative_to(ROOT)}:{node.lineno}")
    return dict(places)


def user_texts() -> Iterator[tuple[str, int, str]]:
    """Every line that a person reads: documents, pages, and the strings of the package, docstrings included."""
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    pages = [file for kind in ("js", "css", "jinja") for file in PACKAGE.rglob(f"*.{kind}")]
    for file in sorted([*documents, *pages]):
        if file.name == "CHANGELOG.md" or "decisions" in file.parts:
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            yield str(file.relative_to(ROOT)), number, line
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                for offset, line in enumerate(node.value.splitlines()):
                    yield str(file.relative_to(ROOT)), node.lineno + offset, line


def retired_words() -> Iterator[tuple[str, str]]:
    """(word, place) of every use of a retired word in a text that a person reads."""
    expressions = {word: re.compile(expression, re.IGNORECASE) for word, expression in RETIRED.items()}
    for place, number, line in user_texts():
        code = place.endswith((".js", ".css"))
        for word, expression in expressions.items():
            if word in ALLOWED and ALLOWED[word].search(line):
                continue
            if not (code and word in ("strip", "watch")) and expression.search(line):
                yield word, f"{place}:{number}: {line.strip()[:120]}"


def vague_names() -> Counter[str]:
    """Uses of `found` and `one` as names of local variables."""
    names: Counter[str] = Counter()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in ("found", "one"):
                names[node.id] += 1
    return names


@dataclass
class Walk:
    """The files that an object passes through.

    Attributes:
        follows: whether a value is the object, or stands for it.
        files: the file of each stay, in order.
        types: names of the types that stand for it.
    """

    follows: Callable[[Any], bool]
    files: list[str] = field(default_factory=list)
    types: Counter[str] = field(default_factory=Counter)

    def call(self, frame: FrameType) -> None:
        """Look at one call."""
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        carriers = [
            frame.f_locals[name] for name in names if name != "self" and name in frame.f_locals and self.follows(frame.f_locals[name])
        ]
        if not carriers:
            return
        file = str(Path(code.co_filename).relative_to(PACKAGE))
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        self.types.update(type(value).__name__ for value in carriers)

    @property
    def figures(self) -> dict[str, int]:
        """Stays, files, returns, climbs and types."""
        rooms = [floor_of(room_of(PACKAGE / file)) for file in self.files]
        return {
            "stays": len(self.files),
            "files": len(set(self.files)),
            "returns": len(self.files) - len(set(self.files)),
            "climbs": sum(after > before for before, after in itertools.pairwise(rooms)),
            "types": len(self.types),
        }


@contextlib.contextmanager
def followed(walks: Sequence[Walk]) -> Iterator[None]:
    """Follow objects through every call into the package."""
    inside, busy = str(PACKAGE) + os.sep, False

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal busy
        del argument
        if event != "call" or busy or not frame.f_code.co_filename.startswith(inside) or frame.f_code.co_name.startswith("<"):
            return
        busy = True
        try:
            for walk in walks:
                walk.call(frame)
        finally:
            busy = False

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


FIRST, SECOND = "a4f0marker", "b7c1marker"
"""Ids of the two items: a value that names the first and not the second belongs to one item."""


_ONE_ITEM = 20_000
_LARGE: set[type] = set()
"""Types of which one object was printed in more characters than any object of one small item needs."""


def of_one_item(value: Any) -> bool:
    """Whether a value is an object of the package for the first item alone."""
    if not type(value).__module__.startswith("harness.") or not hasattr(type(value), "__dataclass_fields__"):
        return False
    if type(value) in _LARGE:
        return False
    try:
        text = repr(value)
    except AttributeError:  # under construction
        return False
    if len(text) > _ONE_ITEM:
        _LARGE.add(type(value))
    return FIRST in text and SECOND not in text


def walks() -> dict[str, Walk]:
    """The walks of the options and of an item."""
    from harness.evaluation.options import Options
    from harness.evaluation.progress import SilentProgress
    from harness.evaluation.run import run

    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(scratch)
        rows = [{"id": name, "text": f"a text about {name}", "label": number} for number, name in enumerate((FIRST, SECOND))]
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
        task = folder / "walk.yaml"
        task.write_text(
            "task: walk\nabout: {title: A walk}\ndata: {files: {test: rows.jsonl}, split: test, id: id}\nanswer: choices\n"
            "choices: ['no', 'yes']\ntarget: label\ntemplates: [{name: plain, prompt: '{{ text }}: '}]\nmetrics: [accuracy]\n",
            encoding="utf-8",
        )
        os.environ["HARNESS_CACHE"] = str(folder / "cache")
        options = Options(model="first", tasks=str(task), engine="mock", output=folder / "results")
        values = [value for value in vars(options).values() if isinstance(value, (Path, str)) and len(str(value)) > len("transformers")]

        def is_options(value: Any) -> bool:
            if value is options or any(value is other for other in values):
                return True
            return any(part is options for part in getattr(value, "__dict__", {}).values())

        both = {"options": Walk(is_options), "item": Walk(of_one_item)}
        with followed(list(both.values())):
            run(options, SilentProgress())
    return both


def report() -> Iterable[str]:
    """Print every figure; yields what breaks a limit."""
    files = {file.name for file in PACKAGE.iterdir() if file.is_file()}
    rooms = sorted(file.name for file in PACKAGE.iterdir() if (file / "__init__.py").is_file())
    print(f"rooms ({len(rooms)}): {' '.join(rooms)}")
    print(f"beside the rooms: {' '.join(sorted(files))}")
    yield from (f"{name} stands at the root of the package" for name in sorted(files - AT_THE_ROOT))
    twice = {name: places for name, places in class_names().items() if len(places) > 1}
    print(f"classes: {len(class_names())}, names used twice: {len(twice)}")
    yield from (f"class {name} is defined in {', '.join(places)}" for name, places in twice.items())
    used = list(retired_words())
    print(f"retired words in texts: {len(used)}")
    yield from (f"{word}: {place}" for word, place in used)
    print(f"local names: {', '.join(f'{name} {count}' for name, count in sorted(vague_names().items())) or 'none vague'}")
    for name, walk in walks().items():
        print(f"walk of the {name}: {', '.join(f'{count} {what}' for what, count in walk.figures.items())}")
        if "--walks" in sys.argv:
            print("\n".join(f"    {file}" for file in walk.files), f"\n    types: {', '.join(sorted(walk.types))}")
        limits = LIMITS if name == "options" else {"types": LIMITS["types"]}
        for what, limit in limits.items():
            if not (name == "options" and what == "types") and walk.figures[what] > limit:
                yield f"walk of the {name}: {walk.figures[what]} {what}, at most {limit} allowed"


def main() -> int:
    """Print the structure; the exit code says whether a limit is broken."""
    faults = list(report())
    for fault in faults:
        print(f"fault: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
