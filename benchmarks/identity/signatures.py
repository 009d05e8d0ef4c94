"""Settings that change a score: does the signature, or the system's digest, tell? And does a script run that nobody allowed?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.identity.case import Case, Place
from benchmarks.identity.contents import _environment

ROWS = [
    {"question": f"Is {number} even or odd?", "label": number % 2, "group": number // 2, "answer": "even" if number % 2 == 0 else "odd"}
    for number in range(6)
]
CHOICES: dict[str, Any] = {
    "task": "parity",
    "about": {"title": "Even and odd"},
    "data": {"files": {"test": "rows.jsonl", "train": "pool.jsonl", "other": "rows.jsonl"}, "split": "test"},
    "answer": "choices",
    "choices": ["even", "odd"],
    "target": "label",
    "labels": {"group": "group"},
    "templates": [{"name": "plain", "prompt": "{{ question }}"}],
    "shots": {"split": "train", "number": 1},
    "metrics": [{"metric": "all_correct", "by": "group"}],
}
TEXTS: dict[str, Any] = {
    "task": "say",
    "about": {"title": "Say it"},
    "data": {"files": {"test": "rows.jsonl"}, "split": "test"},
    "answer": "generate",
    "target": "answer",
    "templates": [{"name": "plain", "prompt": "{{ question }}"}],
    "generation": {"max_new_tokens": 4},
    "metrics": ["exact_match"],
}
SAMPLED = TEXTS | {"generation": {"max_new_tokens": 4, "temperature": 0.9}}


@dataclass(frozen=True)
class Setting:
    """One thing that is given another value between two runs."""

    what: str
    task: Mapping[str, Any]
    changed: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    both: tuple[str, ...] = ()
    pool: str = "train"


SETTINGS = (
    Setting("generation.beams", TEXTS, {"generation": {"max_new_tokens": 4, "beams": 2}}),
    Setting("generation.top_p", SAMPLED, {"generation": {"max_new_tokens": 4, "temperature": 0.9, "top_p": 0.5}}),
    Setting("--seed of sampled texts, without examples", SAMPLED, options=("--seed", "7")),
    Setting("--texts", SAMPLED, options=("--texts", "2"), both=("--measures", "bias")),
    Setting("--seed of a perturbation", TEXTS, options=("--seed", "7"), both=("--perturb", "typos:0.3")),
    Setting("perturbed columns", TEXTS, {"perturb": ["question", "answer"]}, both=("--perturb", "typos:0.3")),
    Setting("content of the few-shot pool", CHOICES, pool="other pool"),
    Setting("shots.split", CHOICES, {"shots": {"split": "other", "number": 1}}),
    Setting("label expression behind by:", CHOICES, {"labels": {"group": "group // 2"}}),
    Setting("--dtype", TEXTS, options=("--dtype", "bfloat16")),
    Setting("--chat", TEXTS, options=("--chat",), both=()),
)

SCRIPT = """
import datasets
import evaluate

open({trace!r}, "w").close()


