"""Signatures in one line, for tests."""

from __future__ import annotations

from harness.store.signature import Signature


def signed(text: str) -> Signature:
    """`acc|v:1|norm:bytes` as the signature acc with version 1 and norm "bytes"; numbers are whole."""
    name, *parts = text.split("|")
    fields = dict(part.split(":", 1) for part in parts)
    named = {{"v": "version"}.get(field, field): int(value) if value.isdigit() else value for field, value in fields.items()}
    return Signature.of(name, named)
