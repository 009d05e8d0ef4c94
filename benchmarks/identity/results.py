"""Attempts on results folders: two runs at once, edited scores, samples and statistics, and files of other runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.identity.case import Case, Place
from harness.store.signature import Signature

MODEL = "minimind2-small"
TASKS = ("glue_rte", "superglue_boolq")
LIMIT = 12
ROUNDS = 3
KILLED = """
import os, signal, sys
left, real = [1], os.replace
def replace(source, target):
    if str(target).endswith((".jsonl", ".json")) and "results" in str(target):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
    real(source, target)
os.replace = replace
from harness.cli import main
main()
"""
"""A run that is killed after it has put one file of its results in place."""


def cases(place: Place) -> Iterator[Case]:
    """Make real runs, change their folders, and ask every command that reads them."""
    base, tuned = place.scratch / "results" / "base", place.scratch / "results" / "tuned"
    for output in (base, tuned):
        _finished(place, output, TASKS)
    yield _at_once(place)
    commands = {
        "gate": ("gate", tuned, "--baseline", base),
        "forgetting": ("forgetting", "--before", base, "--after", tuned),
        "leaderboard": ("leaderboard", base, tuned, "--format", "json"),
        "results verify": ("results", "verify", tuned),
    }
    whole = place.scratch / "whole"
    shutil.copytree(tuned, whole)
    for attempt, (change, names) in _CHANGES.items():
        change(tuned, base)
        for name in names:
            yield _asked(place, f"{attempt}, {name}", commands[name])
        shutil.rmtree(tuned)
        shutil.copytree(whole, tuned)
    yield from _version_1(place, tuned, commands)
    shutil.rmtree(tuned)
    shutil.copytree(whole, tuned)
    yield from _killed(place, tuned, commands)


def _arguments(place: Place, output: Path, tasks: tuple[str, ...], limit: int = LIMIT) -> tuple[str | Path, ...]:
    model, data = place.models / MODEL, place.data
    return (
        "run",
        "--model",
        model,
        "--data",
        data,
        "--tasks",
        ",".join(tasks),
        "--limit",
        str(limit),
        "--device",
        "cpu",
        "--output",
        output,
    )


def _finished(place: Place, output: Path, tasks: tuple[str, ...]) -> None:
    done = place.harness(*_arguments(place, output, tasks))
    if done.returncode:
        raise RuntimeError(done.stderr)


def _asked(place: Place, attempt: str, command: tuple[str | Path, ...]) -> Case:
    done = place.harness(*command)
    said = " ".join((done.stderr or done.stdout).split()).replace(str(place.scratch), "")
    refused = done.returncode == 2 and "Traceback" not in done.stderr
    return Case("results folder", attempt, "refused" if refused else "SLIPPED", f"exit {done.returncode}: {said[:150]}")


def _at_once(place: Place) -> Case:
    """Two processes, two tasks, one folder; the responses are cached, so that both write at about the same time."""
    lost = 0
    for number in range(ROUNDS):
        output = place.scratch / "at-once" / str(number)
        commands = [[sys.executable, "-m", "harness", *map(str, _arguments(place, output, (task,)))] for task in TASKS]
        started = [
            subprocess.Popen(command, env=_environment(place), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands
        ]
        ends = [process.communicate()[1] for process in started]
        if any(process.returncode for process in started):
            raise RuntimeError(str(ends))
        lost += len(TASKS) - len(json.loads((output / "results.json").read_text())["tasks"])
        lost += place.harness("results", "verify", output).returncode != 0
    attempt, seen = f"two runs at once, {ROUNDS} times", f"{lost} tasks lost or files changed"
    return Case("results folder", attempt, "SLIPPED" if lost else "kept", seen)


def _environment(place: Place) -> dict[str, str]:
    return dict(os.environ) | {"HARNESS_CACHE": str(place.scratch / "cache"), "HARNESS_OFFLINE": "1"}


def _version_1(place: Place, tuned: Path, commands: dict[str, tuple[str | Path, ...]]) -> Iterator[Case]:
    """What an earlier version wrote, with an edited value: nothing can tell, so every report says that it is not verified."""
    old = place.scratch / "results" / "old"
    shutil.copytree(place.scratch / "results" / "base", old)
    _downgrade(old)
    _downgrade(tuned, value=0.99)
    asked = commands | {"gate": ("gate", tuned, "--baseline", old), "forgetting": ("forgetting", "--before", old, "--after", tuned)}
    for name in ("gate", "forgetting", "leaderboard"):
        done = place.harness(*asked[name])
        said = next((line for line in " ".join(done.stdout.split()).split('"') if "Not verified" in line), "")
        marked = said[said.find("Not verified") :].replace(str(place.scratch), "")
        seen = marked[:150] or (done.stdout or done.stderr)[:150]
        yield Case("results folder", f"edited results of schema 1, {name}", "marked" if marked else "SLIPPED", seen)
    yield _asked(place, "edited results of schema 1, results verify", commands["results verify"])
    for name, baseline in {"against a base": ("--baseline", old), "by thresholds": ()}.items():
        (place.scratch / "policy.yaml").write_text(f"rules:\n  - {TASKS[0]} >= 0.5\n")
        rules = () if baseline else ("--policy", place.scratch / "policy.yaml")
        done = place.harness("gate", tuned, *baseline, *rules, "--on-undecided", "pass")
        seen = f"exit {done.returncode}: {' '.join((done.stdout or done.stderr).split())[-150:]}".replace(str(place.scratch), "")
        attempt = f"edited results of schema 1, gate {name}, --on-undecided pass"
        yield Case("results folder", attempt, "SLIPPED" if done.returncode == 0 else "refused", seen)
    yield _another_noise(place)


def _downgrade(folder: Path, **edits: float) -> None:
    """Results as an earlier version wrote them, with other values of the first score."""
    path = folder / "results.json"
    content = json.loads(path.read_text())
    content["schema_version"] = 1
    del content["digest"]
    for task in content["tasks"].values():
        del task["files"]
    _first_metric(content).update(edits)
    path.write_text(json.dumps(_with_texts(content)))


def _with_texts(value: Any) -> Any:
    """With signatures as version 1 wrote them."""
    if isinstance(value, dict):
        signed = ("signature", "perturbation")
        return {key: Signature.from_json(inner).long if key in signed else _with_texts(inner) for key, inner in value.items()}
    return [_with_texts(inner) for inner in value] if isinstance(value, list) else value


def _another_noise(place: Place) -> Case:
    """Results of another system as the base's second scoring, so that what it lost passes for rounding."""
    base, other = place.scratch / "results" / "noisy", place.scratch / "results" / "noisy" / "noise"
    shutil.copytree(place.scratch / "results" / "base", base)
    done = place.harness(*_arguments(place, other, TASKS), "--dtype", "bfloat16")
    if done.returncode:
        raise RuntimeError(done.stderr)
    command = ("forgetting", "--before", base, "--after", place.scratch / "whole", "--noise")
    return _asked(place, "another system's results as noise, forgetting", command)


