"""What the GPUs of this machine draw, through NVML where it is installed (package nvidia-ml-py)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Meter:
    """Counts energy from its start, over every GPU of the machine, whoever uses it.

    Attributes:
        nvml: the library, or None where there is none.
        began: millijoules of each GPU at the start.
    """

    nvml: Any
    began: tuple[int, ...]

    @classmethod
    def start(cls) -> Meter:
        """Start counting; without NVML, a GPU, or a driver that counts, nothing is counted."""
        try:
            nvml = importlib.import_module("pynvml")
            nvml.nvmlInit()
            return cls(nvml, _read(nvml))
        except Exception:  # noqa: BLE001 - NVML raises classes of its own for each lack, and a run goes on without it
            return cls(None, ())

    def joules(self) -> float | None:
        """Energy since the start; None where it is not known."""
        if not self.began:
            return None
        try:
            now = _read(self.nvml)
        except self.nvml.NVMLError:
            return None
        return sum(end - start for start, end in zip(self.began, now, strict=True)) / 1000.0


def _read(nvml: Any) -> tuple[int, ...]:
    handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    return tuple(int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) for handle in handles)
