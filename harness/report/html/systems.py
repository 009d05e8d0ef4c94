"""A system as the pages describe it."""

from __future__ import annotations

from typing import Any

from harness.store.records import SystemRecord
from harness.util.text import plain


def described(system: SystemRecord) -> dict[str, Any]:
    """The fields of a system that a page shows."""
    return {
        "name": plain(system.name),
        "model": plain(system.model),
        "adapter": plain(system.adapter) if system.adapter else None,
        "architecture": system.architecture,
        "dtype": system.dtype,
        "quantization": system.quantization,
        "parameters": system.parameters,
        "adapterParameters": system.adapter_parameters,
        "digest": system.digest,
        "revision": system.revision,
        "chat": system.chat_template_digest is not None,
        "notes": [plain(note) for note in system.notes],
    }