def _killed(place: Place, tuned: Path, commands: dict[str, tuple[str | Path, ...]]) -> Iterator[Case]:
    command = [sys.executable, "-c", KILLED, *map(str, _arguments(place, tuned, TASKS, LIMIT - 1))]
    done = subprocess.run(command, env=_environment(place), capture_output=True, check=False)
    if done.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the run was not killed: {done.stderr.decode()}")
    yield _asked(place, "run killed between two files, gate", commands["gate"])
    done_again = place.harness(*_arguments(place, tuned, TASKS, LIMIT - 1))
    checked = place.harness("results", "verify", tuned)
    mended = done_again.returncode == 0 and checked.returncode == 0
    said = " ".join(checked.stdout.split()).replace(str(place.scratch), "")
    yield Case("results folder", "the same run again", "kept" if mended else "SLIPPED", said[:150])


def _first_metric(content: dict[str, Any]) -> dict[str, Any]:
    metric: dict[str, Any] = next(iter(content["tasks"][TASKS[0]]["metrics"].values()))
    return metric


def _edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path, Path], None]:
    def edit(tuned: Path, _: Path) -> None:
        path = tuned / "results.json"
        content = json.loads(path.read_text())
        change(_first_metric(content))
        path.write_text(json.dumps(content, indent=2))

    return edit


def _sample(tuned: Path, _: Path) -> None:
    """The first item's answer is another one."""
    path = tuned / "samples" / f"{TASKS[0]}.jsonl"
    first, *others = path.read_text().splitlines()
    content = json.loads(first)
    content["prediction"] = 1 - content["prediction"]
    content["metrics"] = {name: 1 - value for name, value in content["metrics"].items() if value in (0, 1)}
    path.write_text("\n".join([json.dumps(content), *others]) + "\n")


def _statistic(tuned: Path, _: Path) -> None:
    """Every item has the statistics of the first."""
    path = tuned / "samples" / f"{TASKS[0]}.statistics.json"
    content = json.loads(path.read_text())
    for metric in content.values():
        metric["places"] = [metric["places"][0]] * len(metric["places"])
    path.write_text(json.dumps(content))


def _swapped(tuned: Path, _: Path) -> None:
    for ending in (".jsonl", ".statistics.json"):
        one, other = (tuned / "samples" / f"{task}{ending}" for task in TASKS)
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)


def _of_another_run(tuned: Path, base: Path) -> None:
    """Results beside samples of a run whose answers were others."""
    _sample(tuned, base)
    _statistic(tuned, base)
    shutil.copyfile(base / "results.json", tuned / "results.json")


def _gone(ending: str) -> Callable[[Path, Path], None]:
    return lambda tuned, _: (tuned / "samples" / f"{TASKS[0]}{ending}").unlink()


_ALL = ("gate", "forgetting", "leaderboard", "results verify")
_SAMPLES = ("gate", "forgetting", "results verify")
_CHANGES: dict[str, tuple[Callable[[Path, Path], None], tuple[str, ...]]] = {
    "edited value": (_edited(lambda metric: metric.update(value=0.99)), _ALL),
    "edited interval": (_edited(lambda metric: metric.update(ci=[metric["value"], metric["value"]])), _ALL),
    "edited sample": (_sample, _SAMPLES),
    "edited statistics": (_statistic, _ALL),
    "samples swapped between tasks": (_swapped, _ALL),
    "samples of a task removed": (_gone(".jsonl"), _ALL),
    "statistics of a task removed": (_gone(".statistics.json"), _ALL),
    "results.json beside another run's samples": (_of_another_run, _ALL),
}
"""What is changed, and the commands that read it. A leaderboard reads no samples."""
