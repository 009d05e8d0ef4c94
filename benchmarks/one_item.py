"""Follow the first item of `glue_sst2` through every room, and write its real values into a document.

Example: python -m benchmarks.one_item --model DIR --data DIR --document docs/architecture.md

The model is evaluated twice, with float32 and with bfloat16 weights, so that there is something to compare. Benchmark text is never
written in full: the item's own words are cut after a few letters, and its digest identifies it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from benchmarks.documents import put
from harness.contract import ChoiceScores, Outcome, ScoreChoices
from harness.engine.base import response_key
from harness.evaluation.options import Options
from harness.evaluation.plan import EvaluationPlan, PlannedTask, plan
from harness.evaluation.progress import SilentProgress, StageTimer
from harness.evaluation.run import run
from harness.metrics.base import FloatArray, Metric
from harness.store.responses import ResponseStore

TASK, METRIC = "glue_sst2", "accuracy"
SHOWN = 7
"""Characters of the item's own text that are shown."""


@dataclass
class Recorder:
    """A metric that remembers the outcomes it is given."""

    metric: Metric[Any]
    outcomes: Sequence[Outcome] = ()

    def statistics(self, outcomes: Sequence[Outcome]) -> FloatArray:
        """The metric's own statistics."""
        self.outcomes = outcomes
        return self.metric.statistics(outcomes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.metric, name)


@dataclass(frozen=True)
class Walk:
    """The first item at every stage.

    Attributes:
        work: the plan of the run in float32.
        folder: has `float32` and `bfloat16`, the results of both runs, and the response cache.
    """

    work: EvaluationPlan
    folder: Path

    @property
    def planned(self) -> PlannedTask:
        """The task with its requests."""
        return self.work.tasks[0]

    @property
    def text(self) -> str:
        """The item's own text."""
        return str(self.planned.item_requests[0].question.item.row["sentence"])

    def stages(self) -> Iterator[tuple[str, str]]:
        """Name and text of each block of the document."""
        first = self.planned.item_requests[0]
        item, request = first.question.item, first.request
        assert isinstance(request, ScoreChoices)
        yield "item", self.code(f"Item(id={item.id!r}, digest={item.digest!r},\n     row={self.hidden(str(dict(item.row)))})")
        question = first.question
        shown = f"Question(choices={question.choices}, targets={question.targets}, references={question.references})"
        yield "prompt", self.code(f"{shown}\n\n{self.hidden(first.text)}")
        yield "request", self._request(request)
        yield "key", self._key(request)
        yield "plan", self._plan()
        yield "response", self._response(request)
        yield "scores", self._scores()
        yield "results", self._results()
        yield "comparison", self._comparison()

    def hidden(self, text: str) -> str:
        """A text without the item's own words."""
        return text.replace(self.text.strip(), f"{self.text[:SHOWN]}… ({len(self.text.strip())} characters)")

    def code(self, text: str) -> str:
        """A block of code."""
        return f"```text\n{text}\n```"

    def _request(self, request: ScoreChoices) -> str:
        context = f"({request.context[0]}, …, {', '.join(map(str, request.context[-3:]))})"
        lines = [
            f"ScoreChoices(id={request.id!r},",
            f"             context={context},  # {len(request.context)} token ids",
            f"             choices=({', '.join(map(str, request.choices))}))",
        ]
        return self.code("\n".join(lines))

    def _key(self, request: ScoreChoices) -> str:
        system = self.work.systems.systems[0][0]
        lines = [
            f"System(name={system.name!r}, dtype={system.dtype!r}, engine={system.engine!r}, parameters={system.parameters:,},",
            f"       model_digest='{system.model_digest[:16]}…', tokenizer_digest='{system.tokenizer_digest[:16]}…')",
            f"cache key = {ResponseStore.key(response_key(system), request).hex()[:32]}…",
        ]
        return self.code("\n".join(lines))

    def _plan(self) -> str:
        requests = [request for request in self.work.requests if isinstance(request, ScoreChoices)]
        (batches,) = self.work.systems.backend.plan(self.work.systems.opening, requests, [])
        fields = ("requests", "requested", "distinct", "computed", "padding", "forwards", "prefixes")
        return self.code("BatchPlan(" + ", ".join(f"{name}={getattr(batches, name)}" for name in fields) + ")")

    def _response(self, request: ScoreChoices) -> str:
        responses = self._responses()
        response = responses[request.id]
        assert isinstance(response, ChoiceScores)
        logprobs = ", ".join(f"{value:.4f}" for value in response.logprobs)
        return self.code(f"ChoiceScores(id={response.id!r}, logprobs=({logprobs}), greedy={response.greedy})")

    def _responses(self) -> dict[str, Any]:
        system = self.work.systems.systems[0][0]
        with ResponseStore(self.folder / "responses.sqlite") as store:
            keys = {store.key(response_key(system), request): request for request in self.work.requests}
            return {response.id: response for response in store.get_many(keys).responses.values()}

    def _scores(self) -> str:
        recorder = Recorder(self.planned.scorer.metrics[METRIC])
        scorer = dataclasses.replace(self.planned.scorer, metrics={METRIC: recorder})  # type: ignore[dict-item]
        table = scorer.score(self.planned.item_requests, self._responses(), 0).scores[METRIC].statistics
        outcome = recorder.outcomes[0]
        logprobs = ", ".join(f"{value:.4f}" for value in getattr(outcome, "logprobs", ()))
        record = harness.load_run(self.folder / "float32").record.tasks[TASK].metrics[METRIC]
        low, high = record.ci or (float("nan"), float("nan"))
        lines = [
            f"ChoiceOutcome(logprobs=({logprobs}), targets={getattr(outcome, 'targets', ())}, choices={getattr(outcome, 'choices', ())})",
            f"statistics, row 0 of {len(table)} = {table[0].tolist()}        # [value, count]",
            f"sum of all rows   = {table.sum(axis=0).tolist()}",
            f"{METRIC} = {record.value:.4f}, 95 % interval [{low:.4f}, {high:.4f}] ({record.ci_method}), n = {record.n}",
        ]
        return self.code("\n".join(lines))

    def _results(self) -> str:
        folder = self.folder / "float32"
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        task = content["tasks"][TASK]
        names = ("items", "shots", "template", "data", "files")
        shown = {"schema_version": content["schema_version"], "tasks": {TASK: {name: task[name] for name in names if name in task}}}
        shown["tasks"][TASK]["metrics"] = {METRIC: task["metrics"][METRIC]}
        sample = json.loads((folder / "samples" / f"{TASK}.jsonl").read_text(encoding="utf-8").splitlines()[0])
        sample["prompt"] = self.hidden(sample["prompt"])
        results = json.dumps(_short(shown), indent=2, ensure_ascii=False)
        return (
            f"```json\n{results}\n```\n\nand in `samples/{TASK}.jsonl`:\n\n```json\n{json.dumps(_short(sample), ensure_ascii=False)}\n```"
        )

    def _comparison(self) -> str:
        before, after = (harness.load_run(self.folder / name) for name in ("float32", "bfloat16"))
        comparison = harness.compare(before, after)
        task = comparison.detail.tasks[0]
        score = task.headlines[0]
        decision = harness.gate(after, baseline=before)
        lines = [
            f"{task.name} {score.metric}, float32 → bfloat16: {score.before:.4f} → {score.after:.4f}",
            f"change {score.change:+.4f} [{score.low:+.4f}, {score.high:+.4f}], items lost {score.lost}, gained {score.gained}",
            f"verdict: {task.verdict}",
            f"gate, default policy: {decision.outcome} (exit code {decision.exit_code})",
        ]
        return self.code("\n".join(lines))


