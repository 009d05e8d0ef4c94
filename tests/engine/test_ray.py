"""Runs on a Ray cluster of this machine: equal to those of one process, whatever ends, and refused where machines differ."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.engine import ray_pool
from harness.engine.pools import Workers
from harness.errors import InputError
from tests.parts import model_and_tasks

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_and_tasks(tmp_path_factory.mktemp("ray"), [{"thing": f"thing {number}", "label": number % 2} for number in range(60)])


def printed(*command: str, cache: Path) -> dict[str, Any]:
    """What a command prints in its last line."""
    environment = os.environ | {"HARNESS_CACHE": str(cache), "HARNESS_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    finished = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, env=environment, cwd=ROOT, timeout=600)
    assert finished.returncode == 0, finished.stderr[-3000:]
    outcome: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return outcome


def test_a_cluster_computes_what_one_process_computes(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts, tmp_path / "parts")
    outcome = printed("tests.engine.on_ray", "equal", str(tmp_path / "parts"), cache=tmp_path / "cache")
    assert outcome["equal"]
    assert outcome["files"] == 8
    assert len(outcome["workers"]) == 2
    assert all(" on 127.0.0." in name for name in outcome["workers"])


def test_killed_actors_and_nodes_change_nothing(parts: Path, tmp_path: Path) -> None:
    tasks = f"{parts}/pick.yaml,{parts}/write.yaml"
    command = ("benchmarks.workers.kills", "--kills", "3", "--most", "2", "--wait", "1", "--nodes", "2", "--batch-tokens", "48")
    outcome = printed(*command, "--model", str(parts / "model"), "--tasks", tasks, cache=tmp_path / "cache")
    assert sum(outcome["kills"].values()) == 3
    assert outcome["different"] == 0
    assert outcome["runs_that_say_so"]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can hide a folder from a node")
def test_a_node_without_the_files_gets_them_through_the_object_store(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts, tmp_path / "parts")
    outcome = printed("tests.engine.on_ray", "sent", str(tmp_path / "parts"), cache=tmp_path / "cache")
    assert outcome["equal"]
    assert sum("is sent to workers that lack it" in note for note in outcome["notes"]) == 2


def test_another_version_is_refused(parts: Path, tmp_path: Path) -> None:
    outcome = printed("tests.engine.on_ray", "refused", str(parts), cache=tmp_path / "cache")
    assert "has other versions: torch" in outcome["message"]
    assert "instead of 1.0" in outcome["message"]


def test_a_new_cluster_knows_no_secrets_and_leaves_sigterm_alone(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts, tmp_path / "parts")
    outcome = printed("tests.engine.on_ray", "closed", str(tmp_path / "parts"), cache=tmp_path / "cache")
    assert outcome["followed"]
    assert outcome["inherited"] == 0
    assert outcome["handler"]
    assert outcome["here"] == "secret-of-the-run"


@pytest.mark.parametrize("text", ["0", "-1", "abc", "ray:", "ray:0", "ray://x", "ray://host", "ray://h:1/0", "99999"])
def test_other_forms_of_workers_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--workers"):
        Workers.parse(text)


def test_the_forms_of_workers() -> None:
    assert Workers.parse(3) == Workers.parse("3") == Workers(3)
    assert Workers.parse("ray") == Workers(None, ray=True)
    assert Workers.parse("ray:8") == Workers(8, ray=True)
    assert Workers.parse("ray://10.0.0.1:10001/4") == Workers(4, ray=True, address="ray://10.0.0.1:10001")


def test_a_cluster_that_does_not_answer_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1 cannot be reached: nobody listens there"):
        ray_pool.connected(None)