class Length(evaluate.Metric):
    def _info(self):
        features = datasets.Features({{"predictions": datasets.Value("string"), "references": datasets.Value("string")}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {{"length": sum(map(len, predictions)) / len(predictions)}}
"""


def cases(place: Place) -> Iterator[Case]:
    """Two runs for each setting, and a task file that names a script."""
    for number, setting in enumerate(SETTINGS):
        yield _compared(place, setting, place.scratch / str(number))
    yield _plugin(place, place.scratch / "plug-in")
    yield from _moved(place, place.scratch / "moved")
    yield _script(place, place.scratch / "script")


def _compared(place: Place, setting: Setting, folder: Path) -> Case:
    first = _run(place, folder / "one", setting.task, setting.both, "train")
    options = (*(option for option in setting.both if option not in setting.options), *setting.options)
    second = _run(place, folder / "two", {**setting.task, **setting.changed}, options, setting.pool)
    if first is None or second is None:
        return Case("signature", setting.what, "refused", "a run failed")
    mine, theirs = _identity(first), _identity(second)
    differing = [name for name in mine if mine[name] != theirs.get(name)]
    seen = "; ".join(f"{name}: {_shown(mine[name], theirs.get(name))}" for name in differing)
    again = _run(place, folder / "again", setting.task, setting.both, "train")
    if again is None or _identity(again) != mine:
        return Case("signature", setting.what, "SLIPPED", "equal settings have different signatures")
    return Case("signature", setting.what, "marked" if differing else "SLIPPED", seen or "no difference")


def _run(
    place: Place, folder: Path, task: Mapping[str, Any], options: tuple[str, ...], pool: str, given: Sequence[Any] = ROWS
) -> dict[str, Any] | None:
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text(yaml.safe_dump(dict(task)))
    rows = [json.dumps(row) for row in ROWS]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, given)) + "\n")
    (folder / "pool.jsonl").write_text("\n".join(rows[::-1] if pool == "train" else rows[1:4]) + "\n")
    chat = () if "--chat" in options else ("--no-chat",)
    command = ("run", "--model", place.models / "minimind2-small", "--tasks", folder / "task.yaml", "--output", folder / "out")
    done = place.harness(*command, *chat, *options)
    if done.returncode:
        return None
    found: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text())
    return found


PLUGIN = """
from harness.metrics.base import Metric, metric, per_item


@metric("own")
class Own(Metric):
    form = "generate"

    def statistics(self, outcomes):
        return per_item([{value} for _ in outcomes])
"""


def _plugin(place: Place, folder: Path) -> Case:
    """A metric of the user's own that counts otherwise, its file's size and time kept."""
    path = folder / "own" / "metrics" / "own.py"
    path.parent.mkdir(parents=True)
    found = []
    for name, value in (("one", 0.25), ("two", 0.75)):
        path.write_text(PLUGIN.format(value=value))
        os.utime(path, ns=(10**18, 10**18))
        with _environment(HARNESS_PATH=str(folder / "own")):
            done = _run(place, folder / name, TEXTS | {"metrics": ["own"]}, (), "train")
        found.append(done["tasks"]["say"]["metrics"]["own"] if done else {})
    mine, theirs = found
    told = mine.get("signature") != theirs.get("signature") and (mine.get("value"), theirs.get("value")) == (0.25, 0.75)
    seen = f"{mine.get('value')} and {theirs.get('value')}; {_shown(mine.get('signature'), theirs.get('signature'))}"
    return Case("signature", "the code of a metric from HARNESS_PATH", "marked" if told else "SLIPPED", seen)


def _moved(place: Place, folder: Path) -> Iterator[Case]:
    """The same items under other row numbers, by which random examples are drawn: a row before them that a filter leaves out."""
    data = {"files": {"test": "rows.jsonl", "train": "pool.jsonl"}, "split": "test", "filter": "group >= 0"}
    task = CHOICES | {"data": data, "shots": {"split": "train", "number": 1, "select": "random"}}
    both = [
        _run(place, folder / name, task, (), "train", rows) for name, rows in (("one", ROWS), ("two", [{**ROWS[0], "group": -1}, *ROWS]))
    ]
    if both[0] is None or both[1] is None:
        yield Case("signature", "row numbers", "SLIPPED", "a run failed")
        return
    mine, theirs = (one["tasks"]["parity"]["signature"] for one in both if one is not None)
    attempt = "row numbers moved by a row that is left out, with random examples"
    yield Case("signature", attempt, "marked" if mine != theirs else "SLIPPED", _shown(mine, theirs) or "no difference")
    done = place.harness("forgetting", "--before", folder / "one" / "out", "--after", folder / "two" / "out")
    said = next((line for line in done.stderr.splitlines() if line.startswith("Error")), done.stdout[:80])
    yield Case(
        "signature", f"{attempt}, forgetting", "refused" if done.returncode == 2 else "SLIPPED", said.replace(str(place.scratch), "")
    )


def _identity(results: Mapping[str, Any]) -> dict[str, Any]:
    """Every signature of a run, and the system's digest."""
    found = {"system": results["system"]["digest"]}
    for name, task in results["tasks"].items():
        found[name] = task["signature"]
        found |= {f"{name}.{key}": metric["signature"] for key, metric in task["metrics"].items()}
        found |= {f"{name}~{one['perturbation']['name']}": one["perturbation"] for one in task["perturbations"]}
    return found


def _shown(mine: Any, theirs: Any) -> str:
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return f"{str(mine)[:12]} and {str(theirs)[:12]}"
    fields = [field for field in {**mine, **theirs} if mine.get(field) != theirs.get(field)]
    return ", ".join(f"{field} {str(mine.get(field))[:24]} and {str(theirs.get(field))[:24]}" for field in fields)


def _script(place: Place, folder: Path) -> Case:
    """A metric that is a script leaves a trace where it runs."""
    folder.mkdir()
    (folder / "length.py").write_text(SCRIPT.format(trace=str(folder / "trace")))
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    (folder / "task.yaml").write_text(yaml.safe_dump(TEXTS | {"metrics": [f"evaluate:{folder / 'length.py'}"]}))
    command = ("run", "--model", place.models / "minimind2-small", "--tasks", folder / "task.yaml", "--output", folder / "out")
    done = place.harness(*command)
    ran = (folder / "trace").exists()
    allowed = place.harness(*command, "--trust-remote-code")
    held = done.returncode == 2 and not ran and allowed.returncode == 0 and (folder / "trace").exists()
    seen = (done.stderr.strip().splitlines() or ["no message"])[0]
    return Case("code", "a script that a task file names", "refused" if held else "SLIPPED", seen)
