"""Real servers on a loopback port, started for a test and ended with everything that they started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START = 300.0
"""Seconds that a server may need to start on a busy machine."""


def executable(variable: str, name: str) -> Path:
    """The program that an environment variable names, or that is on PATH; skips the test where there is none."""
    chosen = os.environ.get(variable) or shutil.which(name)
    if chosen is None or not Path(chosen).is_file():
        pytest.skip(f"{name} is not installed: set {variable} to its executable, or put it on PATH")
    return Path(chosen)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class RealServer:
    """A server as a process group.

    Attributes:
        command: how it is started, `{port}` excepted.
        folder: where it writes its log.
        environment: variables beside those of the test.
        port: it listens on.
    """

    command: list[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL of its OpenAI-compatible endpoints."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Start it, and wait until it lists its models."""
        command = [*self.command, "--host", "127.0.0.1", "--port", str(self.port)]
        python_path = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**python_path, "HF_HUB_OFFLINE": "1", **self.environment},
                start_new_session=True,
            )
        until = time.monotonic() + START
        while time.monotonic() < until:
            if self._process.poll() is not None:
                pytest.fail(f"{command[0]} ended with {self._process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/models", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        self.kill()
        pytest.fail(f"{command[0]} does not answer within {START:.0f} s:\n{log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """End it and all that it started, without a chance to finish anything."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def vllm(model: Path, folder: Path, adapters: Mapping[str, Path], modules: tuple[str, ...]) -> RealServer:
    """vLLM's server with a model and LoRA adapters.

    The interpreter beside the executable starts it, since community builds under another name have no working `vllm` command.

    Args:
        model: its folder.
        folder: for the log.
        adapters: folders by name.
        modules: those that the adapters have weights for; vLLM's CPU build cannot wrap others.
    """
    python = executable("HARNESS_TEST_VLLM", "vllm").with_name("python")
    named = [f"{name}={path}" for name, path in adapters.items()]
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", model.name]
    command += ["--enforce-eager", "--dtype", "float32", "--max-model-len", "2048", "--max-num-seqs", "16"]
    command += ["--enable-lora", "--max-loras", "1", "--max-lora-rank", "8", "--lora-target-modules", *modules, "--lora-modules", *named]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "0", "VLLM_HOST_IP": "127.0.0.1", "VLLM_NO_USAGE_STATS": "1"}
    return RealServer(command, folder, environment)


def transformers_serve(model: Path, folder: Path) -> RealServer:
    """`transformers serve` with a model; skips the test where the command lacks its libraries."""
    program = executable("HARNESS_TEST_TRANSFORMERS", "transformers")
    python = program.with_name("python")
    if subprocess.run([str(python), "-c", "import fastapi, uvicorn"], capture_output=True, check=False).returncode:
        pytest.skip(f"{program} cannot serve: pip install 'transformers[serving]', or set HARNESS_TEST_TRANSFORMERS to another one")
    return RealServer([str(program), "serve", str(model), "--dtype", "float32", "--device", "cpu"], folder, {"OMP_NUM_THREADS": "1"})