def _short(value: Any) -> Any:
    """Digests cut to 16 characters, numbers to six digits."""
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_short(part) for part in value]
    if isinstance(value, float):
        return round(value, 6)
    return f"{value[:16]}…" if isinstance(value, str) and len(value) == 64 and " " not in value else value


def walk(model: Path, data: Path, limit: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Evaluate a model twice, and give the first item's values at each stage."""
    os.environ |= {"HARNESS_CACHE": str(folder), "HARNESS_OFFLINE": "1"}
    for dtype in ("float32", "bfloat16"):
        options = Options(str(model), TASK, dtype=dtype, limit=limit, data=data, output=folder / dtype, device="cpu")
        run(options, SilentProgress())
    options = Options(str(model), TASK, dtype="float32", limit=limit, data=data, output=folder / "float32", device="cpu")
    yield from Walk(plan(options, SilentProgress(), StageTimer()), folder).stages()


def main() -> None:
    """Print every stage, and write it into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True, help="folder of a causal model")
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset snapshots")
    parser.add_argument("--limit", type=int, default=200, help="items to evaluate")
    parser.add_argument("--document", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in walk(given.model, given.data, given.limit, Path(folder)):
            print(f"{name}:\n{text}\n")
            if given.document:
                put(given.document, f"benchmarks.one_item {name}", text)


if __name__ == "__main__":
    main()
