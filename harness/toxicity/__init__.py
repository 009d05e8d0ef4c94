"""Toxicity scorers, found by name; metrics with the same specification share a scorer.

In: texts. Out: scores from 0 (not toxic) to 1.

Scorers come from this package, from entry points of the group `harness.toxicity`, and from `toxicity/*.py` below the user's
folders (HARNESS_PATH, and every folder passed to `load_folder`). All are imported on first use; the libraries of a scorer
(torch, scikit-learn) are imported when it scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.toxicity.base import PLUGINS, Scorer, build

DEFAULT = "classifier"
"""Specification of the default scorer."""

_SHARED: dict[str, Scorer] = {}


def load(spec: str = DEFAULT) -> Scorer:
    """The scorer of the specification `NAME[:ARGUMENT][,OPTION=VALUE]…`; equal specifications share a scorer and its scores.

    Examples: `classifier`, `classifier:/models/mine,label=toxic,threshold=0.4`, `profanity`.

    Raises:
        MetricError: the name or an option is unknown, or the value of an option is not allowed.
    """
    if spec not in _SHARED:
        _SHARED[spec] = build(spec)
    return _SHARED[spec]


def release() -> None:
    """Release every scorer with its weights and scores; `load` builds new ones."""
    _SHARED.clear()


def notes() -> list[str]:
    """What the user should know about the texts scored since the last `release`."""
    return [note for scorer in _SHARED.values() for note in scorer.notes()]


def known() -> Mapping[str, type[Scorer]]:
    """Every scorer class by name: built in, installed as a plug-in, and in the user's folders."""
    return PLUGINS.known()


def load_folder(path: Path) -> None:
    """Register the scorers in `toxicity/*.py` below `path`, if there are any.

    Raises:
        MetricError: a file cannot be imported, or uses the name of another scorer.
    """
    PLUGINS.load_folder(path)
