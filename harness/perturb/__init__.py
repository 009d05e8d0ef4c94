"""Perturbations of texts for robustness and fairness: one file each, found by name.

In: texts of an item, and a seed. Out: perturbed texts.

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
    """Every perturbation class by name: built in, installed as a plug-in, and in the user's folders."""
    return PLUGINS.known()


def load(name: str, options: Mapping[str, Any] | None = None) -> Perturbation:
    """Build the perturbation `name` with its options.

    Raises:
        InputError: the name or an option is unknown, or the value of an option is not allowed.
    """
    known()
    return PLUGINS.build(name, options or {}, also=PRESETS)


def parse(text: str) -> list[Perturbation]:
    """The perturbations of a list such as `robustness,typos:0.05`: names, presets and `NAME:RATE`, without duplicates.

    Raises:
        InputError: a name is unknown, a rate is not a share, or a perturbation has no rate.
    """
    selected: dict[str, Perturbation] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        for perturbation in _named(part):
            selected.setdefault(perturbation.label, perturbation)
    if not selected:
        raise InputError("The list of perturbations is empty.", f"Choose from {', '.join(sorted({*known(), *PRESETS}))}.")
    return list(selected.values())


def _named(part: str) -> list[Perturbation]:
    name, colon, rate = (piece.strip() for piece in part.partition(":"))
    if not colon:
        return [load(member, options) for member, options in PRESETS.get(name, ((name, {}),))]
    if name in PRESETS:
        raise InputError(
            f"{name!r} is a preset of several perturbations and takes no rate.", "Give a rate to one of them, as in `typos:0.05`."
        )
    if name in known() and "rate" not in known()[name].__dataclass_fields__:
        raise InputError(f"Perturbation {name!r} has no rate.", f"Write `{name}`.")
    try:
        share = float(rate)
    except ValueError:
        raise InputError(
            f"Perturbation {name!r}: the rate {rate!r} is not a number.", f"Write a share from 0 to 1, as in `{name}:0.05`."
        ) from None
    return [load(name, {"rate": share})]
