"""Seconds to render and tokenize MMLU's five-shot prompts, all 57 subjects, ours and lm-eval's.

Example: python -m benchmarks.prompts --model DIR --data DIR --json prompts.json

Counted on our side: `RequestBuilder.prepare` of every subject, from rows to requests of token ids. Counted on lm-eval's side, in the same
process and one after the other: `build_all_requests` of its 57 mmlu tasks, and `HFLM.loglikelihood` of all their requests, in which the
model is not called (each request's context, and its context with its choice, are tokenized). Not counted on either side: imports, reading
of the data and of the tokenizer, and whatever a model would compute.

`tokens` are those of every context with every choice, as lm-eval scores them. The last column tells for how many of these lm-eval has the
very same token ids. With chat, the turns are set apart and their template is each side's own, so that ids differ.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.contract import ScoreChoices, TokenIds
from harness.evaluation.progress import StageTimer
from harness.evaluation.requests import ItemRequests, RequestBuilder
from harness.lm_eval import building
from harness.lm_eval.quiet import quiet
from harness.models import cards
from harness.models.encoding import Encoder
from harness.models.opening import open_encoder
from harness.tasks.data import DataReader
from harness.tasks.prompts import TemplateVariant
from harness.tasks.registry import TaskEntry, TaskRegistry

SHOTS = 5
SEED = 0


@dataclass(frozen=True)
class Row:
    """One side's figures.

    Attributes:
        prompts: questions.
        pairs: contexts with choices.
        tokens: of all pairs.
        same: pairs of which the other side has the same token ids; None where there is no other side.
    """

    side: str
    chat: bool
    prompts: int
    pairs: int
    tokens: int
    render_seconds: float
    tokenize_seconds: float
    same: int | None

    @property
    def seconds(self) -> float:
        """Both parts."""
        return self.render_seconds + self.tokenize_seconds


@dataclass(frozen=True)
class Measured:
    """One side's time, and token ids by subject: [pairs] of context and choice, in the order of items and choices."""

    ids: dict[str, list[tuple[TokenIds, TokenIds]]]
    prompts: int
    render_seconds: float
    tokenize_seconds: float

    def row(self, side: str, chat: bool, other: Measured | None) -> Row:
        """This side's line in the table."""
        pairs = [pair for some in self.ids.values() for pair in some]
        tokens = sum(len(context) + len(choice) for context, choice in pairs)
        same = None
        if other is not None:
            same = sum(one == two for name, some in self.ids.items() for one, two in zip(some, other.ids[name], strict=True))
        return Row(side, chat, self.prompts, len(pairs), tokens, self.render_seconds, self.tokenize_seconds, same)


def ours(encoder: Encoder, entries: Sequence[TaskEntry], data: Path) -> Measured:
    """Prepare every subject as a run does."""
    reader, timer = DataReader(data), StageTimer()
    ids: dict[str, list[tuple[TokenIds, TokenIds]]] = {}
    prompts = 0
    for entry in entries:
        task, folder = entry.task, entry.path.parent
        items = reader.split(task, task.data.split, folder).items
        pool = reader.split(task, task.shots.split or "", folder).items
        (template,) = entry.templates(None)
        item_requests = RequestBuilder(TemplateVariant(task, template, encoder.chat), encoder, pool, SHOTS, SEED).prepare(items, timer)
        ids[task.task] = list(_pairs(item_requests))
        prompts += len(item_requests)
    return Measured(ids, prompts, timer.render, timer.tokenize)


def _pairs(item_requests: Sequence[ItemRequests]) -> Iterator[tuple[TokenIds, TokenIds]]:
    for one in item_requests:
        assert isinstance(one.request, ScoreChoices)
        yield from ((one.request.context, choice) for choice in one.request.choices)


def theirs(model: Path, names: Sequence[str], data: Path, *, chat: bool) -> Measured:
    """lm-eval's own tasks and its own backend, which is not asked to compute anything."""
    from lm_eval.models.huggingface import HFLM

    class Tokenizing(HFLM):  # type: ignore[misc]  # lm-eval's classes are untyped for mypy
        """Keeps the token ids that the model would be given."""

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[Any]:
            return [(tuple(context), tuple(choice)) for _, context, choice in requests]

    ids: dict[str, list[tuple[TokenIds, TokenIds]]] = {}
    prompts, render, tokenize = 0, 0.0, 0.0
    with quiet():
        language_model = Tokenizing(pretrained=str(model), dtype="float32", device="cpu")
        template = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": language_model.apply_chat_template}
        tasks = building.build(names, data=data, shots=SHOTS, seed=building.FEWSHOT_SEED).tasks
        for name, task in tasks.items():
            began = time.perf_counter()
            task.build_all_requests(**(template if chat else {}))
            built = time.perf_counter()
            ids[name] = language_model.loglikelihood(task.instances, disable_tqdm=True)
            tokenize += time.perf_counter() - built
            render += built - began
            prompts += len(task.eval_docs)
    return Measured(ids, prompts, render, tokenize)


def measure(model: Path, data: Path, *, chat: bool, subjects: int | None, alone: bool) -> list[Row]:
    """Ours, and lm-eval's unless `alone`, for all subjects or the first ones."""
    entries = TaskRegistry.default().select(("mmlu",)).entries[:subjects]
    encoder = open_encoder(cards.resolve(str(model), data=None), chat)
    own = ours(encoder, entries, data)
    if alone:
        return [own.row("harness", chat, None)]
    other = theirs(model, [entry.task.task for entry in entries], data, chat=chat)
    return [own.row("harness", chat, other), other.row("lm-eval", chat, own)]


def machine() -> dict[str, str]:
    """Where and with what it was measured."""
    names = [line.split(":", 1)[1].strip() for line in _read(Path("/proc/cpuinfo")) if line.startswith("model name")]
    packages = ("harness", "lm_eval", "transformers", "tokenizers", "jinja2", "datasets")
    versions = {name: importlib.metadata.version(name) for name in packages}
    parallel = os.environ.get("TOKENIZERS_PARALLELISM", "on unless forked")
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "tokenizers' threads": parallel,
    } | versions


def _read(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def table(rows: Sequence[Row], title: str) -> Table:
    """The rows as a table."""
    made = Table("side", "chat", *("prompts", "pairs", "tokens", "render s", "tokenize s", "total s", "same ids"), title=title)
    for row in rows:
        seconds = (f"{value:.1f}" for value in (row.render_seconds, row.tokenize_seconds, row.seconds))
        counts = (f"{count:,}" for count in (row.prompts, row.pairs, row.tokens))
        made.add_row(row.side, "on" if row.chat else "off", *counts, *seconds, "" if row.same is None else f"{row.same:,}")
    return made


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--chat", choices=("off", "on", "both"), default="off")
    parser.add_argument("--subjects", type=int, help="only so many of the 57 subjects, on both sides")
    parser.add_argument("--alone", action="store_true", help="leave lm-eval out")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    where = machine()
    rows: list[Row] = []
    for chat in {"off": (False,), "on": (True,), "both": (False, True)}[given.chat]:
        rows += measure(given.model, given.data, chat=chat, subjects=given.subjects, alone=given.alone)
    console = Console(width=max(Console().width, 110))
    console.print(table(rows, f"{SHOTS}-shot MMLU, {given.subjects or 57} subjects, {given.model.name}"))
    console.print(", ".join(f"{name} {value}" for name, value in where.items()))
    if given.json:
        found = {"model": given.model.name, "machine": where, "rows": [asdict(row) | {"seconds": row.seconds} for row in rows]}
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
