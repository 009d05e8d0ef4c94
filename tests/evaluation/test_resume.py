"""A run that was killed, however often, continues where it stopped and writes what an undisturbed run writes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_causal

ITEMS = 30
KILLS = 10
TASK = """
task: {name}
about: {{title: Made for this test}}
data: {{files: {{test: items.jsonl}}, split: test}}
answer: {answer}
target: {target}
templates: [{{name: plain, prompt: "{{{{ question }}}}"}}]
{rest}
"""
CHOICES = TASK.format(name="pick", answer="choices", target="right", rest="choices: options\nmetrics: [accuracy]")
GENERATE = TASK.format(name="write", answer="generate", target="reference", rest="generation: {max_new_tokens: 48}\nmetrics: [exact_match]")


def _heed_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Place:
    """A cache and a results folder of their own, beside the shared model and tasks."""

    root: Path
    cache: Path
    output: Path
    extra: tuple[str, ...] = ()

    @classmethod
    def named(cls, root: Path, name: str) -> Place:
        return cls(root, root / f"cache-{name}", root / f"results-{name}")

    @property
    def store(self) -> Path:
        return self.cache / "responses.sqlite"

    def start(self) -> subprocess.Popen[str]:
        """Start the command line; small batches, so that there are many moments at which to be killed."""
        tasks = ",".join(str(self.root / f"{name}.yaml") for name in ("pick", "write"))
        command = [sys.executable, "-m", "harness", "run", "--model", str(self.root / "model"), "--tasks", tasks, "--batch-tokens", "64"]
        command += ["--device", "cpu", "--output", str(self.output), *self.extra]
        environment = os.environ | {"HARNESS_CACHE": str(self.cache), "HARNESS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_ctrl_c
        )

    def finish(self) -> None:
        """Run to the end."""
        process = self.start()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors

    def answers(self) -> int:
        """How many answers are kept."""
        return len(self.times())

    def times(self) -> dict[bytes, int]:
        """How often each kept answer was computed."""
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=30)) as connection:
            return dict(connection.execute("SELECT key, times FROM responses"))

    def change_endings(self) -> None:
        """Let texts that ran to the limit have ended at a stop, with checksums that fit, and let all answers have been computed 7 times."""
        with closing(sqlite3.connect(self.store, isolation_level=None)) as connection:
            for key, payload in connection.execute("SELECT key, payload FROM responses").fetchall():
                text = payload.replace('"finish":"length"', '"finish":"stop"')
                row = text, blake2b(key + text.encode(), digest_size=16).digest(), key
                connection.execute("UPDATE responses SET payload = ?, checksum = ?, times = 7 WHERE key = ?", row)

    def wait_for(self, number: int, process: subprocess.Popen[str]) -> None:
        """Wait until so many answers are kept, or the run is over; the store may not be there yet."""
        while process.poll() is None:
            with suppress(sqlite3.OperationalError):
                if self.answers() >= number:
                    return
            time.sleep(0.01)

    def results(self) -> dict[str, Any]:
        """The results, without what may differ: when, how called, how fast."""
        record: dict[str, Any] = json.loads((self.output / "results.json").read_text())
        return {key: value for key, value in record.items() if key not in {"created", "command", "efficiency", "digest"}}

    def samples(self) -> Mapping[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.output / "samples").iterdir())}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and two tasks of 30 items and a twin of each tenth; choices and generation."""
    folder = tmp_path_factory.mktemp("resume")
    tiny_causal(folder / "model")
    rng = random.Random(5)
    rows = []
    for number in range(ITEMS):
        said = " ".join(str(rng.randrange(1000)) for _ in range(rng.randint(2, 9)))
        rows.append(
            {"question": f"Question {number}: {said}", "options": ["one", "two of them", "three"], "right": number % 3, "reference": "x"}
        )
    rows += rows[::10]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "pick.yaml").write_text(CHOICES)
    (folder / "write.yaml").write_text(GENERATE)
    return folder


@pytest.fixture(scope="module")
def unperturbed(root: Path) -> Place:
    place = Place.named(root, "undisturbed")
    place.finish()
    return place


def test_ten_kills_change_nothing(root: Path, unperturbed: Place) -> None:
    place, rng = Place.named(root, "killed"), random.Random(3)
    total = unperturbed.answers()
    reached = [0]
    for kill in range(KILLS):
        process = place.start()
        place.wait_for(reached[-1] + 1, process)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.communicate()
        reached.append(place.answers())
        if kill < KILLS // 2:
            assert process.returncode == -signal.SIGKILL
    print("answers kept after each kill:", *reached)
    partial = [number for number in reached if 0 < number < total]
    assert len(set(partial)) >= 3, f"too few kills fell between two batches: {reached}"
    place.finish()
    assert place.results() == unperturbed.results()
    assert place.samples() == unperturbed.samples()
    assert set(place.times().values()) == {1}
    assert set(place.times()) == set(unperturbed.times())


def test_equal_questions_are_computed_once(unperturbed: Place) -> None:
    assert unperturbed.answers() == 2 * ITEMS
    samples = [json.loads(line) for line in unperturbed.samples()["pick.jsonl"].decode().splitlines()]
    assert len(samples) == ITEMS + ITEMS // 10
    assert samples[ITEMS]["logprobs"] == samples[0]["logprobs"]


@pytest.mark.parametrize(("sent", "code", "word"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")])
def test_a_signal_keeps_what_is_finished(root: Path, unperturbed: Place, sent: signal.Signals, code: int, word: str) -> None:
    place = Place.named(root, word)
    process = place.start()
    place.wait_for(1, process)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert word in errors
    assert "Traceback" not in errors
    assert 0 < place.answers() < unperturbed.answers()
    assert set(place.times().values()) == {1}
    assert not place.output.exists()


def test_fresh_computes_again_and_a_second_run_does_not(root: Path, unperturbed: Place) -> None:
    place = Place.named(root, "again")
    shutil.copytree(unperturbed.cache, place.cache)
    place.change_endings()
    place.finish()
    assert set(place.times().values()) == {7}
    replace(place, extra=("--fresh",)).finish()
    assert set(place.times().values()) == {1}
    assert place.results() == unperturbed.results()


def test_a_base_and_its_adapter_share_a_store_and_no_answer(root: Path, unperturbed: Place) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(root / "model"),
        LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False),
    )
    model.peft_config["default"].base_model_name_or_path = "model"
    model.save_pretrained(str(root / "tuned"))
    place = replace(Place.named(root, "both"), extra=("--adapter", f"none,{root / 'tuned'}"))
    place.finish()
    base, tuned = (replace(place, output=place.output / name) for name in ("model", "model+tuned"))
    assert base.samples() == unperturbed.samples()
    assert tuned.samples()["pick.jsonl"] != base.samples()["pick.jsonl"]
    assert set(unperturbed.times()) < set(place.times())
    assert place.answers() == 2 * unperturbed.answers()
    assert set(place.times().values()) == {1}
