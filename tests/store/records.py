"""Makers of small valid records for tests."""

from __future__ import annotations

from typing import Any

from harness.contract import System
from harness.store.records import (
    DataRecord,
    EfficiencyRecord,
    GroupRecord,
    MetricRecord,
    RequestsRecord,
    RunRecord,
    ShortenedRecord,
    TaskRecord,
    system_record,
)
from tests.signed import signed


def system(name: str = "tiny", **changes: Any) -> System:
    fields: dict[str, Any] = {
        "name": name,
        "model": f"/models/{name}",
        "adapter": None,
        "architecture": "causal",
        "dtype": "float32",
        "quantization": None,
        "model_digest": f"model of {name}",
        "adapter_digest": None,
        "tokenizer_digest": "t" * 64,
        "chat_template_digest": None,
        "revision": None,
        "parameters": 1000,
        "adapter_parameters": 0,
    }
    return System(**(fields | changes))


def metric(value: float | None, **changes: Any) -> MetricRecord:
    fields: dict[str, Any] = {
        "value": value,
        "ci": None if value is None else (value - 0.05, value + 0.05),
        "ci_method": None if value is None else "bootstrap",
        "reason": "no item" if value is None else None,
        "n": 100,
        "higher_is_better": True,
        "low": 0.0,
        "high": 1.0,
        "unit": "share",
        "signature": signed("acc|v:1"),
    }
    return MetricRecord(**(fields | changes))


def task(value: float | None = 0.5, shots: int = 5, **changes: Any) -> TaskRecord:
    fields: dict[str, Any] = {
        "title": "A task",
        "items": 100,
        "shots": shots,
        "template": "plain",
        "template_digest": "d" * 16,
        "answer": "choices",
        "metrics": {"acc": metric(value)},
        "data": DataRecord(path="some/data", config=None, split="test", revision=None, digest="e" * 16),
        "shortened": ShortenedRecord(),
        "seed": 0,
        "limit": None,
        "signature": signed(f"task|template:{'d' * 16}|shots:{shots}|seed:0"),
    }
    return TaskRecord(**(fields | changes))


def group(tasks: list[str], value: float | None = 0.5) -> GroupRecord:
    return GroupRecord(title="A group", tasks=tasks, metrics={"acc": metric(value, signature=signed("mean|of:acc"))})


def run(
    name: str = "tiny", tasks: dict[str, TaskRecord] | None = None, groups: dict[str, GroupRecord] | None = None, **changes: Any
) -> RunRecord:
    fields: dict[str, Any] = {
        "harness_version": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "command": ["harness", "run", "--model", name],
        "system": system_record(system(name)),
        "tasks": {"quiz": task()} if tasks is None else tasks,
        "groups": groups or {},
        "efficiency": EfficiencyRecord(
            seconds={"startup": 1.0, "score": 10.5, "total": 83.2},
            prefill_tokens_per_second=12345.6,
            decode_tokens_per_second=None,
            peak_memory_bytes=3 * 2**29,
            padding_share=0.031,
            requests=RequestsRecord(unique=100, cached=40, computed=60),
        ),
        "environment": {"python": "3.11.9"},
    }
    return RunRecord(**(fields | changes))
