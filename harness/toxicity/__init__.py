"""How toxic a text is: scorers, found by name, one instance of each for all metrics that share it.

Scorers come from this package, from entry points of the group `harness.toxicity`, and from `toxicity/*.py` below the user's
folders (HARNESS_PATH, and every folder given to `load_folder`). All are imported on first use; what a scorer itself needs
(torch, scikit-learn) only when it scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.toxicity.base import PLUGINS, Scorer, build

DEFAULT = "classifier"
"""Specification of the scorer that is taken where none is named."""

_SHARED: dict[str, Scorer] = {}


def load(spec: str = DEFAULT) -> Scorer:
    """The scorer that `NAME[:ARGUMENT][,OPTION=VALUE]…` names; one specification is one scorer, with the scores it knows.

    Examples: `classifier`, `classifier:/models/mine,label=toxic,threshold=0.4`, `profanity`.

    Raises:
        MetricError: the name is unknown, an option does not exist, or its value is not allowed.
    """
    if spec not in _SHARED:
        _SHARED[spec] = build(spec)
    return _SHARED[spec]


def release() -> None:
    """Let go of every scorer, with its weights and the scores it knows; `load` makes new ones."""
    _SHARED.clear()


def notes() -> list[str]:
    """What the user should know about the texts scored since the last `release`."""
    return [note for one in _SHARED.values() for note in one.notes()]


def known() -> Mapping[str, type[Scorer]]:
    """Every scorer's class by name: shipped, installed as a plug-in, and from the user's folders."""
    return PLUGINS.known()


def load_folder(path: Path) -> None:
    """Make the scorers in `toxicity/*.py` below `path` known; a folder without them adds none.

    Raises:
        MetricError: a file cannot be imported, or takes a name that another scorer has.
    """
    PLUGINS.load_folder(path)
