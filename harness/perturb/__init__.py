"""What is disturbed: robustness and fairness perturbations, one file each, found by name.

Perturbations come from this package, from entry points of the group `harness.perturbations`, and from `perturbations/*.py`
below the user's folders (HARNESS_PATH). All are imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import InputError
from harness.perturb.base import PLUGINS, Perturbation, perturb, perturb_fields

__all__ = ["PRESETS", "Perturbation", "known", "load", "parse", "perturb", "perturb_fields"]

Named = tuple[tuple[str, Mapping[str, Any]], ...]

_ROBUSTNESS: Named = (("mild_mix", {}),)
_FAIRNESS: Named = (("dialect", {}), ("gender", {}), ("person_name", {}))
PRESETS: Mapping[str, Named] = {
    "robustness": _ROBUSTNESS,
    "robustness_all": (
        ("contraction", {}),
        ("expansion", {}),
        ("filler", {"rate": 0.1}),
        ("lowercase", {}),
        ("misspelling", {"rate": 0.1}),
        ("spaces", {"most": 3}),
        ("synonym", {"rate": 0.1}),
        ("typos", {"rate": 0.01}),
    ),
    "fairness": _FAIRNESS,
    "canonical": _ROBUSTNESS + _FAIRNESS,
}
"""Named lists of perturbations with their options, as HELM mixes them."""


def known() -> Mapping[str, type[Perturbation]]:
    """Every perturbation's class by name: shipped, installed as a plug-in, and from the user's folders."""
    return PLUGINS.known()


def load(name: str, options: Mapping[str, Any] | None = None) -> Perturbation:
    """The perturbation `name` with its options.

    Raises:
        InputError: the name is unknown, or an option does not exist or has a value that is not allowed.
    """
    known()
    return PLUGINS.build(name, options or {}, also=PRESETS)


def parse(text: str) -> list[Perturbation]:
    """The perturbations of a list such as `robustness,typos:0.05`: names, presets, and `NAME:RATE`; none twice.

    Raises:
        InputError: a name is unknown, a rate is no share, or what has no rate is given one.
    """
    found: dict[str, Perturbation] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        for one in _named(part):
            found.setdefault(one.label, one)
    if not found:
        raise InputError("No perturbation is named.", f"Name some of {', '.join(sorted({*known(), *PRESETS}))}.")
    return list(found.values())


def _named(part: str) -> list[Perturbation]:
    name, colon, rate = (piece.strip() for piece in part.partition(":"))
    if not colon:
        return [load(one, options) for one, options in PRESETS.get(name, ((name, {}),))]
    if name in PRESETS:
        raise InputError(f"{name!r} names several perturbations, and takes no rate.", "Give a rate to one of them, as `typos:0.05`.")
    if name in known() and "rate" not in known()[name].__dataclass_fields__:
        raise InputError(f"Perturbation {name!r} has no rate.", f"Write `{name}` alone.")
    try:
        share = float(rate)
    except ValueError:
        raise InputError(
            f"Perturbation {name!r}: the rate {rate!r} is no number.", f"Write a share from 0 to 1, as `{name}:0.05`."
        ) from None
    return [load(name, {"rate": share})]
