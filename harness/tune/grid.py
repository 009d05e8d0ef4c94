"""Any option may be a list: the candidates that a grid stands for, each with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from harness.errors import InputError
from harness.tune.settings import Candidate, TuneSettings

SHORT = {
    "method": "",
    "rank": "r",
    "alpha": "a",
    "targets": "",
    "virtual_tokens": "v",
    "epochs": "e",
    "max_steps": "s",
    "lr": "lr",
    "batch_tokens": "b",
    "template": "",
    "limit": "n",
    "seed": "seed",
    "mix": "",
}
"""What stands before an option's value in a candidate's name."""

_OWNERS = {"rank": "low-rank methods", "alpha": "low-rank methods", "targets": "low-rank methods and ia3", "virtual_tokens": "soft prompts"}


def candidates(name: str, base: TuneSettings, lists: Mapping[str, Sequence[Any]]) -> tuple[Candidate, ...]:
    """Every combination of the listed values, in their order, each once.

    An option that a candidate's method does not have is left out of it, so that `--method lora,prompt --rank 4,8` is three
    candidates. With one candidate its name is `name`; with several, the values in which they differ are added.

    Args:
        name: the card's name, or what the names of several begin with.
        base: settings common to all.
        lists: setting name to its values; only those given by the user.

    Raises:
        InputError: a value is out of range, or an option belongs to none of the methods.
    """
    combined = [replace(base, **dict(zip(lists, values, strict=True))) for values in product(*lists.values())]
    settings = list(dict.fromkeys(settings.completed() for settings in combined))
    for option, owner in _OWNERS.items():
        if option in lists and all(not getattr(chosen, option) for chosen in settings):
            methods = ", ".join(dict.fromkeys(chosen.method for chosen in settings))
            raise InputError(f"--{option.replace('_', '-')} belongs to {owner}; {methods} has none.", "Leave it out.")
    if len(settings) == 1:
        return (Candidate(name, settings[0]),)
    varied = [option for option in SHORT if len({getattr(chosen, option) for chosen in settings}) > 1 and option in {*lists, "method"}]
    return tuple(Candidate("_".join([name, *_labels(chosen, varied)]), chosen) for chosen in settings)


def _labels(settings: TuneSettings, varied: Sequence[str]) -> list[str]:
    return [f"{SHORT[option]}{_text(getattr(settings, option))}" for option in varied if getattr(settings, option) not in (None, ())]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "+".join(value) if isinstance(value, tuple) else str(value)
