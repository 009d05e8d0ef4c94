"""The digest in `results.json`, and the upgrade of documents with earlier fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

DIGEST = "digest"
"""Name of the field with the SHA-256 (hex) of all other fields."""


def canonical(content: Mapping[str, Any]) -> str:
    """A document without its digest as compact ASCII JSON. Keys stay in order, since order matters: the first metric is the headline."""
    body = {name: value for name, value in content.items() if name != DIGEST}
    return json.dumps(body, separators=(",", ":"), allow_nan=False)


def digest(body: str) -> str:
    """SHA-256 (hex) of a document's canonical form."""
    return hashlib.sha256(body.encode()).hexdigest()


def later_fields(content: Mapping[str, Any]) -> bool:
    """Whether a document of schema 1 has what only schema 2 has: a digest, files, or signatures as objects."""
    tasks = content.get("tasks")
    records = [task for task in tasks.values() if isinstance(task, Mapping)] if isinstance(tasks, Mapping) else []
    return DIGEST in content or any("files" in task or isinstance(task.get("signature"), Mapping) for task in records)


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a document of schema 1 to schema 2.

    Fields get their new names. Schema 1 recorded no files, so its tasks cannot be verified: their `files` are null.
    """
    tasks = _each(content.get("tasks"), lambda task: {**task, "files": None})
    return renamed({**content, "schema_version": 2, "tasks": tasks})


def renamed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of a document their present names; schema 2 had those of schema 1 at first."""
    parts = {
        "tasks": _each(content.get("tasks"), _task),
        "groups": _each(content.get("groups"), lambda group: {**group, "metrics": _each(group.get("metrics"), _metric)}),
        "efficiency": _efficiency(content.get("efficiency")),
    }
    return {**content, **{name: part for name, part in parts.items() if name in content}}


_TASK_FIELDS = {"wordings": "template_variants", "disturbances": "perturbations"}
_REQUESTS_FIELDS = {"asked": "unique", "from_store": "cached"}
_TOKENS_FIELDS = {"asked": "requested"}
_SPREAD_FIELDS = {"wordings": "template_variants"}


def _renamed(record: Any, names: Mapping[str, str]) -> Any:
    """A field stays where the present name is taken: validation then refuses it."""
    if not isinstance(record, Mapping):
        return record
    return {name if (present := names.get(name)) is None or present in record else present: value for name, value in record.items()}


def _each(records: Any, upgrade: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    """Upgrade every record of a mapping; anything else stays, and validation of the document refuses it."""
    if not isinstance(records, Mapping):
        return records
    return {name: upgrade(record) if isinstance(record, Mapping) else record for name, record in records.items()}


def _task(task: Mapping[str, Any]) -> dict[str, Any]:
    """Upgrade a task or one of its template variants."""
    renamed: dict[str, Any] = _renamed(task, _TASK_FIELDS)
    upgraded_parts = {
        "metrics": _each(renamed.get("metrics"), _metric),
        "template_variants": _each(renamed.get("template_variants"), _task),
        "perturbations": _perturbations(renamed.get("perturbations")),
    }
    return renamed | {name: value for name, value in upgraded_parts.items() if name in renamed}


def _perturbations(records: Any) -> Any:
    if not isinstance(records, list):
        return records
    scores = ("before", "after", "drop")
    return [
        {name: _metric(value) if name in scores and isinstance(value, Mapping) else value for name, value in record.items()}
        if isinstance(record, Mapping)
        else record
        for record in records
    ]


def _metric(metric: Mapping[str, Any]) -> dict[str, Any]:
    return {**metric, "spread": _renamed(metric["spread"], _SPREAD_FIELDS)} if "spread" in metric else dict(metric)


def _efficiency(record: Any) -> Any:
    if not isinstance(record, Mapping):
        return record
    parts = {"requests": _REQUESTS_FIELDS, "tokens": _TOKENS_FIELDS}
    return {name: _renamed(value, parts[name]) if name in parts else value for name, value in record.items()}
