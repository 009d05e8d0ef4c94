"""Peak memory of one training."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from harness.util.memory import peak_resident_bytes


def forget_peak(device: torch.device) -> None:
    """Start counting anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak of resident memory becomes what is held now


def peak(device: torch.device) -> int:
    """Most bytes held since `forget_peak`: on the GPU where that computes, else by the whole process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return peak_resident_bytes()
