"""What `results.json` says of its own content, and documents of earlier versions in the present form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

DIGEST = "digest"
"""The field that holds the SHA-256 (hex) of all others."""


def canonical(content: Mapping[str, Any]) -> str:
    """A document without its digest as compact ASCII JSON. Keys keep their order, which has a meaning: the first metric is the headline."""
    body = {name: value for name, value in content.items() if name != DIGEST}
    return json.dumps(body, separators=(",", ":"), allow_nan=False)


def digest(body: str) -> str:
    """SHA-256 (hex) of a document's canonical form."""
    return hashlib.sha256(body.encode()).hexdigest()


def later_fields(content: Mapping[str, Any]) -> bool:
    """Whether a document that says schema 1 holds what schema 2 brought: a digest, files, or signatures as objects."""
    tasks = content.get("tasks")
    own = [task for task in tasks.values() if isinstance(task, Mapping)] if isinstance(tasks, Mapping) else []
    return DIGEST in content or any("files" in task or isinstance(task.get("signature"), Mapping) for task in own)


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """A document of schema 1 in the present form. It recorded no files, so nothing of its tasks can be verified: their `files` are null."""
    tasks = content.get("tasks")
    if isinstance(tasks, Mapping):
        tasks = {name: {**task, "files": None} if isinstance(task, Mapping) else task for name, task in tasks.items()}
    return {**content, "schema_version": 2, "tasks": tasks}
