"""Energy by a recorded NVML."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from harness.evaluation.cost import EnergyMeter


def nvml(readings: list[int], **more: object) -> SimpleNamespace:
    """Two GPUs, each read from the same list in turn."""
    return SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: readings.pop(0),
        **more,
    )


def test_energy_is_summed_over_gpus_in_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml([1_000, 2_000, 6_000, 4_500]))
    assert EnergyMeter.start().joules() == pytest.approx(7.5)


def test_without_nvml_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert EnergyMeter.start().joules() is None


def test_a_driver_that_does_not_count_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = nvml([])

    def refuse(handle: int) -> int:
        raise RuntimeError("Not Supported")

    library.nvmlDeviceGetTotalEnergyConsumption = refuse
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert EnergyMeter.start().joules() is None
