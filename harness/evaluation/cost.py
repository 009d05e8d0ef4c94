"""What a run cost: time, tokens, memory and energy."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contract import Moments, Usage
from harness.stats.line import fit
from harness.store.records import EfficiencyRecord, LineRecord, MetricRecord, RequestsRecord, TaskRecord, TokensRecord
from harness.store.signature import Signature
from harness.util.memory import peak_resident_bytes, peak_resident_bytes_of_children

if TYPE_CHECKING:
    from harness.evaluation.progress import StageTimer
    from harness.evaluation.response_cache import ResponseCache

NORMAL = 1.96
"""Standard errors to either side of a 95 % interval."""


@dataclass(frozen=True)
class EnergyMeter:
    """Measures the energy that all GPUs of this machine draw, whichever process uses them (NVML, package nvidia-ml-py).

    Attributes:
        nvml: the library, or None where it is not installed or finds no GPU.
        began: energy counter of each GPU at the start, in millijoules.
    """

    nvml: Any
    began: tuple[int, ...]

    @classmethod
    def start(cls) -> EnergyMeter:
        """Start measuring. Without NVML, a GPU, or a driver with a counter, nothing is measured."""
        try:
            nvml = importlib.import_module("pynvml")
            nvml.nvmlInit()
            return cls(nvml, _counters(nvml))
        except Exception:  # noqa: BLE001 - NVML raises a class of its own for everything that is missing, and a run goes on without it
            return cls(None, ())

    def joules(self) -> float | None:
        """Energy since the start in joules; None where it is not measured."""
        if not self.began:
            return None
        try:
            now = _counters(self.nvml)
        except self.nvml.NVMLError:
            return None
        return sum(end - start for start, end in zip(self.began, now, strict=True)) / 1000.0


def _counters(nvml: Any) -> tuple[int, ...]:
    handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    return tuple(int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) for handle in handles)


def efficiency(usage: Usage, cache: ResponseCache, timer: StageTimer, joules: float | None = None) -> EfficiencyRecord:
    """What a run cost; rates are null when every response was cached.

    Args:
        usage: what the engine computed.
        cache: requests and responses.
        timer: seconds by stage.
        joules: energy of the GPUs, where it was measured.
    """
    computed = usage.prefill_tokens + usage.padding_tokens
    return EfficiencyRecord(
        seconds=timer.seconds(),
        prefill_tokens_per_second=usage.prefill_tokens / usage.prefill_seconds if usage.prefill_seconds else None,
        decode_tokens_per_second=usage.decode_tokens / usage.decode_seconds if usage.decode_seconds else None,
        peak_memory_bytes=_peak_memory(),
        padding_share=usage.padding_tokens / computed if computed else None,
        requests=RequestsRecord(unique=cache.unique, cached=cache.unique - cache.computed, computed=cache.computed),
        tokens=TokensRecord(
            requested=usage.requested_tokens, prefill=usage.prefill_tokens, decode=usage.decode_tokens, padding=usage.padding_tokens
        ),
        prefill_time=_line(usage.prefills),
        step_time=_line(usage.steps),
        energy_joules=joules,
    )


def seconds_alone(task: TaskRecord, usage: Usage) -> MetricRecord:
    """Seconds that the mean item would take if it were computed alone, from the timed batches of this run.

    The mean item has p prompt tokens and o new tokens: prefill at p, and o steps of one row. The interval comes from the standard
    errors of both fitted lines; n counts batches.
    """
    prefill, step = fit(usage.prefills), fit(usage.steps)
    written = task.output_tokens / max(1, task.items)
    value, bounds, reason = math.nan, None, None
    if not usage.prefills.passes:
        reason = "no batch was timed: the responses were cached, or were computed in a single batch"
    elif prefill is None or (written and step is None):
        reason = f"{usage.prefills.passes} prefill batches and {usage.steps.passes} decoding steps are too few or too alike to fit a line"
    else:
        length = task.prompt_tokens / max(1, task.items)
        value, error = prefill.at(length), prefill.error_at(length)
        if written and step is not None:
            value, error = value + written * step.at(1), math.hypot(error, written * step.error_at(1))
        bounds = (max(0.0, value - NORMAL * error), value + NORMAL * error)
    return MetricRecord(
        value=None if reason else value,
        ci=bounds,
        ci_method="least squares" if bounds else None,
        reason=reason,
        n=usage.prefills.passes + (usage.steps.passes if written else 0),
        higher_is_better=False,
        low=0.0,
        high=None,
        unit="s",
        signature=Signature.of("seconds_alone", {"version": 1}),
        family="efficiency",
    )


def _line(moments: Moments) -> LineRecord | None:
    line = fit(moments)
    if line is None:
        return None
    return LineRecord(fixed=line.intercept, each=line.slope, r2=line.r2, passes=line.points)


def _peak_memory() -> int:
    """Peak memory in bytes: of the GPU where this process used one, else of this process and of those that it started."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    return peak_resident_bytes() + peak_resident_bytes_of_children()
